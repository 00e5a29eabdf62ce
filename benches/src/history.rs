//! The same small windows with more and more history behind them.
//!
//! Three streams end with the same rows; before these one has as many rows again, one nine times and
//! one ninety-nine times as many. The answers must be equal but for their stamps.

use std::path::Path;

use anyhow::{Context, ensure};
use axum::Router;
use bytes::Bytes;
use tokio::time::{Duration, Instant, sleep};
use tourbillon_log::control::StreamRequest;

use crate::Figure;
use crate::bodies::FORMATS;
use crate::delay::percentile;
use crate::rig::{Rig, WINDOW_NS, call};
use crate::sealing::{all_final, seal};
use crate::small::ROWS;

/// How much history a stream has, in parts of the rows that are asked for.
const TIMES: [usize; 3] = [1, 10, 100];

/// Windows of a run and stream, asked for in turns.
const WINDOWS: usize = 300;

const COLUMNS: &str = "symbol,venue,price,size,side,seq,ts_event";

pub(crate) async fn measure(
    folder: &Path,
    rows: usize,
    runs: usize,
) -> anyhow::Result<Vec<Figure>> {
    let name = |times: usize| format!("trades{times}");
    let trades = StreamRequest::builtin("trades").context("trades is built in")?;
    let streams = TIMES.map(|times| StreamRequest {
        name: name(times),
        ..trades.clone()
    });
    let rig = Rig::with(folder, &streams).await?;
    let part = rows / TIMES[2];
    let last = FORMATS[3].bodies(part)?;
    for times in TIMES {
        let older = FORMATS[3].bodies(part * (times - 1))?;
        send(&rig, &name(times), &older).await?;
    }
    // the rows that are asked for lie in segments of their own
    sleep(Duration::from_nanos(WINDOW_NS.unsigned_abs() * 2)).await;
    let mut stamps = Vec::new();
    for times in TIMES {
        stamps.push(send(&rig, &name(times), &last).await?);
    }
    all_final().await;
    seal(&rig, &rig.lake, part * TIMES.iter().sum::<usize>(), 1).await?;
    let service = rig.follow(rig.lake.clone()).await;
    let router = tourbillon_query::http::router(service.clone());
    let mut figures: Vec<Figure> = TIMES
        .iter()
        .map(|times| Figure::new(&format!("{ROWS} rows with {times}x of history, p50"), "ms"))
        .collect();
    for _ in 0..=runs {
        let took = alternating(&router, &stamps, name).await?;
        for (figure, took) in figures.iter_mut().zip(&took) {
            figure.values.push(percentile(took, 50));
        }
    }
    // the first run reads the files
    for figure in &mut figures {
        figure.values.remove(0);
    }
    service.shutdown().await;
    rig.close().await?;
    Ok(figures)
}

/// Sends bodies; the stamps where each but the last begins.
async fn send(rig: &Rig, stream: &str, bodies: &[(Bytes, usize)]) -> anyhow::Result<Vec<i64>> {
    let (router, mut stamps) = (rig.router(), Vec::new());
    let path = format!("/v1/streams/{stream}/events");
    for (body, _) in bodies {
        let answer = call(&router, &path, FORMATS[3].content_type, Some(body.clone())).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        stamps.push(answer["first_hlc"].as_i64().context("a stamp")?);
    }
    if stamps.len() > 1 {
        stamps.pop();
    }
    Ok(stamps)
}

/// What the windows of each stream took, ms, one of each in turn.
async fn alternating(
    router: &Router,
    stamps: &[Vec<i64>],
    name: impl Fn(usize) -> String,
) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut took = vec![Vec::new(); TIMES.len()];
    for number in 0..WINDOWS {
        let mut answers = Vec::new();
        for place in (0..TIMES.len()).map(|place| (place + number) % TIMES.len()) {
            let stamps = &stamps[place];
            let (stream, start) = (name(TIMES[place]), stamps[number * 7919 % stamps.len()]);
            let path =
                format!("/v1/streams/{stream}/window?start={start}&limit={ROWS}&columns={COLUMNS}");
            let begun = Instant::now();
            answers.push(call(router, &path, "", None).await?);
            took[place].push(begun.elapsed().as_secs_f64() * 1e3);
        }
        ensure!(
            answers.windows(2).all(|pair| pair[0] == pair[1]),
            "answers differ"
        );
        let lines = answers[0].iter().filter(|byte| **byte == b'\n').count();
        ensure!(lines == ROWS, "{lines} rows");
    }
    Ok(took)
}
