//! Which partition a row goes to: a jump consistent hash of its key columns.
//!
//! Distinct values are hashed once per batch; rows only combine their codes' hashes. Growing the
//! number of partitions from `n` to `m` moves `(m - n) / m` of the keys and no others.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Int32Type, Int64Type, UInt64Type};
use arrow::error::ArrowError;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::filter::KeyPredicate;
use crate::ids::PartitionId;
use crate::schema::StreamSchema;

/// Hash of a missing value; no bytes of ours hash to it but by accident.
const NULL_HASH: u64 = 0x9e37_79b9_7f4a_7c15;

/// Most keys that are looked at one by one.
const MAX_KEYS: usize = 4096;

/// The partitions that can hold rows of the accepted keys in a stream that was cut by each of
/// `counts`. `None` if that may be any: the filters leave a key column open, or accept too many keys.
pub fn homes(
    schema: &StreamSchema,
    accepted: &KeyPredicate,
    counts: &[u32],
) -> Option<BTreeSet<PartitionId>> {
    let mut keys = vec![xxh3_64(b"")];
    for name in schema.key_names() {
        let values = accepted.value_hashes(name)?;
        if keys.len().saturating_mul(values.len()) > MAX_KEYS {
            return None;
        }
        let with = |key: u64| values.iter().map(move |value| joined(key, *value));
        keys = keys.into_iter().flat_map(with).collect();
    }
    let homes = |key: u64| counts.iter().map(move |count| jump(key, (*count).max(1)));
    Some(keys.into_iter().flat_map(homes).map(PartitionId).collect())
}

/// Hash of a text in a key.
pub(crate) fn hash_of_text(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// Hash of a number or flag in a key.
pub(crate) fn hash_of_number(number: u64) -> u64 {
    xxh3_64(&number.to_le_bytes())
}

/// Hash of the key columns so far and one more.
fn joined(key: u64, value: u64) -> u64 {
    xxh3_64_with_seed(&value.to_le_bytes(), key)
}

/// Rows of a batch of `schema`'s data form by partition, each in row order.
pub fn split(
    schema: &StreamSchema,
    batch: &RecordBatch,
    partitions: u32,
) -> Result<Vec<(PartitionId, UInt32Array)>, ArrowError> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); partitions.max(1) as usize];
    for (row, partition) in (0u32..).zip(partition_of_rows(schema, batch, partitions)?) {
        rows[partition as usize].push(row);
    }
    let parts = (0u32..)
        .map(PartitionId)
        .zip(rows)
        .filter(|(_, rows)| !rows.is_empty());
    Ok(parts
        .map(|(partition, rows)| (partition, UInt32Array::from(rows)))
        .collect())
}

/// The first row of a batch, data or stored, whose key no cut by one of `counts` puts into
/// `partition`.
pub fn first_stray(
    schema: &StreamSchema,
    batch: &RecordBatch,
    counts: &[u32],
    partition: PartitionId,
) -> Result<Option<usize>, ArrowError> {
    let at_home = |hash: u64| {
        let mut homes = counts.iter().map(|count| jump(hash, (*count).max(1)));
        homes.any(|home| home == partition.0)
    };
    let hashes = key_hashes(schema, batch)?;
    Ok(hashes.into_iter().position(|hash| !at_home(hash)))
}

fn partition_of_rows(
    schema: &StreamSchema,
    batch: &RecordBatch,
    partitions: u32,
) -> Result<Vec<u32>, ArrowError> {
    let hashes = key_hashes(schema, batch)?.into_iter();
    Ok(hashes.map(|hash| jump(hash, partitions.max(1))).collect())
}

fn key_hashes(schema: &StreamSchema, batch: &RecordBatch) -> Result<Vec<u64>, ArrowError> {
    let mut hashes = vec![xxh3_64(b""); batch.num_rows()];
    for name in schema.key_names() {
        let column = batch.column_by_name(name);
        let absent = || ArrowError::SchemaError(format!("key column `{name}` is absent"));
        combine(&mut hashes, column.ok_or_else(absent)?)?;
    }
    Ok(hashes)
}

/// Folds a column's value hashes into the rows' hashes.
fn combine(hashes: &mut [u64], column: &ArrayRef) -> Result<(), ArrowError> {
    let fold = |(hash, value): (&mut u64, u64)| *hash = joined(*hash, value);
    let rows = hashes.iter_mut();
    let int = |value: Option<u64>| value.map_or(NULL_HASH, hash_of_number);
    match column.data_type() {
        DataType::Dictionary(..) => {
            let array = column.as_dictionary::<Int32Type>();
            let values = array.values().as_string::<i32>().iter();
            let values: Vec<u64> = values.map(|v| v.map_or(NULL_HASH, hash_of_text)).collect();
            let of_key = |key: Option<i32>| {
                let index = key.and_then(|key| usize::try_from(key).ok());
                index
                    .and_then(|index| values.get(index).copied())
                    .unwrap_or(NULL_HASH)
            };
            rows.zip(array.keys().iter().map(of_key)).for_each(fold);
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().iter();
            rows.zip(values.map(|v| int(v.map(i64::cast_unsigned))))
                .for_each(fold);
        }
        DataType::UInt64 => {
            rows.zip(column.as_primitive::<UInt64Type>().iter().map(int))
                .for_each(fold);
        }
        DataType::Boolean => {
            let values = column.as_boolean().iter();
            rows.zip(values.map(|v| int(v.map(u64::from))))
                .for_each(fold);
        }
        other => return Err(ArrowError::CastError(format!("key column of type {other}"))),
    }
    Ok(())
}

/// Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm".
fn jump(mut key: u64, buckets: u32) -> u32 {
    let (mut bucket, mut next) = (0u32, 0f64);
    while next < f64::from(buckets) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below buckets"
        )]
        let here = next as u32;
        bucket = here;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        #[expect(clippy::cast_precision_loss, reason = "31 bits fit a double")]
        let spread = (1u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = (f64::from(bucket) + 1.0) * spread;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int64Array};

    use super::*;
    use crate::filter::KeyFilter;
    use crate::schema::{Column, ColumnType};

    fn schema() -> StreamSchema {
        let columns = vec![
            Column::optional("symbol", ColumnType::String),
            Column::optional("lot", ColumnType::Int64),
        ];
        StreamSchema::new(columns, &["symbol", "lot"], None).unwrap()
    }

    fn batch(rows: &[(Option<&str>, Option<i64>)]) -> RecordBatch {
        let symbols: DictionaryArray<Int32Type> = rows.iter().map(|row| row.0).collect();
        let lots: Int64Array = rows.iter().map(|row| row.1).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(symbols), Arc::new(lots)];
        RecordBatch::try_new(Arc::clone(schema().data()), columns).unwrap()
    }

    #[test]
    fn a_key_goes_where_it_would_go_alone() {
        let names: Vec<String> = (0..50).map(|i| format!("s{i}")).collect();
        let rows: Vec<_> = (0..500usize)
            .map(|i| {
                (
                    (i % 7 != 0).then(|| names[i % 50].as_str()),
                    Some((i % 3) as i64),
                )
            })
            .collect();
        let together = partition_of_rows(&schema(), &batch(&rows), 7).unwrap();
        for (row, partition) in rows.iter().zip(together) {
            assert_eq!(
                partition_of_rows(&schema(), &batch(&[*row]), 7).unwrap(),
                [partition]
            );
        }
    }

    #[test]
    fn split_keeps_every_row_once_and_in_order() {
        let names: Vec<String> = (0..100).map(|i| format!("s{i}")).collect();
        let rows: Vec<_> = names
            .iter()
            .map(|name| (Some(name.as_str()), None))
            .collect();
        let parts = split(&schema(), &batch(&rows), 8).unwrap();
        assert!(parts.len() > 4);
        let mut all: Vec<u32> = parts
            .iter()
            .flat_map(|(_, rows)| rows.values().to_vec())
            .collect();
        assert!(parts.iter().all(|(_, rows)| rows.values().is_sorted()));
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn rows_lie_in_the_homes_of_their_keys_however_often_the_stream_grew() {
        let schema = schema();
        let symbols: Vec<String> = (0..40).map(|i| format!("s{i}")).collect();
        let filter = |column: &str, values: Vec<String>| KeyFilter {
            column: column.into(),
            values,
        };
        let counts = [2, 3, 11];
        let mut fewest = usize::MAX;
        for (i, symbol) in symbols.iter().enumerate() {
            let lots = vec!["-3".to_owned(), i.to_string()];
            let both = [filter("lot", lots), filter("symbol", vec![symbol.clone()])];
            let keys = KeyPredicate::new(&schema, &both).unwrap();
            let homes = homes(&schema, &keys, &counts).unwrap();
            let rows: Vec<_> = [-3, i as i64]
                .map(|lot| (Some(symbol.as_str()), Some(lot)))
                .into();
            let mut found = BTreeSet::new();
            for count in counts {
                let partitions = partition_of_rows(&schema, &batch(&rows), count).unwrap();
                found.extend(partitions.into_iter().map(PartitionId));
            }
            assert_eq!(homes, found, "{symbol}");
            fewest = fewest.min(homes.len());
        }
        assert!(fewest < 3, "{fewest}");
    }

    #[test]
    fn open_keys_have_no_homes() {
        let schema = schema();
        let filter = |column: &str, count: usize| KeyFilter {
            column: column.into(),
            values: (0..count).map(|i| i.to_string()).collect(),
        };
        let homes = |filters: &[KeyFilter]| {
            homes(&schema, &KeyPredicate::new(&schema, filters).unwrap(), &[4])
        };
        assert_eq!(homes(&[]), None);
        assert_eq!(homes(&[filter("symbol", 1)]), None);
        assert_eq!(homes(&[filter("symbol", 65), filter("lot", 65)]), None);
        let most = homes(&[filter("symbol", 64), filter("lot", 64)]);
        assert_eq!(most.unwrap().len(), 4);
        assert_eq!(
            homes(&[filter("symbol", 0), filter("lot", 1)])
                .unwrap()
                .len(),
            0
        );
        let keyless = StreamSchema::new(schema.columns().to_vec(), &[] as &[&str], None).unwrap();
        let one = super::homes(&keyless, &KeyPredicate::default(), &[4]);
        assert_eq!(one.unwrap().len(), 1);
    }

    #[test]
    fn growing_moves_keys_to_new_partitions_only() {
        let mut moved = 0;
        for key in 0..10_000u64 {
            let hash = xxh3_64(&key.to_le_bytes());
            let (before, after) = (jump(hash, 8), jump(hash, 10));
            assert!(before == after || after >= 8);
            moved += u32::from(before != after);
        }
        assert!(
            (1700..2300).contains(&moved),
            "{moved} of 10000 moved, 2000 expected"
        );
    }
}
