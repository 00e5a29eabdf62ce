//! The same trades in every format that a gateway takes.

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use tourbillon_cli::market::Market;

/// Rows of a body.
pub(crate) const BODY_ROWS: usize = 16_384;

/// A format: its name, path and content type, and how rows are written in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) content_type: &'static str,
    write: fn(&RecordBatch) -> anyhow::Result<Vec<u8>>,
}

const EVENTS: &str = "/v1/streams/trades/events";

/// What is measured.
pub(crate) const FORMATS: [Format; 4] = [
    Format {
        name: "ndjson",
        path: EVENTS,
        content_type: "application/x-ndjson",
        write: ndjson,
    },
    Format {
        name: "line protocol",
        path: "/api/v2/write?precision=ns",
        content_type: "text/plain",
        write: lines,
    },
    Format {
        name: "csv",
        path: EVENTS,
        content_type: "text/csv",
        write: csv,
    },
    Format {
        name: "arrow",
        path: EVENTS,
        content_type: "application/vnd.apache.arrow.stream",
        write: arrow_stream,
    },
];

impl Format {
    /// Bodies that hold `rows` trades together.
    pub(crate) fn bodies(&self, rows: usize) -> anyhow::Result<Vec<(Bytes, usize)>> {
        let mut market = Market::new(7);
        let (mut bodies, mut left, mut now) = (Vec::new(), rows, 1_700_000_000_000_000_000);
        while left > 0 {
            let count = left.min(BODY_ROWS);
            let trades = market.trades(count, now, now + 10_000_000)?;
            bodies.push(((self.write)(&without_receipt(&trades)?)?.into(), count));
            left -= count;
            now += 10_000_000;
        }
        Ok(bodies)
    }
}

/// Line protocol has one timestamp a row, so no format sends the other.
fn without_receipt(trades: &RecordBatch) -> anyhow::Result<RecordBatch> {
    Ok(trades.project(&(0..trades.num_columns() - 1).collect::<Vec<_>>())?)
}

/// Columns as text, and where each value stands.
fn texts(trades: &RecordBatch) -> anyhow::Result<Vec<Vec<String>>> {
    let options = FormatOptions::default();
    trades
        .columns()
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let column = if i == 2 {
                arrow::compute::cast(column, &arrow::datatypes::DataType::Int64)?
            } else {
                std::sync::Arc::clone(column)
            };
            let format = ArrayFormatter::try_new(&column, &options)?;
            Ok((0..trades.num_rows())
                .map(|row| format.value(row).to_string())
                .collect())
        })
        .collect()
}

fn rows(
    trades: &RecordBatch,
    mut line: impl FnMut([&str; 7]) -> String,
) -> anyhow::Result<Vec<u8>> {
    let texts = texts(trades)?;
    let row = |row: usize| std::array::from_fn(|column| texts[column][row].as_str());
    let lines: String = (0..trades.num_rows()).map(|r| line(row(r))).collect();
    Ok(lines.into_bytes())
}

fn ndjson(trades: &RecordBatch) -> anyhow::Result<Vec<u8>> {
    rows(trades, |[venue, symbol, ts, price, size, side, seq]| {
        format!(
            "{{\"venue\":\"{venue}\",\"symbol\":\"{symbol}\",\"ts_event\":{ts},\"price\":\"{price}\",\"size\":\"{size}\",\"side\":\"{side}\",\"seq\":{seq}}}\n"
        )
    })
}

fn lines(trades: &RecordBatch) -> anyhow::Result<Vec<u8>> {
    rows(trades, |[venue, symbol, ts, price, size, side, seq]| {
        format!(
            "trades,venue={venue},symbol={symbol} price={price},size={size},side=\"{side}\",seq={seq}i {ts}\n"
        )
    })
}

fn csv(trades: &RecordBatch) -> anyhow::Result<Vec<u8>> {
    let schema = trades.schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let mut out = format!("{}\n", names.join(",")).into_bytes();
    out.extend(rows(trades, |fields| format!("{}\n", fields.join(",")))?);
    Ok(out)
}

pub(crate) fn arrow_stream(trades: &RecordBatch) -> anyhow::Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), trades.schema_ref())?;
    writer.write(trades)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}
