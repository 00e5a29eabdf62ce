//! The first row of windows over everything: from what a process has in memory after a request, and
//! from the manifests alone, before it has read any file.

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tourbillon_query::encode::OutputFormat;
use tower::ServiceExt;

use crate::Figure;
use crate::delay::percentile;
use crate::rig::Rig;

/// Windows, each over all rows.
const WINDOWS: [(&str, &str); 5] = [
    ("all", ""),
    ("newest first", "order=desc"),
    ("by event time", "time=event"),
    ("one symbol", "key.symbol=S42"),
    ("1,000 rows", "limit=1000"),
];

/// Warm requests of a window in a run.
const REQUESTS: usize = 20;

/// Time to the first byte that a row stands in, ms.
pub(crate) async fn measure(
    rig: &Rig,
    warm: &Router,
    stream: &str,
    runs: usize,
) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, query) in WINDOWS {
        for format in [OutputFormat::NdJson, OutputFormat::Arrow] {
            let kind = format.content_type();
            let figure =
                |how: &str| Figure::new(&format!("first row, {name}, {kind}, {how}"), "ms");
            let (mut fresh, mut typical, mut worst) =
                (figure("nothing read"), figure("p50"), figure("slowest"));
            let path = format!("/v1/streams/{stream}/window?{query}");
            for _ in 0..runs {
                // a process that knows the manifests and no file
                let new = rig.follow(rig.fresh_lake()?).await;
                let cold = tourbillon_query::http::router(new.clone());
                fresh.values.push(first(&cold, &path, kind).await?);
                new.shutdown().await;
                let mut took = Vec::new();
                for _ in 0..REQUESTS {
                    took.push(first(warm, &path, kind).await?);
                }
                typical.values.push(percentile(&took, 50));
                worst.values.push(percentile(&took, 100));
            }
            figures.extend([fresh, typical, worst]);
        }
    }
    Ok(figures)
}

async fn first(router: &Router, path: &str, kind: &str) -> anyhow::Result<f64> {
    let request = Request::get(path)
        .header("accept", kind)
        .body(Body::empty())?;
    let begun = Instant::now();
    let answer = router.clone().oneshot(request).await?;
    ensure!(answer.status().is_success(), "{path}: {}", answer.status());
    let mut body = answer.into_body();
    let first = body.frame().await.context("an empty answer")??;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    // an Arrow stream begins with its schema, in the same bytes as the first rows
    ensure!(
        first.data_ref().is_some_and(|data| data.len() > 2000),
        "no rows in {path}"
    );
    drop(body);
    // what had been begun behind it ends before the next
    tokio::task::yield_now().await;
    Ok(took)
}
