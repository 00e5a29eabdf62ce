mod arrow_bodies;
mod oracle;
mod text;

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array,
    Int64Array, LargeStringArray, NullArray, StringArray, StringViewArray,
    TimestampMillisecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{
    Decimal128Type, Field, Float64Type, Int32Type, Int64Type, Schema, TimestampNanosecondType,
    UInt64Type,
};
use arrow::ipc::writer::StreamWriter;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tourbillon_core::decimal::parse_decimal;
use tourbillon_core::schema::{Column, ColumnType, builtin_streams};
use tourbillon_core::time::parse_time_ns;

use super::*;

const PRICE: ColumnType = ColumnType::Decimal {
    precision: 18,
    scale: 9,
};

fn trades() -> StreamSchema {
    let [(_, trades), _] = builtin_streams();
    trades
}

/// One column of every type: `text` and `at` are required.
fn every_type() -> StreamSchema {
    let columns = vec![
        Column::required("text", ColumnType::String),
        Column::required("at", ColumnType::Timestamp),
        Column::optional("note", ColumnType::String),
        Column::optional("price", PRICE),
        Column::optional("int", ColumnType::Int64),
        Column::optional("uint", ColumnType::UInt64),
        Column::optional("float", ColumnType::Float64),
        Column::optional("flag", ColumnType::Bool),
    ];
    StreamSchema::new(columns, &["text"], Some("at")).unwrap()
}

fn parse(format: Format, body: &str, on_error: OnError) -> Result<Parsed, ParseError> {
    parse_rows(
        format,
        &every_type(),
        &Bytes::copy_from_slice(body.as_bytes()),
        on_error,
    )
}

/// Every cell as text, nulls as `∅`.
pub(super) fn cells(batch: &RecordBatch) -> Vec<Vec<String>> {
    let cell = |column: &ArrayRef, row: usize| {
        if column.is_null(row) {
            return "∅".to_owned();
        }
        let index = column.data_type();
        match index {
            t if *t == ColumnType::String.arrow() => {
                let words = column.as_dictionary::<Int32Type>();
                let words = words.downcast_dict::<StringArray>().unwrap();
                words.into_iter().nth(row).flatten().unwrap().to_owned()
            }
            t if *t == ColumnType::Timestamp.arrow() => column
                .as_primitive::<TimestampNanosecondType>()
                .value(row)
                .to_string(),
            t if *t == PRICE.arrow() => column
                .as_primitive::<Decimal128Type>()
                .value(row)
                .to_string(),
            t if *t == ColumnType::Int64.arrow() => {
                column.as_primitive::<Int64Type>().value(row).to_string()
            }
            t if *t == ColumnType::UInt64.arrow() => {
                column.as_primitive::<UInt64Type>().value(row).to_string()
            }
            t if *t == ColumnType::Float64.arrow() => {
                column.as_primitive::<Float64Type>().value(row).to_string()
            }
            _ => column.as_boolean().value(row).to_string(),
        }
    };
    let row = |row| {
        batch
            .columns()
            .iter()
            .map(|column| cell(column, row))
            .collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn refused(outcome: Result<Parsed, ParseError>) -> Vec<(u64, Option<String>, String)> {
    match outcome {
        Err(ParseError::Rows { errors, total }) => {
            assert_eq!(errors.len() as u64, total.min(MAX_ROW_ERRORS as u64));
            errors
                .into_iter()
                .map(|e| (e.row, e.column, e.reason))
                .collect()
        }
        other => panic!("not refused by row: {other:?}"),
    }
}

#[test]
fn content_types_choose_the_format() {
    let ok = [
        ("application/x-ndjson", Format::NdJson),
        ("Application/JSON; charset=utf-8", Format::Json),
        ("text/csv;header=present", Format::Csv),
        ("application/vnd.apache.arrow.stream", Format::ArrowStream),
    ];
    for (value, format) in ok {
        assert_eq!(Format::from_content_type(value).unwrap(), format, "{value}");
    }
    let error = Format::from_content_type("text/html")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`text/html`") && error.contains("text/csv"),
        "{error}"
    );
}

#[test]
fn the_built_in_trades_take_a_real_row() {
    let body = Bytes::from_static(br#"{"venue":"BINANCE_SPOT","symbol":"BTCUSDT","ts_event":1700000000123456789,"price":"61837.63","size":"0.00123","side":"buy","seq":123456}"#);
    let parsed = parse_rows(Format::NdJson, &trades(), &body, OnError::Refuse).unwrap();
    let row = [
        "BINANCE_SPOT",
        "BTCUSDT",
        "1700000000123456789",
        "61837630000000",
        "1230000",
        "buy",
        "123456",
        "∅",
    ];
    assert_eq!(cells(&parsed.rows), [row]);
}
