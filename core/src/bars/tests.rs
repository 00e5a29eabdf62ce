use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, DictionaryArray, Float64Array, RecordBatch,
    TimestampNanosecondArray, UInt32Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampNanosecondType,
};
use proptest::prelude::*;

use super::fold::bar_start;
use super::output::quotient;
use super::*;
use crate::hlc::{Hlc, Key};
use crate::ids::{Offset, PartitionId, WriterId};
use crate::schema::{Column, ColumnType, StreamSchema};

const KINDS: [BarKind; 4] = [
    kind(false, false),
    kind(false, true),
    kind(true, false),
    kind(true, true),
];

const fn kind(float_price: bool, float_size: bool) -> BarKind {
    BarKind {
        float_price,
        float_size,
    }
}

/// A row: its time, key, place in the log, price and size.
#[derive(Clone, Debug)]
struct Trade {
    time: i64,
    hlc: i64,
    writer: u32,
    symbol: Option<String>,
    price: Option<i64>,
    size: Option<i64>,
}

/// Rows with distinct keys.
fn trades(most: usize) -> impl Strategy<Value = Vec<Trade>> {
    let symbol = proptest::option::weighted(0.9, "[ab]");
    let number = || proptest::option::weighted(0.9, -50i64..50);
    let row = (-40i64..40, 0i64..30, 1u32..4, symbol, number(), number());
    proptest::collection::vec(row, 0..most).prop_map(|rows| {
        let rows = rows
            .into_iter()
            .map(|(time, hlc, writer, symbol, price, size)| {
                let trade = Trade {
                    time,
                    hlc,
                    writer,
                    symbol,
                    price,
                    size,
                };
                ((hlc, writer), trade)
            });
        rows.collect::<BTreeMap<_, _>>().into_values().collect()
    })
}

fn one(kind: BarKind, trade: &Trade) -> BarState {
    let mut state = BarState::new(kind);
    let Some(price) = trade.price else {
        return state;
    };
    let key = Key {
        hlc: Hlc(trade.hlc),
        writer: WriterId(trade.writer),
    };
    state.price(
        Moment {
            time: trade.time,
            key,
        },
        i128::from(price),
    );
    let Some(size) = trade.size else { return state };
    if kind == KINDS[0] {
        state.exact_size(i128::from(price), i128::from(size));
    } else {
        // tenths have no exact double, so the order of adding would show
        state.float_size(i128::from(size), tenths(size), tenths(price));
    }
    state
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn tenths(value: i64) -> f64 {
    value as f64 / 10.0
}

fn merged<'a>(kind: BarKind, states: impl IntoIterator<Item = &'a BarState>) -> BarState {
    let mut all = BarState::new(kind);
    states.into_iter().for_each(|state| all.merge(state));
    all
}

/// Rows by part, each a stretch of a partition's log.
fn snapshot(kind: BarKind, parts: &BTreeMap<(u32, u64), Vec<&Trade>>, known: &[bool]) -> BarParts {
    let mut snapshot = BarParts::default();
    for ((&(partition, start), trades), _) in parts.iter().zip(known).filter(|(_, known)| **known) {
        let states: Vec<_> = trades.iter().map(|trade| one(kind, trade)).collect();
        let part = Part {
            partition: PartitionId(partition),
            offsets: Offset(start)..Offset(start + 10),
        };
        snapshot.add(&part, &merged(kind, &states)).unwrap();
    }
    snapshot
}

fn union(one: &BarParts, other: &BarParts) -> BarParts {
    let mut union = one.clone();
    union.merge(other).unwrap();
    union
}

