//! The same rows through more partitions and more workers.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use tourbillon_log::control::StreamRequest;

use crate::bodies::FORMATS;
use crate::rig::{Rig, call};
use crate::sealing::{all_final, seal, verify};
use crate::{Figure, rate};

/// Partitions and workers of each measurement.
const SCALES: [(u32, u32); 6] = [(1, 1), (2, 1), (4, 1), (8, 1), (4, 2), (8, 2)];

/// Requests in flight.
const IN_FLIGHT: usize = 8;

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
            let took = seal(&rig, &rig.lake, rows, workers).await?;
            sealed.values.push(rate(rows, took) / 1e6);
            verify(&rig, &rig.lake, rows).await?;
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
    all_final().await;
    rig.gateway.shutdown().await;
    Ok(took)
}
