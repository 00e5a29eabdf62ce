//! What an answer must be, made from the rows in the plainest way.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use chrono::{DateTime, SecondsFormat};

use crate::rig::feed::Row;

/// All columns but `log_offset`, which is only given on request. The last is not in version 1.
pub(super) const COLUMNS: [&str; 12] = [
    "hlc", "writer", "symbol", "lot", "ts", "price", "big", "ratio", "side", "up", "n", "note",
];

fn time(ns: i64) -> String {
    DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

fn money(value: i128) -> String {
    let (sign, value) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    format!(
        "{sign}{}.{:09}",
        value / 1_000_000_000,
        value % 1_000_000_000
    )
}

/// A value as JSON; none is null.
fn json(row: &Row, column: &str) -> Option<String> {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    match column {
        "hlc" => Some(quoted(&time(row.hlc))),
        "writer" => Some(row.writer.to_string()),
        "log_offset" => Some(row.offset.to_string()),
        "symbol" => Some(quoted(row.symbol)),
        "lot" => Some(row.lot.to_string()),
        "ts" => row.ts.map(|ts| quoted(&time(ts))),
        "price" => row.price.map(money),
        "big" => row.big.map(|v| v.to_string()),
        "ratio" => row
            .ratio
            .filter(|v| v.is_finite())
            .map(|v| format!("{v:?}")),
        "side" => row.side.map(quoted),
        "up" => row.up.map(|v| v.to_string()),
        "n" => Some(row.n.to_string()),
        "note" => row.note.map(quoted),
        _ => panic!("no column {column}"),
    }
}

fn object(row: &Row, columns: &[&str]) -> String {
    let member = |column: &&str| {
        let value = json(row, column).unwrap_or_else(|| "null".into());
        format!("\"{column}\":{value}")
    };
    format!(
        "{{{}}}",
        columns.iter().map(member).collect::<Vec<_>>().join(",")
    )
}

pub(super) fn ndjson(rows: &[Row], columns: &[&str]) -> String {
    rows.iter().map(|row| object(row, columns) + "\n").collect()
}

pub(super) fn json_array(rows: &[Row], columns: &[&str]) -> String {
    let objects: Vec<String> = rows.iter().map(|row| object(row, columns)).collect();
    format!("[{}]", objects.join(","))
}

/// RFC 4180: quotes where they are needed, nothing for null.
pub(super) fn csv(rows: &[Row], columns: &[&str]) -> String {
    let field = |row: &Row, column: &str| {
        let text = match column {
            "hlc" => time(row.hlc),
            "ts" => row.ts.map(time).unwrap_or_default(),
            "symbol" => row.symbol.to_owned(),
            "side" => row.side.unwrap_or_default().to_owned(),
            "note" => row.note.unwrap_or_default().to_owned(),
            "ratio" => row.ratio.map(|v| format!("{v:?}")).unwrap_or_default(),
            _ => json(row, column).unwrap_or_default(),
        };
        // a row of one empty field would be an empty line
        let alone = columns.len() == 1 && text.is_empty();
        if alone || text.contains(['"', ',']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    let line = |row: &Row| {
        columns
            .iter()
            .map(|c| field(row, c))
            .collect::<Vec<_>>()
            .join(",")
    };
    let lines = rows.iter().map(line);
    std::iter::once(columns.join(","))
        .chain(lines)
        .map(|line| line + "\n")
        .collect()
}

/// The rows as Arrow, strings plain.
pub(super) fn batch(rows: &[Row], columns: &[&str]) -> RecordBatch {
    let column = |name: &&str| -> (String, ArrayRef, bool) {
        let array: ArrayRef = match *name {
            "hlc" => times(rows.iter().map(|row| Some(row.hlc)).collect()),
            "writer" => Arc::new(
                rows.iter()
                    .map(|row| Some(row.writer))
                    .collect::<UInt32Array>(),
            ),
            "log_offset" => Arc::new(
                rows.iter()
                    .map(|row| Some(row.offset))
                    .collect::<UInt64Array>(),
            ),
            "symbol" => Arc::new(
                rows.iter()
                    .map(|row| Some(row.symbol))
                    .collect::<StringArray>(),
            ),
            "lot" => Arc::new(rows.iter().map(|row| Some(row.lot)).collect::<Int64Array>()),
            "ts" => times(rows.iter().map(|row| row.ts).collect()),
            "price" => {
                let array: Decimal128Array = rows.iter().map(|row| row.price).collect();
                Arc::new(array.with_precision_and_scale(18, 9).unwrap())
            }
            "big" => Arc::new(rows.iter().map(|row| row.big).collect::<UInt64Array>()),
            "ratio" => Arc::new(rows.iter().map(|row| row.ratio).collect::<Float64Array>()),
            "side" => Arc::new(rows.iter().map(|row| row.side).collect::<StringArray>()),
            "up" => Arc::new(rows.iter().map(|row| row.up).collect::<BooleanArray>()),
            "n" => Arc::new(rows.iter().map(|row| Some(row.n)).collect::<Int64Array>()),
            "note" => Arc::new(rows.iter().map(|row| row.note).collect::<StringArray>()),
            _ => panic!("no column {name}"),
        };
        let required = ["hlc", "writer", "log_offset", "symbol", "lot", "n"].contains(name);
        ((*name).to_owned(), array, !required)
    };
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(column)).unwrap()
}

fn times(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC"))
}
