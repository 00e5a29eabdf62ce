//! The stream `ticks` of every run, and its rows: a row's number decides all it says.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use tourbillon_core::control::{ColumnSpec, ControlView, StreamDef};
use tourbillon_core::ids::StreamName;
use tourbillon_log::control::StreamRequest;

use super::plan::Plan;

/// Prefix of all topics.
pub(crate) const PREFIX: &str = "sim";

const STREAM: &str = "ticks";

const SYMBOLS: [&str; 7] = ["BTC", "ETH", "SOL", "XRP", "ADA", "DOT", "LTC"];

/// Topic of the stream.
pub(crate) fn stream_topic() -> String {
    format!("{PREFIX}.{STREAM}")
}

/// The stream's name.
pub(crate) fn stream_name() -> StreamName {
    StreamName::new(STREAM).expect("a good name")
}

/// The stream as a view knows it.
pub(crate) fn find(view: &ControlView) -> Option<Arc<StreamDef>> {
    view.streams.get(&stream_name()).map(Arc::clone)
}

fn column(name: &str, ty: &str, nullable: bool) -> ColumnSpec {
    ColumnSpec {
        name: name.into(),
        ty: ty.into(),
        nullable,
    }
}

/// The stream as it begins.
pub(crate) fn first_request(plan: &Plan) -> StreamRequest {
    StreamRequest {
        name: STREAM.into(),
        columns: vec![
            column("symbol", "string", false),
            column("n", "int64", false),
            column("v", "int64", false),
        ],
        key: Some(vec!["symbol".into()]),
        event_time: None,
        partitions: Some(plan.partitions),
        window_ns: Some(plan.window_ns),
        compaction_ns: Some(plan.compaction_ns),
        retention_ns: Some(plan.retention_ns),
    }
}

/// More partitions.
pub(crate) fn growth(partitions: u32) -> StreamRequest {
    StreamRequest {
        name: STREAM.into(),
        partitions: Some(partitions),
        ..StreamRequest::default()
    }
}

/// A nullable column more.
pub(crate) fn evolution() -> StreamRequest {
    StreamRequest {
        name: STREAM.into(),
        columns: vec![column("note", "string", true)],
        ..StreamRequest::default()
    }
}

fn symbol(n: i64) -> &'static str {
    let len = i64::try_from(SYMBOLS.len()).unwrap_or(1);
    SYMBOLS[usize::try_from((n / 3 + n) % len).unwrap_or(0)]
}

fn value(n: i64) -> i64 {
    n.wrapping_mul(-7_046_029_254_386_353_131)
}

fn note(n: i64) -> Option<String> {
    (n % 3 != 0).then(|| format!("note {n}"))
}

/// Whether a schema has the column `note`.
pub(crate) fn has_note(def: &StreamDef) -> bool {
    let columns = def.schema().columns();
    columns.iter().any(|column| column.name == "note")
}

/// Rows of these numbers in the newest data form of `def`.
pub(crate) fn rows(def: &StreamDef, numbers: Range<i64>) -> RecordBatch {
    let symbols: DictionaryArray<Int32Type> = numbers.clone().map(|n| Some(symbol(n))).collect();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(symbols),
        Arc::new(Int64Array::from_iter_values(numbers.clone())),
        Arc::new(Int64Array::from_iter_values(numbers.clone().map(value))),
    ];
    if has_note(def) {
        let notes: Vec<_> = numbers.map(note).collect();
        let notes: DictionaryArray<Int32Type> = notes.iter().map(Option::as_deref).collect();
        columns.push(Arc::new(notes));
    }
    RecordBatch::try_new(Arc::clone(def.schema().data()), columns).expect("the columns of `def`")
}

/// Numbers of the rows of a batch.
pub(crate) fn numbers(rows: &RecordBatch) -> Vec<i64> {
    let numbers = rows.column_by_name("n").expect("every batch has it");
    numbers.as_primitive::<Int64Type>().values().to_vec()
}

/// What is wrong with the content of a batch, where `noted` tells whether a row was sent with a
/// schema that has notes.
pub(crate) fn wrong_content(rows: &RecordBatch, noted: impl Fn(i64) -> bool) -> Option<String> {
    let values = rows.column_by_name("v")?.as_primitive::<Int64Type>();
    let symbols = rows.column_by_name("symbol")?;
    let notes = rows.column_by_name("note");
    for (i, n) in numbers(rows).into_iter().enumerate() {
        let found = (
            text(symbols, i),
            values.value(i),
            notes.and_then(|c| text(c, i)),
        );
        let wanted_note = if noted(n) { note(n) } else { None };
        let wanted = (Some(symbol(n).to_owned()), value(n), wanted_note);
        if found != wanted {
            return Some(format!(
                "row {n} reads {found:?} and was sent as {wanted:?}"
            ));
        }
    }
    None
}

fn text(column: &ArrayRef, row: usize) -> Option<String> {
    let column = column.as_dictionary::<Int32Type>();
    let values = column.values().as_string::<i32>();
    let key = column.key(row)?;
    (!values.is_null(key)).then(|| values.value(key).to_owned())
}
