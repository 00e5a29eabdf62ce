//! Folds and their rows against grouping in the plainest way.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, DictionaryArray, Float64Array, RecordBatch,
    TimestampNanosecondArray, UInt32Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampNanosecondType,
};

use super::super::fold::bar_start;
use super::*;
use crate::schema::{Column, ColumnType, StreamSchema};

fn schema(kind: BarKind) -> StreamSchema {
    let number = |float| match float {
        false => ColumnType::Decimal {
            precision: 18,
            scale: 2,
        },
        true => ColumnType::Float64,
    };
    let columns = vec![
        Column::optional("symbol", ColumnType::String),
        Column::required("ts", ColumnType::Timestamp),
        Column::optional("price", number(kind.float_price)),
        Column::optional("size", number(kind.float_size)),
    ];
    StreamSchema::new(columns, &["symbol"], Some("ts")).unwrap()
}

/// Rows as a window has them.
fn batch(kind: BarKind, rows: &[Trade]) -> RecordBatch {
    let time = |value: fn(&Trade) -> i64| -> ArrayRef {
        let values: TimestampNanosecondArray = rows.iter().map(|row| Some(value(row))).collect();
        Arc::new(values.with_timezone("UTC"))
    };
    let number = |float, value: fn(&Trade) -> Option<i64>| -> ArrayRef {
        let values = rows.iter().map(value);
        match float {
            true => Arc::new(values.map(|v| v.map(tenths)).collect::<Float64Array>()),
            false => {
                let values: Decimal128Array = values.map(|v| v.map(i128::from)).collect();
                Arc::new(values.with_precision_and_scale(18, 2).unwrap())
            }
        }
    };
    let symbols: DictionaryArray<Int32Type> =
        rows.iter().map(|row| row.symbol.as_deref()).collect();
    let writers: UInt32Array = rows.iter().map(|row| Some(row.writer)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("hlc", time(|row| row.hlc), false),
        ("writer", Arc::new(writers), false),
        ("symbol", Arc::new(symbols), true),
        ("ts", time(|row| row.time), true),
        ("price", number(kind.float_price, |row| row.price), true),
        ("size", number(kind.float_size, |row| row.size), true),
    ])
    .unwrap()
}

/// A bar in the plainest way: its rows collected and looked through again for each column.
#[derive(Debug, PartialEq)]
struct Plain {
    start: i64,
    symbol: Option<String>,
    ohlc: [i64; 4],
    volume: i64,
    notional: i64,
    count: i64,
}

fn plain_bars(rows: &[Trade], interval: i64) -> Vec<Plain> {
    let mut bars: BTreeMap<(i64, Option<String>), Vec<&Trade>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.price.is_some()) {
        let start = row.time.div_euclid(interval) * interval;
        bars.entry((start, row.symbol.clone()))
            .or_default()
            .push(row);
    }
    let bars = bars.into_iter().map(|((start, symbol), mut rows)| {
        rows.sort_by_key(|row| (row.time, row.hlc, row.writer));
        let prices: Vec<i64> = rows.iter().filter_map(|row| row.price).collect();
        let sized = rows.iter().filter_map(|row| Some((row.price?, row.size?)));
        Plain {
            start,
            symbol,
            ohlc: [
                prices[0],
                *prices.iter().max().unwrap(),
                *prices.iter().min().unwrap(),
                prices[prices.len() - 1],
            ],
            volume: sized.clone().map(|(_, size)| size).sum(),
            notional: sized.map(|(price, size)| price * size).sum(),
            count: i64::try_from(prices.len()).unwrap(),
        }
    });
    bars.collect()
}

