//! Pruned reads against a plain filter over the same rows.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use object_store::memory::InMemory;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tourbillon_core::filter::{EventTimes, KeyFilter};
use tourbillon_core::open_rows::{offsets, stamps};

use super::layout::{narrow_rows, narrow_segment};
use super::*;
use crate::faulty::FaultyStore;
use crate::sample::SYMBOLS;

const CASES: u64 = 250;

/// Where the event time is stored.
const TS: usize = 6;

struct Case {
    read: SegmentRead,
    symbols: Vec<&'static str>,
    lots: Vec<i64>,
}

fn case(rng: &mut SmallRng, all: &RecordBatch) -> Case {
    let schema = schema();
    let mut stamp = || {
        let at = *stamps(all).choose(rng).unwrap();
        Hlc(at + rng.random_range(-1..=1))
    };
    let (one, two) = (stamp(), stamp());
    let hlc = match rng.random_range(0..10) {
        0 => Hlc(i64::MIN)..one,
        1 => one..Hlc(i64::MAX),
        2 => one..one.plus(5_000),
        3 => Hlc(0)..Hlc(5),
        _ => one.min(two)..one.max(two),
    };
    let symbols: Vec<&str> = match rng.random_bool(0.5) {
        true => SYMBOLS
            .choose_multiple(rng, 2)
            .copied()
            .chain(["nowhere"])
            .collect(),
        false => Vec::new(),
    };
    let lots: Vec<i64> = if rng.random_bool(0.3) {
        vec![rng.random_range(-2..3)]
    } else {
        vec![]
    };
    let filter = |column: &str, values: Vec<String>| {
        (!values.is_empty()).then(|| KeyFilter {
            column: column.into(),
            values,
        })
    };
    let texts = symbols.iter().map(|s| (*s).to_owned()).collect();
    let filters = [
        filter("symbol", texts),
        filter("lot", lots.iter().map(ToString::to_string).collect()),
    ];
    let filters: Vec<_> = filters.into_iter().flatten().collect();
    let keys = KeyPredicate::new(&schema, &filters).unwrap();
    let event = rng.random_bool(0.4).then(|| times(rng, all));
    // filters look at columns that are not wanted, too
    let keep = |i: &usize| *i < 2 || rng.random_bool(0.4);
    let columns: Vec<usize> = (0..schema.stored().fields().len()).filter(keep).collect();
    let last = *offsets(all).last().unwrap();
    let before = rng
        .random_bool(0.4)
        .then(|| Offset(rng.random_range(4990..=last + 1)));
    let columns = Arc::new(schema.stored().project(&columns).unwrap());
    let batch_rows = *[100, 1000, 8192].choose(rng).unwrap();
    Case {
        read: SegmentRead {
            columns,
            hlc,
            keys,
            event,
            before,
            batch_rows,
            first_rows: *[0, 1, 8192, 20_000, usize::MAX].choose(rng).unwrap(),
            few: rng.random_bool(0.5),
            ahead: true,
        },
        symbols,
        lots,
    }
}

/// Event times that are or border on those of rows, or lie outside.
fn times(rng: &mut SmallRng, all: &RecordBatch) -> EventTimes {
    let column = all.column(TS).as_primitive::<TimestampNanosecondType>();
    let mut time = || column.values().choose(rng).unwrap() + rng.random_range(-1..=1);
    let (one, two) = (time(), time());
    let (first, last) = match rng.random_range(0..10) {
        0 => (i64::MIN, one),
        1 => (one, i64::MAX),
        2 => (one, one - 1),
        3 => (0, 5),
        _ => (one.min(two), one.max(two)),
    };
    EventTimes {
        column: "ts".into(),
        first,
        last,
    }
}

