//! Digest of rows that does not depend on how they are encoded, batched or dictionary-coded.
//!
//! Rows are hashed in slices of [`SLICE_ROWS`], column by column: validity, then values as fixed
//! width little-endian with zeros under nulls. Strings become their dictionary in order of first
//! appearance within the slice, and one code a row. The column names and types come first.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float64Type, Int32Type, Int64Type, SchemaRef,
    TimeUnit, TimestampNanosecondType, ToByteSlice, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;

use crate::digest::Digest;
use crate::sealer::SLICE_ROWS;

/// Code of a null string.
const NULL_CODE: u32 = u32::MAX;

/// Digest of `batches`, which all have `schema`.
pub fn rows_root(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Digest, ArrowError> {
    let mut hasher = RootHasher::new(schema);
    for batch in batches {
        hasher.push(batch)?;
    }
    hasher.finish()
}

/// Makes the digest of rows that come batch by batch.
#[derive(Debug)]
pub struct RootHasher {
    slices: Reslicer,
    hasher: blake3::Hasher,
    rows: u64,
}

impl RootHasher {
    /// Begins a digest of rows that have `schema`.
    pub fn new(schema: &SchemaRef) -> Self {
        let mut hasher = blake3::Hasher::new();
        for field in schema.fields() {
            hasher.update(field.name().as_bytes());
            hasher.update(&[0]);
            hasher.update(field.data_type().to_string().as_bytes());
            hasher.update(&[0]);
        }
        Self {
            slices: Reslicer::new(schema, SLICE_ROWS),
            hasher,
            rows: 0,
        }
    }

    /// Takes the next rows.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        for slice in self.slices.push(batch)? {
            self.hash(&slice)?;
        }
        Ok(())
    }

    /// The digest of all rows.
    pub fn finish(mut self) -> Result<Digest, ArrowError> {
        if let Some(slice) = self.slices.finish()? {
            self.hash(&slice)?;
        }
        self.hasher.update(&self.rows.to_le_bytes());
        Ok(Digest(*self.hasher.finalize().as_bytes()))
    }

    fn hash(&mut self, slice: &RecordBatch) -> Result<(), ArrowError> {
        self.rows += slice.num_rows() as u64;
        slice
            .columns()
            .iter()
            .try_for_each(|column| hash_column(&mut self.hasher, column))
    }
}

/// The same rows in batches of exactly `rows`, but for the last.
pub fn reslice(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    rows: usize,
) -> Result<Vec<RecordBatch>, ArrowError> {
    let (mut slices, mut out) = (Reslicer::new(schema, rows), Vec::new());
    for batch in batches {
        out.extend(slices.push(batch)?);
    }
    out.extend(slices.finish()?);
    Ok(out)
}

/// Turns batches of any size into batches of one size.
#[derive(Debug)]
pub struct Reslicer {
    schema: SchemaRef,
    rows: usize,
    pending: Vec<RecordBatch>,
    held: usize,
}

impl Reslicer {
    /// Makes batches of `rows`, at least one.
    pub fn new(schema: &SchemaRef, rows: usize) -> Self {
        Self {
            schema: SchemaRef::clone(schema),
            rows: rows.max(1),
            pending: Vec::new(),
            held: 0,
        }
    }

    /// Takes rows; the batches that are full.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<Vec<RecordBatch>, ArrowError> {
        let (mut batch, mut full) = (batch.clone(), Vec::new());
        while self.held + batch.num_rows() >= self.rows {
            let head = self.rows - self.held;
            self.pending.push(batch.slice(0, head));
            batch = batch.slice(head, batch.num_rows() - head);
            full.extend(self.finish()?);
        }
        if batch.num_rows() > 0 {
            self.held += batch.num_rows();
            self.pending.push(batch);
        }
        Ok(full)
    }

    /// What is left.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        self.held = 0;
        let pending = std::mem::take(&mut self.pending);
        let left = (!pending.is_empty()).then(|| join(&self.schema, &pending));
        left.transpose()
    }
}

fn join(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    match batches {
        [one] => Ok(one.clone()),
        many => concat_batches(schema, many),
    }
}

fn hash_column(hasher: &mut blake3::Hasher, column: &ArrayRef) -> Result<(), ArrowError> {
    hash_validity(hasher, column);
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            hash_values::<TimestampNanosecondType>(hasher, column.as_primitive());
        }
        DataType::UInt32 => hash_values::<UInt32Type>(hasher, column.as_primitive()),
        DataType::UInt64 => hash_values::<UInt64Type>(hasher, column.as_primitive()),
        DataType::Int64 => hash_values::<Int64Type>(hasher, column.as_primitive()),
        DataType::Float64 => hash_values::<Float64Type>(hasher, column.as_primitive()),
        DataType::Decimal128(..) => hash_values::<Decimal128Type>(hasher, column.as_primitive()),
        DataType::Boolean => hash_bools(hasher, column.as_boolean()),
        DataType::Dictionary(..) => hash_strings(hasher, column)?,
        DataType::Utf8 => {
            let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            hash_strings(hasher, &cast(column, &coded)?)?;
        }
        other => {
            return Err(ArrowError::NotYetImplemented(format!(
                "digest of a {other} column"
            )));
        }
    }
    Ok(())
}

/// One bit a row, only where the slice has a null at all.
fn hash_validity(hasher: &mut blake3::Hasher, column: &ArrayRef) {
    hasher.update(&(column.null_count() as u64).to_le_bytes());
    if column.null_count() > 0
        && let Some(nulls) = column.logical_nulls()
    {
        let bits: BooleanArray = nulls.iter().map(Some).collect();
        hasher.update(bits.values().values());
    }
}

