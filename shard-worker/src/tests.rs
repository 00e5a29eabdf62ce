//! The worker on a log in memory: what it commits, whatever happens to it on the way.

mod compaction;
mod crashes;
mod moves;
mod proof;

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, UInt64Type};
use futures::future::join_all;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tourbillon_core::digest::Digest;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::ids::Offset;
use tourbillon_lake::faulty::{FaultyStore, StoreCall, StoreFault};
use tourbillon_lake::{Chain, Link};

use super::*;
use crate::partition::PartitionJob;
use crate::rig::feed::{Feed, Row};
use crate::rig::{Rig, until};

pub(super) fn memory() -> Lake {
    Lake::open("memory://").unwrap()
}

impl Rig {
    pub(super) fn worker(&self, nonce: &str) -> Worker {
        let settings = WorkerSettings {
            share: 0,
            shares: 1,
            nonce: nonce.into(),
            grace: Duration::from_secs(3600),
        };
        Worker::start(
            settings,
            self.log(),
            self.lake.clone(),
            self.control.clone(),
        )
    }

    pub(super) fn chain(&self, partition: u32) -> Chain {
        Chain::new(&self.lake, &self.def.name, PartitionId(partition))
    }

    /// The commits of partition 0 after `tip`.
    pub(super) async fn links_kept(&self, tip: &tourbillon_core::manifest::ChainTip) -> Vec<Link> {
        let chain = self.chain(0);
        let links = chain.links_after(*tip);
        futures::TryStreamExt::try_collect(links).await.unwrap()
    }

    pub(super) async fn links(&self, partition: u32) -> Vec<Link> {
        self.chain(partition).load().await.unwrap()
    }

    /// Waits until a worker has read the whole log.
    pub(super) async fn followed(&self, worker: &Worker) {
        let partitions: Vec<u32> = (0..self.def.partitions).collect();
        let ends = join_all(partitions.iter().map(|p| self.end(*p))).await;
        until(|| async {
            let progress = worker.progress();
            let done =
                |(_, p): (&(StreamName, PartitionId), &Arc<Progress>)| Offset(p.next_offset());
            progress.iter().map(done).collect::<Vec<_>>() == ends
        })
        .await;
    }

    /// A worker seals all that can be sealed.
    pub(super) async fn seal(&self) {
        let worker = self.worker("a");
        self.followed(&worker).await;
        assert!(worker.is_healthy());
        worker.shutdown().await;
    }

    /// What two runs over the same log must agree on.
    pub(super) async fn outcome(&self) -> Vec<Vec<(Digest, Offset, Vec<String>)>> {
        let of = |partition| async move {
            let links = self.links(partition).await;
            let say = |link: &Link| {
                let body = &link.commit.body;
                let names = body.segments.iter().map(|s| s.name.clone()).collect();
                (link.commit.chain_root, body.next_offset, names)
            };
            links.iter().map(say).collect()
        };
        join_all((0..self.def.partitions).map(of)).await
    }

    /// `(n, offset)` of the rows in a partition's segments, in their order.
    async fn sealed(&self, partition: u32) -> Vec<(i64, u64)> {
        let mut rows = Vec::new();
        for link in self.links(partition).await {
            for segment in &link.commit.body.segments {
                let bytes = self
                    .lake
                    .get_segment(&self.def.name, &segment.name)
                    .await
                    .unwrap();
                tourbillon_lake::verify_segment(&segment.name, &bytes, segment).unwrap();
                let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
                for batch in reader.build().unwrap() {
                    let batch = batch.unwrap();
                    let n = batch
                        .column_by_name("n")
                        .unwrap()
                        .as_primitive::<Int64Type>();
                    let offsets = batch.column(2).as_primitive::<UInt64Type>();
                    rows.extend(
                        n.values()
                            .iter()
                            .copied()
                            .zip(offsets.values().iter().copied()),
                    );
                }
            }
        }
        rows
    }
}

