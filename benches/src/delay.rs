//! From the acknowledgement of a row to the window that shows it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep};
use tourbillon_query::QueryService;

use crate::Figure;
use crate::rig::{Rig, call};

/// Rows watched in one run.
const PROBES: usize = 500;

/// Longest a row may stay invisible.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn measure(folder: &Path, runs: usize) -> anyhow::Result<Vec<Figure>> {
    let figure = |name: &str| Figure {
        name: name.to_owned(),
        unit: "ms",
        values: Vec::new(),
    };
    let mut figures = vec![
        figure("one row, request to acknowledgement, p50"),
        figure("one row, request to acknowledgement, p99"),
        figure("acknowledgement to latest window, p50"),
        figure("acknowledgement to latest window, p99"),
    ];
    for _ in 0..runs {
        let rig = Rig::new(folder).await?;
        let service =
            QueryService::start(Arc::clone(&rig.log), rig.lake.clone(), rig.control.clone());
        let (acks, seen) = probe(&rig, &service).await?;
        let values = [
            percentile(&acks, 50),
            percentile(&acks, 99),
            percentile(&seen, 50),
            percentile(&seen, 99),
        ];
        for (figure, value) in figures.iter_mut().zip(values) {
            figure.values.push(value);
        }
        service.shutdown().await;
        rig.close().await?;
    }
    Ok(figures)
}

async fn probe(rig: &Rig, service: &QueryService) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let (write, read) = (
        rig.router(),
        tourbillon_query::http::router(service.clone()),
    );
    while !service.is_ready() {
        sleep(Duration::from_millis(5)).await;
    }
    let (mut acks, mut seen) = (Vec::new(), Vec::new());
    for i in 0..PROBES {
        let row = format!(
            "{{\"venue\":\"X\",\"symbol\":\"S{}\",\"ts_event\":1,\"price\":\"1\",\"size\":\"1\"}}",
            i % 50
        );
        let asked = Instant::now();
        let answer = call(
            &write,
            "/v1/streams/trades/events",
            "application/x-ndjson",
            Some(row.into()),
        )
        .await?;
        let acked = Instant::now();
        acks.push((acked - asked).as_secs_f64() * 1e3);
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        let hlc = answer["first_hlc"].as_i64().context("a stamp")?;
        let window = format!(
            "/v1/streams/trades/window?consistency=latest&columns=hlc&start={hlc}&end={}",
            hlc + 1
        );
        loop {
            let rows = call(&read, &window, "", None).await?;
            if !rows.is_empty() {
                break;
            }
            ensure!(acked.elapsed() < PATIENCE, "the row does not show");
            tokio::task::yield_now().await;
        }
        seen.push(acked.elapsed().as_secs_f64() * 1e3);
        sleep(Duration::from_millis(2)).await;
    }
    Ok((acks, seen))
}

pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).copied().unwrap_or(0.0)
}
