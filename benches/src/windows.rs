//! Windows over sealed history: many small ones at once, and a large one in two formats.

use std::path::Path;

use anyhow::{Context, ensure};
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tourbillon_query::encode::{Encoder, OutputFormat};
use tower::ServiceExt;

use crate::bodies::FORMATS;
use crate::rig::{Rig, call};
use crate::sealing::{all_final, seal};
use crate::small::Small;
use crate::{Figure, rate};

pub(crate) const WINDOW: &str = "/v1/streams/trades/window";

pub(crate) async fn measure(
    folder: &Path,
    rows: usize,
    runs: usize,
) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::new(folder).await?;
    let mut stamps = fill(&rig, rows).await?;
    // the last body may be short
    stamps.truncate(stamps.len().saturating_sub(1).max(1));
    all_final().await;
    seal(&rig, &rig.lake, rows, 1).await?;
    let service = rig.follow(rig.lake.clone()).await;
    let router = tourbillon_query::http::router(service.clone());
    let mut small = Small::new(&router, &stamps).await?;
    let formats = [OutputFormat::NdJson, OutputFormat::Arrow];
    let mut figures = Vec::new();
    for format in formats {
        let name = format.content_type();
        figures.push(Figure::new(&format!("all rows, {name}"), "M rows/s"));
        figures.push(Figure::new(
            &format!("the same from memory, {name}"),
            "M rows/s",
        ));
    }
    for _ in 0..runs {
        small.run().await?;
        for (place, format) in formats.into_iter().enumerate() {
            let (read, floor) = large(&router, format, rows).await?;
            figures[2 * place].values.push(read);
            figures[1 + 2 * place].values.push(floor);
        }
    }
    service.shutdown().await;
    rig.close().await?;
    figures.extend(small.figures);
    Ok(figures)
}

/// Stores the rows; the stamp of the first of each body.
async fn fill(rig: &Rig, rows: usize) -> anyhow::Result<Vec<i64>> {
    let (router, arrow, mut stamps) = (rig.router(), FORMATS[3], Vec::new());
    for (body, _) in arrow.bodies(rows)? {
        let answer = call(&router, arrow.path, arrow.content_type, Some(body)).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        stamps.push(answer["first_hlc"].as_i64().context("a stamp")?);
    }
    Ok(stamps)
}

/// Millions of rows a second of a window over everything, and of encoding them alone.
async fn large(router: &Router, format: OutputFormat, rows: usize) -> anyhow::Result<(f64, f64)> {
    let request = Request::get(WINDOW).header("accept", format.content_type());
    let begun = Instant::now();
    let answer = router.clone().oneshot(request.body(Body::empty())?).await?;
    ensure!(answer.status().is_success(), "{}", answer.status());
    let (mut body, mut bytes) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, bytes::Bytes::len);
    }
    let read = rate(rows, begun.elapsed()) / 1e6;
    let limit = format!("{WINDOW}?limit=65536");
    let request = Request::get(limit).header("accept", OutputFormat::Arrow.content_type());
    let answer = router.clone().oneshot(request.body(Body::empty())?).await?;
    let some = answer.into_body().collect().await?.to_bytes();
    let some = StreamReader::try_new(&some[..], None)?;
    let some: Vec<RecordBatch> = some.collect::<Result<_, _>>()?;
    let schema = some.first().context("no rows")?.schema();
    let (mut encoder, mut encoded) = (Encoder::new(format, &schema)?, 0);
    let (begun, mut done) = (Instant::now(), 0);
    for batch in some.iter().cycle() {
        if done >= rows {
            break;
        }
        encoded += encoder.encode(batch)?.len();
        done += batch.num_rows();
    }
    let floor = rate(done, begun.elapsed()) / 1e6;
    // the two must be about the same text for the figures to be about the same thing
    ensure!(
        bytes.abs_diff(encoded) < bytes / 5,
        "{bytes} and {encoded} bytes"
    );
    Ok((read, floor))
}
