//! Windows over sealed history: many small ones at once, and a large one in two formats.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout};
use tourbillon_query::QueryService;
use tourbillon_query::encode::{Encoder, OutputFormat};
use tourbillon_shard_worker::{Worker, WorkerSettings};
use tower::ServiceExt;

use crate::bodies::FORMATS;
use crate::delay::percentile;
use crate::rig::{Rig, WINDOW_NS, call};
use crate::{Figure, rate};

/// Small windows, how many rows each has, and how many clients ask at a time.
const SMALL: (usize, usize, usize) = (1000, 1000, 16);

/// Longest that sealing may take.
const PATIENCE: Duration = Duration::from_secs(300);

const WINDOW: &str = "/v1/streams/trades/window";

pub(crate) async fn measure(
    folder: &Path,
    rows: usize,
    runs: usize,
) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::new(folder).await?;
    let stamps = fill(&rig, rows).await?;
    seal(&rig, rows).await?;
    let service = QueryService::start(Arc::clone(&rig.log), rig.lake.clone(), rig.control.clone());
    while !service.is_ready() {
        sleep(Duration::from_millis(5)).await;
    }
    let router = tourbillon_query::http::router(service.clone());
    let formats = [OutputFormat::NdJson, OutputFormat::Arrow];
    let mut figures = Vec::new();
    for p in ["p50", "p99"] {
        figures.push(figure(
            format!("{} windows of {} rows, {p}", SMALL.0, SMALL.1),
            "ms",
        ));
    }
    for format in formats {
        let name = format.content_type();
        figures.push(figure(format!("all rows, {name}"), "M rows/s"));
        figures.push(figure(format!("the same from memory, {name}"), "M rows/s"));
    }
    for _ in 0..runs {
        let took = small(&router, &stamps).await?;
        figures[0].values.push(percentile(&took, 50));
        figures[1].values.push(percentile(&took, 99));
        for (place, format) in formats.into_iter().enumerate() {
            let (read, floor) = large(&router, format, rows).await?;
            figures[2 + 2 * place].values.push(read);
            figures[3 + 2 * place].values.push(floor);
        }
    }
    service.shutdown().await;
    rig.close().await?;
    Ok(figures)
}

fn figure(name: String, unit: &'static str) -> Figure {
    let values = Vec::new();
    Figure { name, unit, values }
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

async fn seal(rig: &Rig, rows: usize) -> anyhow::Result<()> {
    // beats carry the watermark past the last window
    sleep(Duration::from_nanos(WINDOW_NS.unsigned_abs() * 5 / 2)).await;
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "bench".into(),
        grace: Duration::from_secs(900),
    };
    let (log, lake) = (Arc::clone(&rig.log), rig.lake.clone());
    let worker = Worker::start(settings, log, lake, rig.control.clone());
    let sealed = || {
        worker
            .progress()
            .values()
            .map(|p| p.committed_rows())
            .sum::<u64>()
    };
    let all = async {
        while sealed() < rows as u64 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, all).await.context("not sealed in time")?;
    worker.shutdown().await;
    Ok(())
}

/// What each of many small windows took, ms.
async fn small(router: &Router, stamps: &[i64]) -> anyhow::Result<Vec<f64>> {
    // the last body may be short
    let stamps = &stamps[..stamps.len().saturating_sub(1).max(1)];
    let asked = stream::iter(0..SMALL.0).map(|number| {
        let (router, start) = (router.clone(), stamps[number * 7919 % stamps.len()]);
        // a task each, like the connections of a server
        let answered = tokio::spawn(async move { one(&router, start).await });
        async { answered.await? }
    });
    asked.buffer_unordered(SMALL.2).try_collect().await
}

async fn one(router: &Router, start: i64) -> anyhow::Result<f64> {
    let path = format!("{WINDOW}?start={start}&limit={}", SMALL.1);
    let begun = Instant::now();
    let answer = call(router, &path, "", None).await?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let lines = answer.iter().filter(|byte| **byte == b'\n').count();
    ensure!(lines == SMALL.1, "{lines} rows");
    Ok(took)
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