#[tokio::test(start_paused = true)]
async fn sealed_rows_are_the_accepted_rows_in_order() {
    let mut rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 1, 3).await;
    feed.run(400, 1_500_000).await;
    rig.evolve().await;
    feed.rig = rig.clone();
    feed.run(400, 1_500_000).await;
    rig.seal().await;
    for partition in 0..2 {
        let sealed = rig.sealed(partition).await;
        let links = rig.links(partition).await;
        let body = &links.last().unwrap().commit.body;
        let through = body.sealed_key.unwrap().hlc.0;
        let expected = |row: &Row| row.partition == partition && row.hlc <= through;
        let expected = feed
            .ordered()
            .into_iter()
            .filter(expected)
            .map(|row| (row.n, row.offset));
        assert_eq!(sealed, expected.collect::<Vec<_>>());
        assert_eq!(body.sealed_rows, sealed.len() as u64);
        assert!(
            links.len() > 5 && sealed.len() > 1000,
            "{} {}",
            links.len(),
            sealed.len()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn progress_counts_rows_of_commits_made_before() {
    let rig = Rig::new(memory(), 1).await;
    let mut feed = Feed::new(&rig, 2, 2).await;
    feed.run(300, 2_000_000).await;
    rig.seal().await;
    let sealed = rig.sealed(0).await.len() as u64;
    let worker = rig.worker("b");
    rig.followed(&worker).await;
    let progress = worker.progress().into_values().next().unwrap();
    assert_eq!(progress.committed_rows(), sealed);
    assert_eq!(
        (progress.open_rows(), progress.segments()),
        (feed.rows.len() as u64 - sealed, 0)
    );
    worker.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn shares_split_the_partitions() {
    let rig = Rig::new(memory(), 5).await;
    let start = |share| {
        let settings = WorkerSettings {
            share,
            shares: 2,
            nonce: share.to_string(),
            grace: Duration::from_secs(3600),
        };
        Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone())
    };
    let workers = [start(0), start(1)];
    until(|| async { workers.iter().map(|w| w.progress().len()).sum::<usize>() == 5 }).await;
    let taken = |worker: &Worker| {
        worker
            .progress()
            .into_keys()
            .map(|k| k.1.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        [taken(&workers[0]), taken(&workers[1])],
        [vec![0, 2, 4], vec![1, 3]]
    );
    for worker in workers {
        worker.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_chain_halts_its_partition_only() {
    let store = Arc::new(InMemory::new());
    let rig = Rig::new(Lake::with_store(Arc::clone(&store) as _, "memory://"), 2).await;
    let mut feed = Feed::new(&rig, 3, 2).await;
    feed.run(400, 2_000_000).await;
    rig.seal().await;
    let newest = rig.links(0).await.len() - 1;
    let path = format!("ticks/commit/p0/{newest:020}").into();
    let bytes = rig.chain(0).get(newest as u64).await.unwrap().unwrap();
    let mut commit = bytes.commit;
    commit.body.sealed_rows += 1;
    let altered = commit.seal().unwrap().encode().unwrap();
    store
        .put_opts(&path, altered.into(), Default::default())
        .await
        .unwrap();
    let before = rig.links(1).await.len();
    feed.run(400, 2_000_000).await;
    let worker = rig.worker("b");
    until(|| async { !worker.is_healthy() && rig.links(1).await.len() > before }).await;
    let halted: Vec<bool> = worker
        .progress()
        .values()
        .map(|p| p.halted().is_some())
        .collect();
    assert_eq!(halted, [true, false]);
    worker.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_end_halts_the_partition() {
    let rig = Rig::new(memory(), 1).await;
    let mut feed = Feed::new(&rig, 4, 2).await;
    feed.run(300, 2_000_000).await;
    rig.seal().await;
    let other = Rig::new(rig.lake.clone(), 1).await;
    let worker = other.worker("b");
    until(|| async { !worker.is_healthy() }).await;
    worker.shutdown().await;
}
