use std::collections::BTreeSet;

use arrow::array::{ArrayRef, DictionaryArray, UInt32Array, UInt64Array};
use arrow::array::{AsArray, TimestampNanosecondArray};
use arrow::datatypes::{Int32Type, Schema};
use proptest::prelude::*;

use super::*;
use crate::open_rows::{stamps, writers};
use crate::schema::{Column, ColumnType, StreamSchema};

fn schema() -> SchemaRef {
    let columns = vec![Column::required("symbol", ColumnType::String)];
    let none: [&str; 0] = [];
    Arc::clone(StreamSchema::new(columns, &none, None).unwrap().stored())
}

fn batch(keys: &[(i64, u32)]) -> RecordBatch {
    let hlc = TimestampNanosecondArray::from_iter_values(keys.iter().map(|key| key.0));
    let writers = UInt32Array::from_iter_values(keys.iter().map(|key| key.1));
    let texts: Vec<String> = keys
        .iter()
        .map(|key| format!("{}-{}", key.0, key.1))
        .collect();
    let texts: DictionaryArray<Int32Type> = texts.iter().map(String::as_str).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(hlc.with_timezone("UTC")),
        Arc::new(writers),
        Arc::new(UInt64Array::from_value(1, keys.len())),
        Arc::new(texts),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn keys_and_texts(batches: &[RecordBatch]) -> Vec<(i64, u32, String)> {
    let mut rows = Vec::new();
    for batch in batches {
        let texts = arrow::compute::cast(batch.column(3), &arrow::datatypes::DataType::Utf8);
        let texts = texts.unwrap();
        let texts = texts.as_string::<i32>();
        for i in 0..batch.num_rows() {
            rows.push((
                stamps(batch)[i],
                writers(batch)[i],
                texts.value(i).to_owned(),
            ));
        }
    }
    rows
}

#[test]
fn equal_keys_are_an_error() {
    let inputs = vec![vec![batch(&[(1, 1), (2, 1)])], vec![batch(&[(2, 1)])]];
    let error = merge_runs(schema(), inputs, 10).unwrap_err();
    assert!(matches!(error, MergeError::Order { .. }));
}

#[test]
fn keys_of_an_input_that_fall_are_an_error() {
    for fallen in [
        vec![batch(&[(2, 1), (1, 1)])],
        vec![batch(&[(5, 1)]), batch(&[(4, 1)])],
    ] {
        let inputs = vec![fallen, vec![batch(&[(3, 1), (6, 1)])]];
        let error = merge_runs(schema(), inputs, 10).unwrap_err();
        assert!(matches!(error, MergeError::Order { .. }));
    }
}

#[test]
fn nothing_merges_to_nothing() {
    assert!(
        merge_runs(schema(), vec![vec![], vec![batch(&[])]], 10)
            .unwrap()
            .is_empty()
    );
    assert_eq!(Schema::empty().fields().len(), 0);
}

proptest! {
    /// The oracle sorts all keys in a set.
    #[test]
    fn merges_like_a_sort(
        keys in proptest::collection::btree_set((0i64..300, 0u32..4), 0..400),
        owners in proptest::collection::vec((0usize..6, 1usize..30), 1..80),
        batch_rows in 1usize..70,
    ) {
        let mut inputs: Vec<Vec<(i64, u32)>> = vec![Vec::new(); 6];
        let mut turns = owners.iter().cycle();
        let mut turn = (0, 0);
        for key in &keys {
            if turn.1 == 0 { turn = *turns.next().unwrap(); }
            turn.1 -= 1;
            inputs[turn.0].push(*key);
        }
        let batches: Vec<Vec<RecordBatch>> = inputs
            .iter()
            .enumerate()
            .map(|(i, keys)| keys.chunks(1 + i * 7).map(batch).collect())
            .collect();
        let merged = merge_runs(schema(), batches, batch_rows).unwrap();
        prop_assert!(merged.iter().rev().skip(1).all(|b| b.num_rows() == batch_rows));
        let expected: Vec<_> = BTreeSet::from_iter(keys)
            .into_iter()
            .map(|(hlc, writer)| (hlc, writer, format!("{hlc}-{writer}")))
            .collect();
        prop_assert_eq!(keys_and_texts(&merged), expected);
    }
}