proptest! {
    #[test]
    fn states_merge_in_any_order_and_grouping(
        rows in trades(40),
        shuffle in any::<u64>(),
        cuts in (0usize..40, 0usize..40),
        which in 0usize..4,
    ) {
        let kind = KINDS[which];
        let mut states: Vec<_> = rows.iter().map(|trade| one(kind, trade)).collect();
        let all = merged(kind, &states);
        // from here on in another order
        for i in (1..states.len()).rev() {
            let spread = shuffle.wrapping_mul(i as u64 | 1) >> 20;
            states.swap(i, usize::try_from(spread % (i as u64 + 1)).unwrap());
        }
        let (low, high) = (cuts.0.min(cuts.1).min(states.len()), cuts.0.max(cuts.1).min(states.len()));
        let parts = [&states[..low], &states[low..high], &states[high..]];
        let [a, b, c] = parts.map(|part| merged(kind, part));
        prop_assert_eq!(&merged(kind, [&a, &b, &c]), &all);
        prop_assert_eq!(&merged(kind, [&c, &merged(kind, [&b, &a])]), &all);
        prop_assert_eq!(&merged(kind, [&merged(kind, [&b, &c]), &a]), &all);
    }

    #[test]
    fn snapshots_merge_commutatively_associatively_and_idempotently(
        rows in trades(40),
        of_part in proptest::collection::vec((0u32..3, 0u64..3), 40),
        known in proptest::collection::vec(any::<bool>(), 27),
        which in 0usize..4,
    ) {
        let kind = KINDS[which];
        let mut parts: BTreeMap<(u32, u64), Vec<&Trade>> = BTreeMap::new();
        for (row, (partition, part)) in rows.iter().zip(&of_part) {
            parts.entry((*partition, part * 10)).or_default().push(row);
        }
        let known = [&known[..9], &known[9..18], &known[18..]];
        let [a, b, c] = known.map(|known| snapshot(kind, &parts, known));
        prop_assert_eq!(union(&a, &a), a.clone());
        prop_assert_eq!(union(&a, &b), union(&b, &a));
        prop_assert_eq!(union(&union(&a, &b), &c), union(&a, &union(&b, &c)));
        // what includes a snapshot already is not changed by it
        prop_assert_eq!(union(&union(&a, &b), &a), union(&a, &b));
        // and the state is that of the rows of either, each once
        let either: Vec<bool> = (0..9).map(|i| known[0][i] || known[1][i]).collect();
        let trades = parts.values().zip(&either).filter(|(_, known)| **known);
        let states: Vec<_> = trades.flat_map(|(trades, _)| trades.iter().map(|t| one(kind, t))).collect();
        prop_assert_eq!(union(&a, &b).state(kind), merged(kind, &states));
    }

    #[test]
    fn quotients_are_rounded_half_to_even(a in -5000i128..5000, b in -60i128..60, places in 0u32..3) {
        prop_assume!(b != 0);
        // in halves: the even of two candidates at the same distance
        let scaled = a * 10i128.pow(places);
        let floor = scaled.div_euclid(b.abs()) * b.signum();
        let distance = |q: i128| (q * b - scaled).abs();
        let nearest = (floor - 1..=floor + 1).min_by_key(|q| (distance(*q), q.rem_euclid(2)));
        prop_assert_eq!(quotient(a, b, places), nearest);
    }
}

#[test]
fn parts_that_share_rows_are_refused() {
    let kind = KINDS[0];
    let trade = Trade {
        time: 1,
        hlc: 1,
        writer: 1,
        symbol: None,
        price: Some(3),
        size: Some(4),
    };
    let (state, empty) = (one(kind, &trade), BarState::new(kind));
    let part = |partition, offsets: std::ops::Range<u64>| Part {
        partition: PartitionId(partition),
        offsets: Offset(offsets.start)..Offset(offsets.end),
    };
    let mut parts = BarParts::default();
    parts.add(&part(1, 10..20), &state).unwrap();
    for overlapping in [10..15, 15..20, 5..11, 5..25, 12..13] {
        let error = parts
            .add(&part(1, overlapping.clone()), &state)
            .unwrap_err();
        assert!(
            matches!(error, PartsError::Overlap { .. }),
            "{overlapping:?}"
        );
    }
    let differ = parts.add(&part(1, 10..20), &empty).unwrap_err();
    assert!(matches!(differ, PartsError::Differ { .. }));
    for fine in [
        part(1, 20..30),
        part(1, 0..10),
        part(0, 10..20),
        part(1, 10..20),
    ] {
        parts.add(&fine, &state).unwrap();
    }
    assert_eq!(parts.state(kind).count(), 4);
}

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
