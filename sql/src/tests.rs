//! Statements on a log in memory, compared with what plain Rust makes of the same rows.

#[allow(dead_code, reason = "made for windows, which have more formats")]
#[path = "../../query/src/tests/expected.rs"]
mod expected;
mod flight;
mod http;
mod limits;
mod oracle;
mod plans;
mod pruning;
mod snapshots;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use serde_json::{Value, json};
use tourbillon_lake::Lake;
use tourbillon_query::QueryService;
use tourbillon_shard_worker::{Worker, WorkerSettings};
use tower::ServiceExt;

use crate::rig::feed::Feed;
use crate::rig::{Rig, until};
use crate::{SqlService, SqlSettings};

const NDJSON: &str = "application/x-ndjson";
const ARROW: &str = "application/vnd.apache.arrow.stream";

fn memory() -> Lake {
    Lake::open("memory://").unwrap()
}

fn settings() -> SqlSettings {
    SqlSettings {
        threads: 2,
        ..SqlSettings::default()
    }
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

    fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        problem
    }
}

/// SQL over a rig.
struct Bench {
    rig: Rig,
    query: QueryService,
    sql: SqlService,
    router: Router,
}

impl Bench {
    /// A service that knows `rows` rows.
    async fn on(rig: &Rig, rows: usize, settings: SqlSettings) -> Self {
        let query = QueryService::start(rig.log(), rig.lake.clone(), rig.control.clone());
        let sql = SqlService::start(query.clone(), settings).unwrap();
        let router = crate::router(sql.clone());
        let bench = Self {
            rig: rig.clone(),
            query,
            sql,
            router,
        };
        bench.knows(rows).await;
        bench
    }

    async fn knows(&self, rows: usize) {
        until(|| async {
            let totals = self.query.totals(&self.rig.def);
            self.query.is_ready()
                && totals.is_ok_and(|(_, sealed, tail)| sealed + tail == rows as u64)
        })
        .await;
    }

    async fn post(&self, body: &Value, accept: &str) -> Answer {
        let request = Request::post("/v1/sql")
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// The answer to a statement that must have one, as NDJSON.
    async fn ask(&self, query: &str) -> Answer {
        let answer = self.post(&json!({ "query": query }), NDJSON).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
        answer
    }

    /// The physical plan of a statement.
    async fn plan(&self, query: &str) -> String {
        let answer = self.ask(&format!("explain format indent {query}")).await;
        let rows = answer.text().lines().map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            (row["plan_type"].clone(), row["plan"].clone())
        });
        let mut rows = rows.filter(|(kind, _)| kind == "physical_plan");
        rows.next().unwrap().1.as_str().unwrap().to_owned()
    }
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
        let mut ends = Vec::new();
        for partition in 0..rig.def.partitions {
            ends.push(rig.end(partition).await.0);
        }
        let progress = worker.progress();
        progress
            .values()
            .map(|p| p.next_offset())
            .collect::<Vec<_>>()
            == ends
    })
    .await;
    assert!(worker.is_healthy());
    worker.shutdown().await;
}

/// Rows of which some are sealed and some are not, in two schema versions, and SQL over them.
async fn mixed(seed: u64, partitions: u32) -> (Feed, Bench) {
    let mut rig = Rig::new(memory(), partitions).await;
    let mut feed = Feed::new(&rig, seed, 3).await;
    feed.run(250, 1_500_000).await;
    rig.evolve().await;
    feed.rig = rig.clone();
    feed.run(100, 1_500_000).await;
    seal(&rig).await;
    feed.run(120, 1_500_000).await;
    let bench = Bench::on(&rig, feed.rows.len(), settings()).await;
    (feed, bench)
}
