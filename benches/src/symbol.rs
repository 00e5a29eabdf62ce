//! One symbol out of a hundred, beside DuckDB on the same files.
//!
//! DuckDB is started by `duck.py` with the Python that `--duckdb-python` names. Both count what they
//! found and add it up before the times are looked at.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, ensure};
use arrow::array::{AsArray, DictionaryArray, RecordBatch};
use arrow::compute::sum;
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
use arrow::ipc::reader::StreamReader;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::time::Instant;
use tourbillon_cli::market::Market;
use tourbillon_query::encode::OutputFormat;
use tower::ServiceExt;

use crate::bodies::{BODY_ROWS, arrow_stream};
use crate::first;
use crate::rig::{Rig, call};
use crate::windows::seal;
use crate::{Figure, say};

/// Symbols, and the one that is asked for.
const SYMBOLS: (usize, &str) = (100, "S42");

/// Stream of these symbols, whose name is their key.
const STREAM: &str = "ticks";

/// What is asked for: few columns, and all.
const COLUMNS: [(&str, &str); 2] = [
    ("4 columns", "hlc,writer,price,size"),
    (
        "all columns",
        "hlc,writer,symbol,ts_event,price,size,side,seq",
    ),
];

pub(crate) async fn measure(
    folder: &Path,
    rows: usize,
    runs: usize,
    python: Option<&PathBuf>,
) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::with(folder, &[stream()]).await?;
    fill(&rig, rows).await?;
    seal(&rig, rows).await?;
    let service = rig.follow(rig.lake.clone()).await;
    let router = tourbillon_query::http::router(service.clone());
    let proof = proof(&ask(&router, "seq,price,symbol").await?)?;
    let mut figures = Vec::new();
    for (name, columns) in COLUMNS {
        let mut own = Figure::new(&format!("1 of {} symbols, {name}", SYMBOLS.0), "ms");
        for run in 0..=runs {
            let begun = Instant::now();
            let answer = ask(&router, columns).await?;
            let took = begun.elapsed().as_secs_f64() * 1e3;
            // as DuckDB does, once to warm up
            if run > 0 {
                own.values.push(took);
            }
            ensure!(
                decoded(&answer)?.num_rows().to_string() == proof[0],
                "other rows"
            );
        }
        figures.push(own);
        match python {
            None => say("DuckDB is skipped: name a Python that has it with --duckdb-python\n")?,
            Some(python) => {
                let files = rig.lake_folder().join(STREAM).join("data/**/*.parquet");
                let duck = Duck::ask(python, &files, columns, runs)?;
                ensure!(
                    duck.proof == proof,
                    "DuckDB found {:?}, and we {proof:?}",
                    duck.proof
                );
                let mut peer = Figure::new(&format!("the same, DuckDB {}", duck.version), "ms");
                peer.values = duck.times;
                figures.push(peer);
            }
        }
    }
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

fn decoded(answer: &Bytes) -> anyhow::Result<RecordBatch> {
    let reader = StreamReader::try_new(&answer[..], None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(arrow::compute::concat_batches(&schema, &batches)?)
}

/// What the rows add up to, as DuckDB writes it.
fn proof(answer: &Bytes) -> anyhow::Result<Vec<String>> {
    let rows = decoded(answer)?;
    let seqs = rows.column(0).as_primitive::<Int64Type>();
    let prices = rows.column(1).as_primitive::<Decimal128Type>();
    let squares: i128 = seqs
        .values()
        .iter()
        .map(|seq| i128::from(*seq))
        .map(|s| s * s % 1_000_003)
        .sum();
    let price = sum(prices).context("no prices")?;
    let symbols = rows.column(2).as_string::<i32>();
    ensure!(
        symbols.iter().all(|symbol| symbol == Some(SYMBOLS.1)),
        "rows of other symbols"
    );
    let seqs: i128 = seqs.values().iter().map(|seq| i128::from(*seq)).sum();
    let price = format!("{}.{:09}", price / 1_000_000_000, price % 1_000_000_000);
    Ok(vec![
        rows.num_rows().to_string(),
        seqs.to_string(),
        squares.to_string(),
        price,
    ])
}

/// What DuckDB says.
#[derive(Debug, Deserialize)]
struct Duck {
    version: String,
    times: Vec<f64>,
    proof: Vec<String>,
}

impl Duck {
    fn ask(python: &Path, files: &Path, columns: &str, runs: usize) -> anyhow::Result<Self> {
        let script = ["-c", include_str!("duck.py")];
        let mut command = Command::new(python);
        command.args(script).arg(files).args([SYMBOLS.1, columns]);
        command.arg(runs.to_string()).stderr(Stdio::inherit());
        let said = command
            .output()
            .context("cannot start the Python of --duckdb-python")?;
        ensure!(said.status.success(), "duck.py failed: {}", said.status);
        serde_json::from_slice(&said.stdout).context("duck.py said something else")
    }
}