fn hash_values<T: ArrowPrimitiveType>(hasher: &mut blake3::Hasher, array: &PrimitiveArray<T>) {
    if array.null_count() == 0 {
        hasher.update(array.values().to_byte_slice());
        return;
    }
    let zero = T::Native::default();
    let values: Vec<T::Native> = array.iter().map(|value| value.unwrap_or(zero)).collect();
    hasher.update(values.to_byte_slice());
}

fn hash_bools(hasher: &mut blake3::Hasher, array: &BooleanArray) {
    let bits: BooleanArray = array.iter().map(|bit| Some(bit.unwrap_or(false))).collect();
    hasher.update(bits.values().values());
}

/// Codes are renumbered by first appearance; equal values under two codes become one.
fn hash_strings(hasher: &mut blake3::Hasher, column: &ArrayRef) -> Result<(), ArrowError> {
    let array = column
        .as_dictionary_opt::<Int32Type>()
        .ok_or_else(|| ArrowError::CastError("dictionary of Int32 expected".into()))?;
    let values = array
        .values()
        .as_string_opt::<i32>()
        .ok_or_else(|| ArrowError::CastError("dictionary of strings expected".into()))?;
    let mut renumbered: Vec<Option<u32>> = vec![None; values.len()];
    let mut by_text: HashMap<&str, u32> = HashMap::new();
    let mut texts: Vec<&str> = Vec::new();
    let mut codes: Vec<u32> = Vec::with_capacity(array.len());
    for key in array.keys() {
        let valid = key
            .and_then(|key| usize::try_from(key).ok())
            .filter(|k| values.is_valid(*k));
        let Some(key) = valid else {
            codes.push(NULL_CODE);
            continue;
        };
        let code = *renumbered[key].get_or_insert_with(|| {
            let text = values.value(key);
            *by_text.entry(text).or_insert_with(|| {
                texts.push(text);
                u32::try_from(texts.len() - 1).unwrap_or(NULL_CODE)
            })
        });
        codes.push(code);
    }
    hasher.update(&(texts.len() as u64).to_le_bytes());
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(codes.to_byte_slice());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, DictionaryArray, StringArray, UInt64Array};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: &[(Option<&str>, Option<bool>, Option<i128>)]) -> RecordBatch {
        let names: DictionaryArray<Int32Type> = rows.iter().map(|row| row.0).collect();
        let flags: BooleanArray = rows.iter().map(|row| row.1).collect();
        let prices: Decimal128Array = rows.iter().map(|row| row.2).collect();
        let prices = prices.with_precision_and_scale(18, 9).unwrap();
        let count = UInt64Array::from_iter_values(0..rows.len() as u64);
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("n", Arc::new(names), true),
            ("f", Arc::new(flags), true),
            ("p", Arc::new(prices), true),
            ("c", Arc::new(count), false),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn root(batches: &[RecordBatch]) -> Digest {
        rows_root(&batches[0].schema(), batches).unwrap()
    }

    #[test]
    fn a_changed_value_changes_the_root() {
        let one = root(&[batch(&[
            (Some("a"), Some(true), Some(1)),
            (None, None, None),
        ])]);
        let others = [
            batch(&[(Some("b"), Some(true), Some(1)), (None, None, None)]),
            batch(&[(Some("a"), None, Some(1)), (None, Some(true), None)]),
            batch(&[(Some("a"), Some(true), Some(2)), (None, None, None)]),
            batch(&[(Some("a"), Some(true), Some(1)), (Some(""), None, None)]),
            batch(&[(Some("a"), Some(true), Some(1))]),
        ];
        for other in others {
            assert_ne!(root(&[other]), one);
        }
    }

    #[test]
    fn dictionary_layout_does_not_matter() {
        let coded = |keys: Vec<i32>, values: Vec<&str>| {
            let keys = arrow::array::Int32Array::from(keys);
            let array = DictionaryArray::new(keys, Arc::new(StringArray::from(values)));
            let field = Field::new("n", array.data_type().clone(), true);
            let schema = Arc::new(Schema::new(vec![field]));
            RecordBatch::try_new(schema, vec![Arc::new(array)]).unwrap()
        };
        let plain = root(&[coded(vec![0, 1, 0], vec!["a", "b"])]);
        assert_eq!(
            root(&[coded(vec![2, 0, 3], vec!["b", "x", "a", "a"])]),
            plain
        );
    }

    proptest! {
        #[test]
        fn batching_does_not_matter(
            rows in proptest::collection::vec(
                (proptest::option::of("[a-c]{0,2}"), any::<Option<bool>>(), proptest::option::of(0i128..5)),
                1..60
            ),
            cuts in proptest::collection::vec(0usize..60, 0..6)
        ) {
            let rows: Vec<_> = rows.iter().map(|r| (r.0.as_deref(), r.1, r.2)).collect();
            let whole = batch(&rows);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(rows.len())).collect();
            cuts.extend([0, rows.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> =
                cuts.windows(2).map(|pair| whole.slice(pair[0], pair[1] - pair[0])).collect();
            prop_assert_eq!(root(&pieces), root(std::slice::from_ref(&whole)));
            let sevens = reslice(&whole.schema(), &pieces, 7).unwrap();
            prop_assert!(sevens.iter().rev().skip(1).all(|b| b.num_rows() == 7));
            prop_assert_eq!(concat_batches(&whole.schema(), &sevens).unwrap(), whole);
        }
    }
}
