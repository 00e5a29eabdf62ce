//! A worker from a full log to committed Parquet.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};
use tourbillon_lake::Lake;
use tourbillon_shard_worker::{Worker, WorkerSettings};

use crate::bodies::FORMATS;
use crate::floors;
use crate::rig::{Rig, WINDOW_NS, call};
use crate::{Figure, rate};

/// Longest a measurement may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(
    folder: &Path,
    rows: usize,
    runs: usize,
) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::new(folder).await?;
    let router = rig.router();
    let arrow = FORMATS[3];
    for (body, _) in arrow.bodies(rows)? {
        call(&router, arrow.path, arrow.content_type, Some(body)).await?;
    }
    // beats carry the watermark past the last window
    sleep(Duration::from_nanos(WINDOW_NS.unsigned_abs() * 5 / 2)).await;
    rig.gateway.shutdown().await;
    let (mut values, mut shares) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let target = tempfile::tempdir_in(folder)?;
        let lake = Lake::open(target.path().to_str().unwrap_or_default())?;
        let settings = WorkerSettings {
            share: 0,
            shares: 1,
            nonce: format!("run-{run}"),
            grace: Duration::from_secs(900),
        };
        let begun = Instant::now();
        let worker = Worker::start(settings, Arc::clone(&rig.log), lake, rig.control.clone());
        loop {
            let sealed: u64 = worker.progress().values().map(|p| p.committed_rows()).sum();
            if sealed == rows as u64 {
                break;
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "{sealed} of {rows} rows are sealed"
            );
            sleep(Duration::from_millis(2)).await;
        }
        let took = begun.elapsed().as_secs_f64();
        values.push(rate(rows, begun.elapsed()) / 1e6);
        worker.shutdown().await;
        let (written, floor) = floors::parquet(&rig).await?;
        ensure!(written == rows, "the floor wrote {written} of {rows} rows");
        shares.push(floor / took);
    }
    rig.close().await?;
    let figure = |name: &str, unit, values| Figure {
        name: name.to_owned(),
        unit,
        values,
    };
    Ok(vec![
        figure("worker, log to committed Parquet", "M rows/s", values),
        figure(
            "worker: of decode and Arrow's Parquet writer, one thread",
            "x",
            shares,
        ),
    ])
}
