//! Peers that read the same Parquet files: DuckDB and chDB, each in a Python process of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::sum;
use arrow::datatypes::{Decimal128Type, TimestampNanosecondType};
use serde::{Deserialize, Serialize};

use crate::{Figure, say};

/// Modulus of places and stamps in a proof, which must depend on the order of rows and fit 64 bits.
const PLACES: u64 = 65_521;

/// Systems that `peer.py` knows.
const ENGINES: [&str; 2] = ["DuckDB", "chDB"];

/// What a peer is asked for, in order of `hlc` and `writer`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Question {
    pub(crate) files: PathBuf,
    /// `hlc` and `price` must be among them.
    pub(crate) columns: String,
    pub(crate) symbol: Option<String>,
    /// Times as text, half-open.
    pub(crate) hlc: Option<(String, String)>,
}

#[derive(Debug, Serialize)]
struct Asked<'a> {
    engine: &'a str,
    runs: usize,
    #[serde(flatten)]
    question: &'a Question,
}

/// What a peer says.
#[derive(Debug, Deserialize)]
struct Answer {
    version: String,
    times: Vec<f64>,
    proof: Vec<String>,
}

impl Question {
    /// The times of every peer, if there is a Python that has them.
    pub(crate) fn beside(
        &self,
        python: Option<&Path>,
        runs: usize,
        proof: &[String],
    ) -> anyhow::Result<Vec<Figure>> {
        let Some(python) = python else {
            say("DuckDB and chDB are skipped: name a Python that has them with --peers-python\n")?;
            return Ok(Vec::new());
        };
        let ask = |engine: &&str| self.ask(engine, python, runs, proof);
        ENGINES.iter().map(ask).collect()
    }

    /// Times of a peer, ms, once it has answered with the rows that were proven.
    fn ask(
        &self,
        engine: &str,
        python: &Path,
        runs: usize,
        proof: &[String],
    ) -> anyhow::Result<Figure> {
        let mut command = Command::new(python);
        command.args(["-c", include_str!("peer.py")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut peer = command
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let asked = Asked {
            engine,
            runs,
            question: self,
        };
        let mut stdin = peer.stdin.take().context("a pipe")?;
        stdin.write_all(serde_json::to_string(&asked)?.as_bytes())?;
        drop(stdin);
        let said = peer.wait_with_output()?;
        ensure!(said.status.success(), "peer.py failed: {}", said.status);
        let answer: Answer =
            serde_json::from_slice(&said.stdout).context("peer.py said something else")?;
        let found = &answer.proof;
        ensure!(found == proof, "{engine} found {found:?}, and we {proof:?}");
        let mut figure = Figure::new(&format!("the same, {engine} {}", answer.version), "ms");
        figure.values = answer.times;
        Ok(figure)
    }
}

/// Rows, their stamps by their places, and the sum of their prices, as `peer.py` adds up.
pub(crate) fn proof(batches: &[RecordBatch]) -> anyhow::Result<Vec<String>> {
    let (mut rows, mut total, mut prices) = (0, 0, 0);
    for batch in batches {
        let stamps = batch.column_by_name("hlc");
        let stamps = stamps.and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
        for stamp in stamps.context("no stamps")?.values() {
            total += rows % PLACES * (stamp.unsigned_abs() % PLACES);
            rows += 1;
        }
        let price = batch.column_by_name("price");
        let price = price.and_then(|column| column.as_primitive_opt::<Decimal128Type>());
        prices += sum(price.context("no prices")?).unwrap_or_default();
    }
    let prices = format!("{}.{:09}", prices / 1_000_000_000, prices % 1_000_000_000);
    Ok(vec![rows.to_string(), total.to_string(), prices])
}
