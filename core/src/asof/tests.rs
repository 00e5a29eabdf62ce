use std::collections::VecDeque;

use arrow::array::{DictionaryArray, Int64Array, TimestampNanosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Int64Type};
use proptest::prelude::*;

use super::*;

/// Time, key and a number that no other row has.
type Row = (i64, (Option<&'static str>, i64), i64);

fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let symbol = proptest::sample::select(vec![None, Some("a"), Some("b"), Some("")]);
    let row = (0i64..60, (symbol, 0i64..3));
    proptest::collection::vec(row, 0..most).prop_map(|mut rows| {
        rows.sort_by_key(|row| row.0);
        (0..)
            .zip(rows)
            .map(|(n, (time, key))| (time, key, n))
            .collect()
    })
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times: TimestampNanosecondArray = rows.iter().map(|row| Some(row.0)).collect();
    let symbols: DictionaryArray<Int32Type> = rows.iter().map(|row| row.1.0).collect();
    let lots: Int64Array = rows.iter().map(|row| Some(row.1.1)).collect();
    let numbers: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
    RecordBatch::try_from_iter_with_nullable([
        (
            "at",
            Arc::new(times.with_timezone("UTC")) as ArrayRef,
            false,
        ),
        ("symbol", Arc::new(symbols), true),
        ("lot", Arc::new(lots), false),
        ("n", Arc::new(numbers), false),
    ])
    .unwrap()
}

fn side(name: &str) -> Side {
    Side {
        schema: batch(&[]).schema(),
        time: "at".into(),
        columns: vec![(3, name.into())],
    }
}

/// For every left row all right rows are looked at.
fn plain(left: &[Row], right: &[Row], tolerance: Option<i64>) -> Vec<(i64, Option<i64>)> {
    let found = |row: &Row| {
        let fits = |other: &&Row| {
            row.1.0.is_some()
                && other.1 == row.1
                && other.0 <= row.0
                && tolerance.is_none_or(|most| row.0 - other.0 <= most)
        };
        right
            .iter()
            .filter(fits)
            .max_by_key(|other| (other.0, other.2))
    };
    left.iter()
        .map(|row| (row.2, found(row).map(|other| other.2)))
        .collect()
}

fn joined(
    mut join: AsOf,
    left: &[Row],
    right: &[Row],
    cuts: (usize, usize),
) -> Vec<(i64, Option<i64>)> {
    let mut left: VecDeque<_> = left.chunks(cuts.0).map(batch).collect();
    let mut right: VecDeque<_> = right.chunks(cuts.1).map(batch).collect();
    let mut out = Vec::new();
    loop {
        match join.step().unwrap() {
            AsOfStep::NeedLeft => match left.pop_front() {
                Some(batch) => join.push_left(batch).unwrap(),
                None => join.finish_left(),
            },
            AsOfStep::NeedRight => match right.pop_front() {
                Some(batch) => join.push_right(batch).unwrap(),
                None => join.finish_right(),
            },
            AsOfStep::Batch(batch) => out.push(batch),
            AsOfStep::Done => break,
        }
    }
    let out = concat_batches(join.schema(), &out).unwrap();
    let column = |i: usize| out.column(i).as_primitive::<Int64Type>();
    (0..out.num_rows())
        .map(|row| {
            (
                column(0).value(row),
                column(1).is_valid(row).then(|| column(1).value(row)),
            )
        })
        .collect()
}

proptest! {
    #[test]
    fn joins_are_what_looking_at_all_rows_gives(
        left in rows(60),
        right in rows(400),
        tolerance in proptest::option::of(0i64..20),
        // single rows make more batches than are held
        cuts in (1usize..20, 1usize..5),
    ) {
        let on = ["symbol".to_owned(), "lot".to_owned()];
        let join = AsOf::new(side("l"), side("r"), &on, tolerance).unwrap();
        prop_assert_eq!(joined(join, &left, &right, cuts), plain(&left, &right, tolerance));
    }
}

#[test]
fn too_many_keys_are_an_error_unless_they_grow_too_old() {
    let right: Vec<Row> = (0..200).map(|n| (n, (Some("a"), n), n)).collect();
    let left = [(300, (Some("a"), 199), 0)];
    let on = ["symbol".to_owned(), "lot".to_owned()];
    let mut join = AsOf::new(side("l"), side("r"), &on, None).unwrap();
    join.max_keys = 50;
    join.push_left(batch(&left)).unwrap();
    let failed = right.chunks(10).find_map(|rows| {
        join.push_right(batch(rows))
            .err()
            .or_else(|| join.step().err())
    });
    assert!(
        matches!(failed, Some(AsOfError::TooManyKeys(50))),
        "{failed:?}"
    );
    let mut join = AsOf::new(side("l"), side("r"), &on, Some(110)).unwrap();
    join.max_keys = 50;
    assert_eq!(joined(join, &left, &right, (1, 10)), [(0, Some(199))]);
}

#[test]
fn times_at_the_ends_of_what_there_is_do_not_overflow() {
    let (first, last) = (
        [(i64::MIN, (Some("a"), 0), 1)],
        [(i64::MAX, (Some("a"), 0), 2)],
    );
    for (tolerance, found) in [(None, Some(1)), (Some(i64::MAX), None)] {
        let on = ["symbol".to_owned()];
        let join = AsOf::new(side("l"), side("r"), &on, tolerance).unwrap();
        assert_eq!(joined(join, &last, &first, (1, 1)), [(2, found)]);
    }
}
