//! Rows of a running service on a terminal or in a file.

use std::io::Write;

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use futures::StreamExt;
use reqwest::Response;

use crate::args::{PrintArgs, PrintFormat, RangeArgs, ServiceArgs};
use crate::client::Client;
use crate::load::schema_of;
use crate::out::{self, Outcome};

/// How a table shows times.
const TABLE_TIME: &str = "%Y-%m-%dT%H:%M:%S%.9fZ";

/// Rows that a table shows under one header.
const TABLE_ROWS: usize = 1000;

/// Gets rows and prints them as the service streams them.
pub(crate) async fn rows(
    service: &ServiceArgs,
    path: &[&str],
    query: &[(String, String)],
    print: &PrintArgs,
) -> anyhow::Result<Outcome> {
    let client = Client::new(&service.url)?;
    let answer = client.get(path, query, accept(print.format)).await?;
    let header = |name: &str| {
        let value = answer
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or("?").to_owned()
    };
    let complete = header("tourbillon-complete-through");
    let is_final = header("tourbillon-final") == "true";
    let rows = copy(answer, print).await?;
    if let Some(rows) = rows {
        let state = if is_final {
            "final"
        } else {
            "may still change"
        };
        out::note(&format!(
            "{} rows, {state}; the stream is complete through {complete}",
            out::thousands(rows)
        ));
    }
    Ok(Outcome::Done)
}

/// Prints an answer as it comes, to a file or standard output. How many rows a table had; none if
/// it was no table, or its reader has gone away.
pub(crate) async fn copy(answer: Response, print: &PrintArgs) -> anyhow::Result<Option<u64>> {
    let mut sink: Box<dyn Write + Send> = match &print.output {
        Some(path) => Box::new(
            std::fs::File::create(path)
                .with_context(|| format!("cannot write {}", path.display()))?,
        ),
        None => Box::new(std::io::stdout()),
    };
    let mut bytes = answer.bytes_stream();
    let mut tables = (print.format == PrintFormat::Table).then(Tables::default);
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.context("the answer broke off: the rows above are not all")?;
        let written = match &mut tables {
            Some(tables) => tables.add(chunk.into(), &mut sink)?,
            None => sink.write_all(&chunk),
        };
        if let Err(error) = written {
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                return Ok(None);
            }
            return Err(error).context("cannot write the rows");
        }
    }
    if let Some(tables) = &mut tables {
        tables.flush(&mut sink)??;
    }
    sink.flush()?;
    Ok(tables.map(|tables| tables.rows))
}

/// Parameters that were given, with those of the range.
pub(crate) fn query(
    own: &[(&str, &Option<String>)],
    range: &RangeArgs,
) -> anyhow::Result<Vec<(String, String)>> {
    let limit = range.limit.map(|limit| limit.to_string());
    let of_range = [
        ("start", &range.start),
        ("end", &range.end),
        ("time", &range.time),
        ("limit", &limit),
        ("consistency", &range.consistency),
        ("wait", &range.wait),
    ];
    let given = own.iter().chain(&of_range);
    let given = given.filter_map(|(name, value)| {
        let value = (*value).clone()?;
        Some(((*name).to_owned(), value))
    });
    let mut query: Vec<_> = given.collect();
    query.extend(keys(&range.keys)?);
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

pub(crate) fn accept(format: PrintFormat) -> &'static str {
    match format {
        PrintFormat::Csv => "text/csv",
        PrintFormat::Ndjson => "application/x-ndjson",
        PrintFormat::Json => "application/json",
        PrintFormat::Table | PrintFormat::Arrow => "application/vnd.apache.arrow.stream",
        PrintFormat::Parquet => "application/vnd.apache.parquet",
    }
}

/// The same rows, times without the zone that [`TABLE_TIME`] writes.
fn zoneless(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let ty = match field.data_type() {
            DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, None),
            other => other.clone(),
        };
        columns.push(cast(column, &ty)?);
        fields.push(Field::new(field.name(), ty, field.is_nullable()));
    }
    RecordBatch::try_new(schema_of(fields), columns)
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
        let rows: Vec<_> = self
            .pending
            .iter()
            .map(zoneless)
            .collect::<Result<_, _>>()?;
        let options = FormatOptions::new().with_timestamp_format(Some(TABLE_TIME));
        let table = pretty_format_batches_with_options(&rows, &options)?;
        self.rows += self.held as u64;
        self.held = 0;
        let written = writeln!(sink, "{table}");
        self.pending.clear();
        Ok(written)
    }
}
