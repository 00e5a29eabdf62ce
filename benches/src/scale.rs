//! The same rows through more partitions and more workers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};
use tourbillon_lake::Lake;
use tourbillon_log::control::StreamRequest;
use tourbillon_shard_worker::{Worker, WorkerSettings};

use crate::bodies::FORMATS;
use crate::rig::{Rig, WINDOW_NS, call};
use crate::{Figure, rate};

/// Partitions and workers of each measurement.
const SCALES: [(u32, u32); 6] = [(1, 1), (2, 1), (4, 1), (8, 1), (4, 2), (8, 2)];

/// Requests in flight.
const IN_FLIGHT: usize = 8;

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(
    folder: &Path,
    rows: usize,
    runs: usize,
) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (partitions, workers) in SCALES {
        let name = |stage| format!("{partitions} partitions, {stage}");
        let mut taken = Figure::new(&name("gateway, arrow".to_owned()), "M rows/s");
        let mut sealed = Figure::new(&name(format!("{workers} workers")), "M rows/s");
        for _ in 0..runs {
            let trades = StreamRequest::builtin("trades").context("trades is built in")?;
            let trades = StreamRequest {
                partitions: Some(partitions),
                ..trades
            };
            let rig = Rig::with(folder, &[trades]).await?;
            taken.values.push(rate(rows, take(&rig, rows).await?) / 1e6);
            sealed
                .values
                .push(rate(rows, seal(folder, &rig, rows, workers).await?) / 1e6);
            rig.close().await?;
        }
        if workers == 1 {
            figures.push(taken);
        }
        figures.push(sealed);
    }
    Ok(figures)
}

async fn take(rig: &Rig, rows: usize) -> anyhow::Result<Duration> {
    let (router, arrow) = (rig.router(), FORMATS[3]);
    let bodies = arrow.bodies(rows)?;
    let begun = Instant::now();
    let calls = stream::iter(bodies)
        .map(|(body, _)| call(&router, arrow.path, arrow.content_type, Some(body)));
    calls
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<Vec<_>>()
        .await?;
    let took = begun.elapsed();
    // beats carry the watermark past the last window
    sleep(Duration::from_nanos(WINDOW_NS.unsigned_abs() * 5 / 2)).await;
    rig.gateway.shutdown().await;
    Ok(took)
}

async fn seal(folder: &Path, rig: &Rig, rows: usize, shares: u32) -> anyhow::Result<Duration> {
    let target = tempfile::tempdir_in(folder)?;
    let lake = Lake::open(target.path().to_str().context("a UTF-8 folder")?)?;
    let begun = Instant::now();
    let start = |share| {
        let settings = WorkerSettings {
            share,
            shares,
            nonce: format!("share-{share}"),
            grace: Duration::from_secs(900),
        };
        Worker::start(
            settings,
            Arc::clone(&rig.log),
            lake.clone(),
            rig.control.clone(),
        )
    };
    let workers: Vec<_> = (0..shares).map(start).collect();
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
