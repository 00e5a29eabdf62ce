//! The query service on a log in memory, asked over HTTP and compared with sorted rows.

mod asof;
mod bars;
mod compaction;
mod documented;
mod event;
mod expected;
mod formats;
mod growing;
mod growth;
mod history;
mod homes;
mod http;
mod oracle;
mod paced;
mod pages;
mod reading;
mod rejects;
mod sharing;
mod snapshots;
mod sse;
mod stores;
mod subscribe;
mod waiting;
mod watched;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use tourbillon_core::ids::Offset;
use tourbillon_lake::{Chain, Lake};
use tourbillon_shard_worker::{Worker, WorkerSettings};
use tower::ServiceExt;

use crate::QueryService;
use crate::rig::feed::Feed;
use crate::rig::{Rig, until};

fn memory() -> Lake {
    Lake::open("memory://").unwrap()
}

/// An answer read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A query service over a rig.
struct Bench {
    rig: Rig,
    service: QueryService,
    router: Router,
}

impl Bench {
    /// A service that has read the whole log and the whole chain.
    async fn on(rig: &Rig) -> Self {
        let service = QueryService::start(rig.log(), rig.lake.clone(), rig.control.clone());
        let router = crate::http::router(service.clone());
        let bench = Self {
            rig: rig.clone(),
            service,
            router,
        };
        bench.caught_up().await;
        bench
    }

    /// Waits until the service has seen everything that is there.
    async fn caught_up(&self) {
        until(|| async {
            let Ok(partitions) = self.service.partitions(&self.rig.def) else {
                return false;
            };
            for (number, partition) in (0..).zip(partitions) {
                let summary = partition.summary();
                let commits = commits(&self.rig, number).await;
                if !summary.caught_up
                    || summary.next_offset != self.rig.end(number).await
                    || summary.commits != commits
                {
                    return false;
                }
            }
            true
        })
        .await;
    }

    async fn send(&self, uri: &str, accept: &str) -> axum::response::Response {
        let request = Request::get(uri).header(header::ACCEPT, accept);
        let request = request.body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, uri: &str, accept: &str) -> Answer {
        let response = self.send(uri, accept).await;
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn window(&self, query: &str, accept: &str) -> Answer {
        self.get(&format!("/v1/streams/ticks/window?{query}"), accept)
            .await
    }
}

async fn commits(rig: &Rig, partition: u32) -> u64 {
    let chain = Chain::new(
        &rig.lake,
        &rig.def.name,
        tourbillon_core::ids::PartitionId(partition),
    );
    chain
        .newest()
        .await
        .unwrap()
        .map_or(0, |link| link.commit.body.seq + 1)
}

/// A worker seals all that can be sealed.
async fn seal(rig: &Rig) {
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "w".into(),
        grace: Duration::from_secs(3600),
    };
    let worker = Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone());
    until(|| async {
        let progress = worker.progress();
        let mut ends = Vec::new();
        for partition in 0..rig.def.partitions {
            ends.push(rig.end(partition).await);
        }
        progress
            .values()
            .map(|p| Offset(p.next_offset()))
            .collect::<Vec<_>>()
            == ends
    })
    .await;
    assert!(worker.is_healthy());
    worker.shutdown().await;
}

/// Rows of which some are sealed and some are not, in two schema versions, and a service on them.
async fn mixed(seed: u64, partitions: u32) -> (Feed, Bench) {
    let mut rig = Rig::new(memory(), partitions).await;
    let mut feed = Feed::new(&rig, seed, 3).await;
    feed.run(250, 1_500_000).await;
    rig.evolve().await;
    feed.rig = rig.clone();
    feed.run(100, 1_500_000).await;
    seal(&rig).await;
    feed.run(120, 1_500_000).await;
    let bench = Bench::on(&rig).await;
    (feed, bench)
}

/// Percent-encodes a query value.
fn encoded(text: &str) -> String {
    let byte = |b: u8| match b {
        b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}
