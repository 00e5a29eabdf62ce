//! Windows over a stream of a hundred symbols, beside DuckDB and chDB on the same files: one symbol, all
//! of them in order, and the first rows.
//!
//! Before a time counts, the rows of both sides have been counted and added up in their order.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use arrow::array::{DictionaryArray, RecordBatch};
use arrow::datatypes::Int32Type;
use arrow::ipc::reader::StreamReader;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tourbillon_cli::market::Market;
use tourbillon_query::encode::OutputFormat;
use tower::ServiceExt;

use crate::bodies::{BODY_ROWS, arrow_stream};
use crate::peer::Question;
use crate::rig::{Rig, call};
use crate::sealing::{all_final, seal};
use crate::{Figure, first, ordered, peer};

/// Symbols, and the one that is asked for.
const SYMBOLS: (usize, &str) = (100, "S42");

/// Stream of these symbols, whose name is their key.
pub(crate) const STREAM: &str = "ticks";

/// What is asked for: few columns, and all.
const COLUMNS: [(&str, &str); 2] = [
    ("4 columns", "hlc,writer,price,size"),
    ("all columns", ALL_COLUMNS),
];

pub(crate) const ALL_COLUMNS: &str = "hlc,writer,symbol,ts_event,price,size,side,seq";

pub(crate) async fn measure(
    folder: &Path,
    rows: usize,
    runs: usize,
    python: Option<&Path>,
) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::with(folder, &[stream()]).await?;
    fill(&rig, rows).await?;
    all_final().await;
    seal(&rig, &rig.lake, rows, 1).await?;
    let service = rig.follow(rig.lake.clone()).await;
    let router = tourbillon_query::http::router(service.clone());
    let files = rig.lake_folder().join(STREAM).join("data/**/*.parquet");
    let mut figures = Vec::new();
    for (name, columns) in COLUMNS {
        let mut own = Figure::new(&format!("1 of {} symbols, {name}", SYMBOLS.0), "ms");
        let mut proofs = BTreeSet::new();
        for run in 0..=runs {
            let begun = Instant::now();
            let answer = ask(&router, columns).await?;
            let took = begun.elapsed().as_secs_f64() * 1e3;
            // as the peers do, once to warm up
            if run > 0 {
                own.values.push(took);
            }
            proofs.insert(peer::proof(&decoded(&answer)?)?);
        }
        ensure!(proofs.len() == 1, "answers differ: {proofs:?}");
        let proof = proofs.pop_first().unwrap_or_default();
        figures.push(own);
        let question = Question {
            files: files.clone(),
            columns: columns.to_owned(),
            symbol: Some(SYMBOLS.1.to_owned()),
            hlc: None,
        };
        figures.extend(question.beside(python, runs, &proof)?);
    }
    figures.extend(ordered::measure(&rig, &service, &files, runs, python).await?);
    figures.extend(first::measure(&rig, &router, STREAM, runs).await?);
    service.shutdown().await;
    rig.close().await?;
    Ok(figures)
}

fn stream() -> tourbillon_log::control::StreamRequest {
    let trades = tourbillon_log::control::StreamRequest::builtin("trades").unwrap_or_default();
    let columns = trades.columns.into_iter();
    let left_out = ["venue", "ts_recv"];
    tourbillon_log::control::StreamRequest {
        name: STREAM.to_owned(),
        columns: columns
            .filter(|c| !left_out.contains(&c.name.as_str()))
            .collect(),
        key: Some(vec!["symbol".to_owned()]),
        partitions: Some(4),
        ..trades
    }
}

/// Trades of a simulated market under other names, each as often as any other.
async fn fill(rig: &Rig, rows: usize) -> anyhow::Result<()> {
    let names: Vec<String> = (0..SYMBOLS.0).map(|i| format!("S{i}")).collect();
    let (mut market, gateway) = (Market::new(7), rig.router());
    let path = format!("/v1/streams/{STREAM}/events");
    let (mut left, mut now) = (rows, 1_700_000_000_000_000_000);
    while left > 0 {
        let count = left.min(BODY_ROWS);
        let trades = market.trades(count, now, now + 10_000_000)?;
        let name = |i: usize| {
            let spread = ((left - i) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            names[usize::try_from(spread).unwrap_or(0) % names.len()].as_str()
        };
        let symbols: DictionaryArray<Int32Type> = (0..count).map(name).collect();
        let mut columns = trades.columns().to_vec();
        columns[1] = Arc::new(symbols);
        let trades = RecordBatch::try_new(trades.schema(), columns)?;
        let body = arrow_stream(&trades.project(&[1, 2, 3, 4, 5, 6])?)?;
        let kind = OutputFormat::Arrow.content_type();
        call(&gateway, &path, kind, Some(body.into())).await?;
        left -= count;
        now += 10_000_000;
    }
    Ok(())
}

async fn ask(router: &Router, columns: &str) -> anyhow::Result<Bytes> {
    let path = format!(
        "/v1/streams/{STREAM}/window?key.symbol={}&columns={columns}",
        SYMBOLS.1
    );
    let request = Request::get(path).header("accept", OutputFormat::Arrow.content_type());
    let answer = router.clone().oneshot(request.body(Body::empty())?).await?;
    ensure!(answer.status().is_success(), "{}", answer.status());
    Ok(answer.into_body().collect().await?.to_bytes())
}

fn decoded(answer: &Bytes) -> anyhow::Result<Vec<RecordBatch>> {
    let reader = StreamReader::try_new(&answer[..], None)?;
    Ok(reader.collect::<Result<_, _>>()?)
}
