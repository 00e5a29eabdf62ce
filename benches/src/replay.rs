//! A stream again in its order, as `tourbillon replay` reads it: from the log before anything is
//! sealed, and from Parquet after; beside decoding the same frames and files, unordered.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::time::Instant;
use tourbillon_query::params::WindowParams;

use crate::bodies::FORMATS;
use crate::rig::{Rig, call};
use crate::sealing::{all_final, seal};
use crate::{Figure, floors, rate};

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
    let mut figures = Vec::new();
    let from_log = |rig| floors::frames(rig);
    figures.extend(compared("the log", &rig, rows, runs, async || from_log(&rig).await).await?);
    all_final().await;
    seal(&rig, &rig.lake, rows, 1).await?;
    let files = files(&rig.lake_folder())?;
    figures.extend(compared("Parquet", &rig, rows, runs, async || decoded(&files)).await?);
    rig.close().await?;
    Ok(figures)
}

/// Replays and the floor by turns.
async fn compared(
    from: &str,
    rig: &Rig,
    rows: usize,
    runs: usize,
    floor: impl AsyncFn() -> anyhow::Result<(usize, f64)>,
) -> anyhow::Result<Vec<Figure>> {
    let mut replays = Figure::new(&format!("replay from {from}, start included"), "M rows/s");
    let mut share = Figure::new(
        &format!("replay from {from}: of decoding alone, one thread"),
        "x",
    );
    for _ in 0..runs {
        let took = replayed(rig, rows).await?;
        let (decoded, alone) = floor().await?;
        ensure!(
            decoded == rows,
            "the floor decoded {decoded} of {rows} rows"
        );
        replays.values.push(rate(rows, took) / 1e6);
        share.values.push(alone / took.as_secs_f64());
    }
    Ok(vec![replays, share])
}

/// From the start of a query service until it has given every row.
async fn replayed(rig: &Rig, rows: usize) -> anyhow::Result<std::time::Duration> {
    let begun = Instant::now();
    let service = rig.follow(rig.fresh_lake()?).await;
    let view = rig.control.view();
    let def = view
        .streams
        .get(&rig.stream)
        .context("the stream is there")?;
    let mut params = WindowParams::everything(def.schema());
    params.end = Some(service.complete_through(def)?.plus(1).0);
    let mut batches = service.window(def, &params).await?.batches;
    let (mut found, mut last) = (0, i64::MIN);
    while let Some(batch) = batches.try_next().await? {
        found += batch.num_rows();
        let stamp = floors::first_stamp(&batch)?;
        ensure!(stamp > last, "out of order");
        last = stamp;
    }
    let took = begun.elapsed();
    service.shutdown().await;
    ensure!(found == rows, "{found} of {rows} rows came back");
    Ok(took)
}

/// The Parquet files below a folder.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|end| end == "parquet") {
            found.push(path);
        }
    }
    Ok(found)
}

fn decoded(files: &[PathBuf]) -> anyhow::Result<(usize, f64)> {
    let begun = Instant::now();
    let mut rows = 0;
    for file in files {
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build()? {
            rows += batch?.num_rows();
        }
    }
    Ok((rows, begun.elapsed().as_secs_f64()))
}