/// The rows of a case, one by one.
fn oracle(all: &RecordBatch, case: &Case) -> RecordBatch {
    let symbols = all
        .column(3)
        .as_dictionary::<Int32Type>()
        .downcast_dict::<arrow::array::StringArray>();
    let symbols = symbols.unwrap();
    let lots = all.column(4).as_primitive::<Int64Type>();
    let times = all.column(TS).as_primitive::<TimestampNanosecondType>();
    let keep = |i: usize| {
        let hlc = Hlc(stamps(all)[i]);
        let symbol = arrow::array::ArrayAccessor::value(&symbols, i);
        case.read.hlc.contains(&hlc)
            && case
                .read
                .before
                .is_none_or(|before| offsets(all)[i] < before.0)
            && (case.symbols.is_empty() || case.symbols.contains(&symbol))
            && (case.lots.is_empty() || case.lots.contains(&lots.value(i)))
            && case.read.event.as_ref().is_none_or(|event| {
                times.is_valid(i) && (event.first..=event.last).contains(&times.value(i))
            })
    };
    let mask: BooleanArray = (0..all.num_rows()).map(|i| Some(keep(i))).collect();
    let kept = filter_record_batch(all, &mask).unwrap();
    let indices = case
        .read
        .columns
        .fields()
        .iter()
        .map(|f| kept.schema().index_of(f.name()).unwrap());
    kept.project(&indices.collect::<Vec<_>>()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pruned_reads_in_threads_give_the_same() {
    check_cases().await;
}

#[tokio::test]
async fn pruned_reads_give_the_rows_of_a_plain_filter() {
    check_cases().await;
}

async fn check_cases() {
    let lake = Lake::open("memory://").unwrap();
    let all = rows(11, 45_000);
    let made = segment(std::slice::from_ref(&all));
    lake.put_segment(&stream(), &made).await.unwrap();
    let mut found = 0;
    for seed in 0..CASES {
        let case = case(&mut SmallRng::seed_from_u64(seed), &all);
        let back = read(&lake, &made.meta, case.read.clone()).await.unwrap();
        let most = back.iter().map(RecordBatch::num_rows).max().unwrap_or(0);
        assert!(most <= case.read.batch_rows, "case {seed}");
        assert!(back.iter().all(|batch| batch.num_rows() > 0), "case {seed}");
        let columns = &case.read.columns;
        let expected = oracle(&all, &case);
        found += expected.num_rows();
        assert_same(columns, &back, &[expected], &format!("case {seed}"));
    }
    assert!(found > 100_000, "the cases are not all empty: {found} rows");
}

/// A segment of three row groups in a store that counts.
async fn counted() -> (FaultyStore, Lake, SegmentMeta) {
    static MADE: OnceLock<crate::EncodedSegment> = OnceLock::new();
    let made = MADE.get_or_init(|| narrow_segment(2 * 131_072 + 10_000));
    let store = FaultyStore::new(Arc::new(InMemory::new()), |_, _| None);
    let lake = Lake::with_store(Arc::new(store.clone()), "memory://");
    lake.put_segment(&stream(), made).await.unwrap();
    // the first read of a piece reads all of it to prove it
    let all = whole(narrow().stored());
    read(&lake, &made.meta, all).await.unwrap();
    (store, lake, made.meta.clone())
}

async fn cost(hlc: std::ops::Range<Hlc>, symbols: &[&str]) -> (usize, u64) {
    let (store, lake, meta) = counted().await;
    let before = store.read_bytes();
    let schema = narrow();
    let values: Vec<String> = symbols.iter().map(|s| (*s).to_owned()).collect();
    let filters = [KeyFilter {
        column: "symbol".into(),
        values,
    }];
    let filters = if symbols.is_empty() {
        &[][..]
    } else {
        &filters
    };
    let keys = KeyPredicate::new(&schema, filters).unwrap();
    let wanted = SegmentRead {
        hlc,
        keys,
        ..whole(schema.stored())
    };
    let back = read(&lake, &meta, wanted).await.unwrap();
    (
        back.iter().map(RecordBatch::num_rows).sum(),
        store.read_bytes() - before,
    )
}

#[tokio::test]
async fn narrow_windows_read_few_pages() {
    let everything = Hlc(i64::MIN)..Hlc(i64::MAX);
    let (all, whole_bytes) = cost(everything.clone(), &[]).await;
    assert_eq!(all, narrow_rows(10).num_rows() - 10 + 2 * 131_072 + 10_000);
    let (none, nothing) = cost(Hlc(0)..Hlc(1), &[]).await;
    let (few, page) = cost(Hlc(EPOCH + 400_000)..Hlc(EPOCH + 400_020), &[]).await;
    assert_eq!((none, few), (0, 10));
    // the rest of the file's bytes are its footer and page index
    assert!(
        page - nothing < (whole_bytes - nothing) / 20,
        "{nothing} {page} {whole_bytes}"
    );
}

#[tokio::test]
async fn rare_keys_leave_the_pages_of_other_columns_alone() {
    let everything = Hlc(i64::MIN)..Hlc(i64::MAX);
    let (all, whole_bytes) = cost(everything.clone(), &[]).await;
    let (some, few_bytes) = cost(everything.clone(), &["B"]).await;
    assert!(some > 0 && some < all / 3);
    let (none, none_bytes) = cost(everything, &["Z"]).await;
    assert_eq!(none, 0);
    assert!(
        none_bytes < few_bytes && few_bytes < whole_bytes,
        "{none_bytes} {few_bytes} {whole_bytes}"
    );
}

#[tokio::test]
async fn the_first_rows_cost_few_pages() {
    let (store, lake, meta) = counted().await;
    let mut costs = Vec::new();
    for first_rows in [100, usize::MAX] {
        let before = store.read_bytes();
        let wanted = SegmentRead {
            first_rows,
            ..whole(narrow().stored())
        };
        let mut rows = lake.read_segment(&stream(), &meta, wanted).await.unwrap();
        assert_eq!(rows.try_next().await.unwrap().unwrap().num_rows(), 1000);
        costs.push(store.read_bytes() - before);
    }
    assert!(costs[0] * 4 < costs[1], "{costs:?}");
}