/// The bars of a batch; numbers as the tests' integers.
fn read(kind: BarKind, bars: &RecordBatch) -> Vec<Plain> {
    let number = |name: &str, float: bool, unit: f64, row: usize| -> i64 {
        let column = bars.column_by_name(name).unwrap();
        if !float {
            let value = column.as_primitive::<Decimal128Type>().value(row);
            return i64::try_from(value).unwrap();
        }
        let value = column.as_primitive::<Float64Type>().value(row) * unit;
        assert!((value - value.round()).abs() < 1e-6, "{value}");
        #[allow(clippy::cast_possible_truncation, reason = "small numbers")]
        let value = value.round() as i64;
        value
    };
    let rows = (0..bars.num_rows()).map(|row| {
        let price = |name| number(name, kind.float_price, 10.0, row);
        let symbols = bars.column_by_name("symbol").unwrap().as_string::<i32>();
        let either = kind.float_price || kind.float_size;
        Plain {
            start: bars
                .column(0)
                .as_primitive::<TimestampNanosecondType>()
                .value(row),
            symbol: symbols.is_valid(row).then(|| symbols.value(row).to_owned()),
            ohlc: ["open", "high", "low", "close"].map(price),
            volume: number("volume", kind.float_size, 10.0, row),
            // a decimal of these tests has two places, a double one
            notional: number(
                "notional",
                either,
                if kind.float_price == kind.float_size {
                    100.0
                } else {
                    1000.0
                },
                row,
            ),
            count: bars
                .column_by_name("count")
                .unwrap()
                .as_primitive::<Int64Type>()
                .value(row),
        }
    });
    rows.collect()
}

fn folded(
    kind: BarKind,
    rows: &[Trade],
    interval: i64,
    cut: usize,
    descending: bool,
) -> RecordBatch {
    let columns = BarColumns::new(&schema(kind), "price", "size").unwrap();
    let out = Arc::clone(columns.schema());
    let mut fold = BarFold::new(columns, "ts", interval, descending).unwrap();
    let mut batches = Vec::new();
    for rows in rows.chunks(cut) {
        fold.push(&batch(kind, rows)).unwrap();
        while fold.done() >= 3 {
            batches.push(fold.take(3).unwrap());
        }
    }
    fold.finish().unwrap();
    batches.push(fold.take(usize::MAX).unwrap());
    concat_batches(&out, &batches).unwrap()
}

proptest! {
    #[test]
    fn folds_are_what_grouping_all_rows_gives(
        mut rows in trades(60),
        interval in 1i64..30,
        cut in 1usize..20,
        which in 0usize..4,
    ) {
        let kind = KINDS[which];
        rows.sort_by_key(|row| (row.time, row.hlc, row.writer));
        let bars = folded(kind, &rows, interval, cut, false);
        prop_assert_eq!(read(kind, &bars), plain_bars(&rows, interval));
        for row in 0..bars.num_rows() {
            let vwap = bars.column_by_name("vwap").unwrap();
            let bar = &plain_bars(&rows, interval)[row];
            // tenths as doubles need not cancel out
            prop_assert!(kind.float_size || vwap.is_null(row) == (bar.volume == 0));
            if kind == KINDS[0] && bar.volume != 0 {
                let vwap = vwap.as_primitive::<Decimal128Type>().value(row);
                let wanted = quotient(bar.notional.into(), bar.volume.into(), 6);
                prop_assert_eq!(Some(vwap), wanted);
            }
        }
        // and the other way round
        rows.reverse();
        let mut turned = read(kind, &folded(kind, &rows, interval, cut, true));
        turned.reverse();
        prop_assert_eq!(turned, plain_bars(&rows, interval));
    }
}

#[test]
fn intervals_are_whole_from_the_epoch_on() {
    for (time, start) in [(0, 0), (9, 0), (10, 10), (-1, -10), (-10, -10), (-11, -20)] {
        assert_eq!(bar_start(time, 10), start, "{time}");
    }
}

#[test]
fn columns_that_make_no_bars_are_named() {
    let text = |price: &str, size: &str| {
        let error = BarColumns::new(&schema(KINDS[0]), price, size).unwrap_err();
        error.to_string()
    };
    assert!(text("symbol", "size").contains("`symbol`"));
    assert!(text("price", "amount").contains("`amount`"));
    let fine = ColumnType::Decimal {
        precision: 38,
        scale: 20,
    };
    let columns = vec![Column::optional("fine", fine)];
    let none: [&str; 0] = [];
    let schema = StreamSchema::new(columns, &none, None).unwrap();
    let error = BarColumns::new(&schema, "fine", "fine").unwrap_err();
    assert!(
        matches!(error, BarError::Scale { scale: 40, .. }),
        "{error}"
    );
}
