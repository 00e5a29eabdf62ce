//! `tourbillon window`.

use std::io::Write;

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::util::pretty::pretty_format_batches;
use futures::StreamExt;

use crate::args::{PrintFormat, WindowArgs};
use crate::client::Client;
use crate::out::{self, Outcome};

/// Rows that a table shows under one header.
const TABLE_ROWS: usize = 1000;

/// Prints a window as the service streams it.
pub(crate) async fn run(args: WindowArgs) -> anyhow::Result<Outcome> {
    let client = Client::new(&args.service.url)?;
    let query = query(&args)?;
    let path = ["v1", "streams", args.stream.as_str(), "window"];
    let answer = client.get(&path, &query, accept(args.format)).await?;
    let header = |name: &str| {
        let value = answer
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or("?").to_owned()
    };
    let complete = header("tourbillon-complete-through");
    let is_final = header("tourbillon-final") == "true";
    let mut sink: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(
            std::fs::File::create(path)
                .with_context(|| format!("cannot write {}", path.display()))?,
        ),
        None => Box::new(std::io::stdout()),
    };
    let mut bytes = answer.bytes_stream();
    let mut tables = (args.format == PrintFormat::Table).then(Tables::default);
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.context("the answer broke off: the rows above are not all")?;
        let written = match &mut tables {
            Some(tables) => tables.add(chunk.into(), &mut sink)?,
            None => sink.write_all(&chunk),
        };
        if let Err(error) = written {
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                return Ok(Outcome::Done);
            }
            return Err(error).context("cannot write the rows");
        }
    }
    if let Some(tables) = &mut tables {
        tables.flush(&mut sink)??;
        let state = if is_final {
            "final"
        } else {
            "may still change"
        };
        out::note(&format!(
            "{} rows, {state}; the stream is complete through {complete}",
            out::thousands(tables.rows)
        ));
    }
    sink.flush()?;
    Ok(Outcome::Done)
}

fn query(args: &WindowArgs) -> anyhow::Result<Vec<(String, String)>> {
    let limit = args.limit.map(|limit| limit.to_string());
    let plain = [
        ("start", &args.start),
        ("end", &args.end),
        ("columns", &args.columns),
        ("order", &args.order),
        ("limit", &limit),
        ("consistency", &args.consistency),
        ("wait", &args.wait),
    ];
    let given = plain
        .into_iter()
        .filter_map(|(name, value)| value.clone().map(|value| (name.to_owned(), value)));
    let mut query: Vec<_> = given.collect();
    query.extend(keys(&args.keys)?);
    Ok(query)
}

/// `--key symbol=A,B` as `key.symbol=A,B`.
pub(crate) fn keys(keys: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    keys.iter()
        .map(|key| match key.split_once('=') {
            Some((column, values)) => Ok((format!("key.{column}"), values.to_owned())),
            None => bail!("--key {key}: write COLUMN=VALUE[,VALUE]"),
        })
        .collect()
}

fn accept(format: PrintFormat) -> &'static str {
    match format {
        PrintFormat::Csv => "text/csv",
        PrintFormat::Ndjson => "application/x-ndjson",
        PrintFormat::Json => "application/json",
        PrintFormat::Table | PrintFormat::Arrow => "application/vnd.apache.arrow.stream",
        PrintFormat::Parquet => "application/vnd.apache.parquet",
    }
}

/// Arrow batches to aligned tables.
#[derive(Default)]
struct Tables {
    decoder: StreamDecoder,
    pending: Vec<RecordBatch>,
    held: usize,
    rows: u64,
}

impl Tables {
    fn add(&mut self, bytes: Buffer, sink: &mut dyn Write) -> anyhow::Result<std::io::Result<()>> {
        let mut bytes = bytes;
        while let Some(batch) = self.decoder.decode(&mut bytes)? {
            let mut at = 0;
            while at < batch.num_rows() {
                let rows = (batch.num_rows() - at).min(TABLE_ROWS - self.held);
                self.pending.push(batch.slice(at, rows));
                self.held += rows;
                at += rows;
                if self.held == TABLE_ROWS
                    && let Err(error) = self.flush(sink)?
                {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(()))
    }

    fn flush(&mut self, sink: &mut dyn Write) -> anyhow::Result<std::io::Result<()>> {
        if self.held == 0 {
            return Ok(Ok(()));
        }
        let table = pretty_format_batches(&self.pending)?;
        self.rows += self.held as u64;
        self.held = 0;
        let written = writeln!(sink, "{table}");
        self.pending.clear();
        Ok(written)
    }
}
