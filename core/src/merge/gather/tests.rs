use arrow::array::{
    BooleanArray, Decimal128Array, DictionaryArray, Int32Array, Int64Array, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{Field, Int32Type, Schema};
use proptest::prelude::*;

use super::*;

/// A part: its dictionary, which parts may share, and its rows, each with a null or a number.
type Part = (usize, Vec<Option<u8>>);

fn dictionaries() -> Vec<ArrayRef> {
    let texts = |prefix: &str| -> ArrayRef {
        let texts = (0..4).map(|i| format!("{prefix}{i}"));
        Arc::new(StringArray::from_iter_values(texts))
    };
    vec![texts("a"), texts("b"), texts("a")]
}

fn batch((dictionary, rows): &Part, dictionaries: &[ArrayRef]) -> RecordBatch {
    let numbers: Int64Array = rows.iter().map(|row| row.map(i64::from)).collect();
    let decimals: Decimal128Array = rows.iter().map(|row| row.map(i128::from)).collect();
    let flags: BooleanArray = rows.iter().map(|row| row.map(|row| row % 2 == 0)).collect();
    let texts: StringArray = rows
        .iter()
        .map(|row| row.map(|row| row.to_string()))
        .collect();
    let keys: Int32Array = rows
        .iter()
        .map(|row| row.map(|row| i32::from(row % 4)))
        .collect();
    let coded = DictionaryArray::<Int32Type>::new(keys, Arc::clone(&dictionaries[*dictionary]));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("numbers", Arc::new(numbers)),
        ("decimals", Arc::new(decimals)),
        ("flags", Arc::new(flags)),
        ("texts", Arc::new(texts)),
        ("coded", Arc::new(coded)),
    ];
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Codes as the strings that they stand for.
fn decoded(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Dictionary(..) => cast(column, &DataType::Utf8).unwrap(),
        _ => Arc::clone(column),
    }
}

proptest! {
    /// The oracle is Arrow's own, on strings.
    #[test]
    fn gathers_as_arrow_interleaves(
        batches in proptest::collection::vec(
            proptest::collection::vec(
                (0usize..3, proptest::collection::vec(proptest::option::weighted(0.8, 0u8..9), 1..40)),
                1..6,
            ),
            1..5,
        ),
        seed in any::<u64>(),
        longest in 1usize..50,
    ) {
        let dictionaries = dictionaries();
        let mut gather: Option<Gather> = None;
        for parts in &batches {
            let parts: Vec<_> = parts.iter().map(|part| batch(part, &dictionaries)).collect();
            let order = order(&parts, seed, longest);
            let gather = gather.get_or_insert_with(|| Gather::new(parts[0].schema()));
            let found = gather.rows(&parts, &order).unwrap();
            let picks: Vec<_> = order.pick(parts.len(), |part, place| (part, place)).collect();
            for (i, column) in found.columns().iter().enumerate() {
                let own: Vec<_> = parts.iter().map(|part| decoded(part.column(i))).collect();
                let own: Vec<&dyn Array> = own.iter().map(|column| &**column).collect();
                let expected = interleave(&own, &picks).unwrap();
                prop_assert_eq!(&decoded(column), &expected);
            }
        }
    }
}

/// An order that takes all parts, by turns that depend on the seed.
fn order(parts: &[RecordBatch], seed: u64, longest: usize) -> Order {
    let mut left: Vec<usize> = parts.iter().map(RecordBatch::num_rows).collect();
    let (mut order, mut turn) = (Order::default(), seed);
    while left.iter().any(|rows| *rows > 0) {
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let part = usize::try_from(turn >> 33).unwrap() % parts.len();
        let rows = left[part].min(longest);
        left[part] -= rows;
        if rows > 0 {
            order.take(u32::try_from(part).unwrap(), rows);
        }
    }
    order
}

#[test]
fn dictionaries_that_are_used_no_more_are_forgotten() {
    let schema = batch(&(0, vec![Some(1)]), &dictionaries()).schema();
    let mut gather = Gather::new(schema);
    for _ in 0..100 {
        // as of the next row groups
        let dictionaries = dictionaries();
        let parts: Vec<_> = (0..2)
            .map(|i| batch(&(i, vec![Some(1); 8]), &dictionaries))
            .collect();
        let order = order(&parts, 7, 1);
        gather.rows(&parts, &order).unwrap();
        assert!(gather.texts.iter().all(|texts| texts.known() <= 14));
    }
}

#[test]
fn dictionaries_larger_than_the_rows_are_merged_by_arrow() {
    let dictionaries: Vec<ArrayRef> = (0..2)
        .map(|part| -> ArrayRef {
            let texts = (0..1000).map(|i| format!("{part}-{i}"));
            Arc::new(StringArray::from_iter_values(texts))
        })
        .collect();
    let parts: Vec<_> = (0..2)
        .map(|i| batch(&(i, vec![Some(3), None, Some(1)]), &dictionaries))
        .collect();
    let order = order(&parts, 1, 1);
    let mut gather = Gather::new(parts[0].schema());
    let found = gather.rows(&parts, &order).unwrap();
    assert!(gather.texts.iter().all(|texts| texts.known() == 0));
    assert_eq!(found.num_rows(), 6);
    assert_eq!(found.column(4).null_count(), 2);
}
