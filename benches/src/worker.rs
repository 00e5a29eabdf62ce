//! A worker from a full log to committed Parquet.

use std::path::Path;

use anyhow::{Context, ensure};
use tourbillon_lake::Lake;

use crate::bodies::FORMATS;
use crate::rig::{Rig, call};
use crate::sealing::{all_final, seal, verify};
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
    all_final().await;
    rig.gateway.shutdown().await;
    let (mut values, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let target = tempfile::tempdir_in(folder)?;
        let lake = Lake::open(target.path().to_str().context("a UTF-8 folder")?)?;
        let took = seal(&rig, &lake, rows, 1).await?;
        values.push(rate(rows, took) / 1e6);
        verify(&rig, &lake, rows).await?;
        let (written, floor) = floors::parquet(&rig).await?;
        ensure!(written == rows, "the floor wrote {written} of {rows} rows");
        shares.push(floor / took.as_secs_f64());
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
