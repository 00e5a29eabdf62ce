use std::collections::BTreeMap;

use proptest::prelude::*;

use super::output::quotient;
use super::*;
use crate::hlc::{Hlc, Key};
use crate::ids::{Offset, PartitionId, WriterId};

mod folds;

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
