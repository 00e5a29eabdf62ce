//! Rows for tests: every column type, nulls, dictionaries with repeats, from a fixed seed.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array,
    RecordBatch, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::Int32Type;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::schema::{Column, ColumnType, StreamSchema};

use crate::{EncodedSegment, SegmentSpec, encode_segment};

/// Symbols of the sample rows.
pub(crate) const SYMBOLS: [&str; 5] = ["BTCUSDT", "ETHUSDT", "", "Ünïcode", "SOL,USDT"];

/// First stamp of the sample rows: 2023-11-14T22:13:20Z.
pub(crate) const EPOCH: i64 = 1_700_000_000_000_000_000;

pub(crate) fn stream() -> StreamName {
    StreamName::new("ticks").unwrap()
}

fn decimal(precision: u8, scale: u8) -> ColumnType {
    ColumnType::Decimal { precision, scale }
}

/// A schema with every column type; `symbol`, `lot` and `live` are the key.
pub(crate) fn schema() -> StreamSchema {
    let columns = vec![
        Column::required("symbol", ColumnType::String),
        Column::required("lot", ColumnType::Int64),
        Column::required("live", ColumnType::Bool),
        Column::optional("ts", ColumnType::Timestamp),
        Column::required("price", decimal(18, 9)),
        Column::optional("tick.size", decimal(5, 2)),
        Column::optional("notional", decimal(38, 18)),
        Column::optional("count", ColumnType::UInt64),
        Column::optional("ratio", ColumnType::Float64),
        Column::optional("note", ColumnType::String),
        Column::optional("blank", ColumnType::String),
    ];
    StreamSchema::new(columns, &["symbol", "lot", "live"], Some("ts")).unwrap()
}

/// `rows` stored rows of [`schema`] in key order, of three writers, from `EPOCH` on.
pub(crate) fn rows(seed: u64, rows: usize) -> RecordBatch {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut hlc = EPOCH;
    let stamps: Vec<i64> = (0..rows)
        .map(|_| {
            hlc += rng.random_range(1..2000);
            hlc
        })
        .collect();
    let mut some = |share: f64| -> Vec<Option<i64>> {
        let value = |_| rng.random_bool(share).then(|| rng.random_range(0..1_000));
        (0..rows).map(value).collect()
    };
    let number = |values: &[Option<i64>], i: usize| values[i].unwrap_or(0);
    let (picks, ids) = (some(1.0), some(1.0));
    let symbol = |i: usize| SYMBOLS[usize::try_from(number(&picks, i) % 5).unwrap()];
    let symbols: DictionaryArray<Int32Type> = (0..rows).map(symbol).collect();
    let writers = (0..rows).map(|i| u32::try_from(number(&ids, i) % 3).unwrap());
    let money = |values: Vec<Option<i64>>, precision: u8, scale: i8, factor: i128| -> ArrayRef {
        let values = values
            .iter()
            .map(|v| v.map(|v| i128::from(v - 400) * factor));
        let array: Decimal128Array = values.collect();
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
    };
    let times: TimestampNanosecondArray = some(0.7)
        .iter()
        .map(|v| v.map(|v| EPOCH - v * 1_001))
        .collect();
    let notes: DictionaryArray<Int32Type> = some(0.5)
        .iter()
        .map(|v| v.map(|v| ["buy", "sell"][usize::from(v > 500)]))
        .collect();
    let blanks: DictionaryArray<Int32Type> = (0..rows).map(|_| None::<&str>).collect();
    let big = |v: &Option<i64>| v.map(|v| u64::MAX - v.unsigned_abs());
    let shapes = [f64::NAN, -0.0, 1.0 / 3.0];
    let ratio = |v: &Option<i64>| v.map(|v| shapes[usize::try_from(v % 3).unwrap()]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from(stamps).with_timezone("UTC")),
        Arc::new(UInt32Array::from_iter_values(writers)),
        Arc::new(UInt64Array::from_iter_values(
            (0..rows as u64).map(|i| 5000 + i / 16 * 3),
        )),
        Arc::new(symbols),
        Arc::new(Int64Array::from_iter_values(
            some(1.0).iter().map(|v| v.unwrap_or(0) % 3 - 1),
        )),
        Arc::new(
            some(1.0)
                .iter()
                .map(|v| v.map(|v| v % 2 == 0))
                .collect::<BooleanArray>(),
        ),
        Arc::new(times.with_timezone("UTC")),
        money(some(1.0), 18, 9, 61_837_010_000),
        money(some(0.4), 5, 2, 7),
        money(some(0.6), 38, 18, 170_141_183_460_469_231_731_687_303_715),
        Arc::new(some(0.5).iter().map(big).collect::<UInt64Array>()),
        Arc::new(some(0.8).iter().map(ratio).collect::<Float64Array>()),
        Arc::new(notes),
        Arc::new(blanks),
    ];
    RecordBatch::try_new(Arc::clone(schema().stored()), columns).unwrap()
}

/// `batch` cut at random places.
pub(crate) fn pieces(seed: u64, batch: &RecordBatch, most: usize) -> Vec<RecordBatch> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut out, mut from) = (Vec::new(), 0);
    while from < batch.num_rows() {
        let rows = rng.random_range(1..=most).min(batch.num_rows() - from);
        out.push(batch.slice(from, rows));
        from += rows;
    }
    out
}

/// The segment of `batches`, which have [`schema`].
pub(crate) fn segment(batches: &[RecordBatch]) -> EncodedSegment {
    let schema = schema();
    let spec = SegmentSpec {
        partition: PartitionId(3),
        schema: &schema,
        schema_version: 1,
    };
    encode_segment(&spec, batches).unwrap()
}
