//! Workers that seal all that a log holds, and the proof that they sealed it right.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep};
use tourbillon_core::ids::PartitionId;
use tourbillon_lake::Lake;
use tourbillon_shard_worker::verify::Verifier;
use tourbillon_shard_worker::{Worker, WorkerSettings};

use crate::rig::{Rig, WINDOW_NS};

/// Longest that sealing may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Until beats have carried the watermark past the last window.
pub(crate) async fn all_final() {
    sleep(Duration::from_nanos(WINDOW_NS.unsigned_abs() * 5 / 2)).await;
}

/// How long some workers take until these rows are committed, all of which must be final.
pub(crate) async fn seal(
    rig: &Rig,
    lake: &Lake,
    rows: usize,
    workers: u32,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let start = |share| {
        let settings = WorkerSettings {
            share,
            shares: workers,
            nonce: format!("share-{share}"),
            grace: Duration::from_secs(900),
        };
        let log = Arc::clone(&rig.log);
        Worker::start(settings, log, lake.clone(), rig.control.clone())
    };
    let workers: Vec<_> = (0..workers).map(start).collect();
    loop {
        let progress = workers
            .iter()
            .flat_map(|worker| worker.progress().into_values());
        let sealed: u64 = progress.map(|partition| partition.committed_rows()).sum();
        if sealed == rows as u64 {
            break;
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{sealed} of {rows} rows are sealed"
        );
        sleep(Duration::from_millis(2)).await;
    }
    let took = begun.elapsed();
    for worker in workers {
        worker.shutdown().await;
    }
    Ok(took)
}

/// Makes everything again from the log and compares it, as `tourbillon verify` does.
pub(crate) async fn verify(rig: &Rig, lake: &Lake, rows: usize) -> anyhow::Result<()> {
    let view = rig.control.view();
    let def = view.streams.get(&rig.stream).context("no stream")?;
    let mut found = 0;
    for partition in (0..def.partitions).map(PartitionId) {
        let verifier = Verifier {
            log: Arc::clone(&rig.log),
            lake: lake.clone(),
            control: rig.control.clone(),
            def: Arc::clone(def),
            partition,
        };
        let report = verifier.run().await?;
        let differences = [report.differences, report.strays].concat();
        ensure!(
            differences.is_empty(),
            "partition {partition}: {differences:?}"
        );
        found += report.sealed_rows;
    }
    ensure!(found == rows as u64, "{found} of {rows} rows were verified");
    Ok(())
}
