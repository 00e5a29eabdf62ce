//! Numbers for distinct values of some columns, so that rows are grouped without hashing their
//! strings: per row there is only arithmetic on dictionary codes, and a value is looked at once for
//! every batch in which it appears.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int32Type, Int64Type, UInt64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

/// Number of a value that is not among the groups.
pub const UNKNOWN: u32 = u32::MAX;

/// Most combinations of codes that are looked up in a table instead of a map.
const TABLE_CODES: usize = 65_536;

/// Bytes that stand for the values of one group; they sort as the values do, null first.
pub type GroupKey = Arc<[u8]>;

/// Distinct values of key columns, numbered from 0 in the order in which they came.
#[derive(Debug)]
pub struct Groups {
    types: Vec<DataType>,
    converter: Option<RowConverter>,
    ids: HashMap<GroupKey, u32>,
    keys: Vec<GroupKey>,
}

impl Groups {
    /// No groups yet, of columns of these types. Without columns all rows are one group.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        let types: Vec<_> = types.iter().map(plain).collect();
        let fields = types.iter().cloned().map(SortField::new).collect();
        let converter = match types.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields)?),
        };
        Ok(Self {
            types,
            converter,
            ids: HashMap::new(),
            keys: Vec::new(),
        })
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The bytes that stand for a group.
    pub fn key(&self, id: u32) -> Option<&GroupKey> {
        self.keys.get(usize::try_from(id).ok()?)
    }

    /// The group of each row, new ones added.
    pub fn resolve(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u32>, ArrowError> {
        self.numbered(columns, rows, |groups, bytes| {
            if let Some(id) = groups.ids.get(bytes) {
                return *id;
            }
            let id = u32::try_from(groups.keys.len()).unwrap_or(UNKNOWN);
            let key = GroupKey::from(bytes);
            groups.keys.push(Arc::clone(&key));
            groups.ids.insert(key, id);
            id
        })
    }

    /// The group of each row, [`UNKNOWN`] if there is none.
    pub fn look_up(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u32>, ArrowError> {
        self.numbered(columns, rows, |groups, bytes| {
            groups.ids.get(bytes).copied().unwrap_or(UNKNOWN)
        })
    }

    fn numbered(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        number: impl Fn(&mut Self, &[u8]) -> u32,
    ) -> Result<Vec<u32>, ArrowError> {
        let (mut of_row, firsts) = within(columns, rows)?;
        let firsts = UInt32Array::from(firsts);
        let mut ids = Vec::with_capacity(firsts.len());
        match &self.converter {
            None => ids.resize(firsts.len(), number(self, &[])),
            Some(converter) => {
                let values = columns.iter().zip(&self.types);
                let values = values.map(|(column, ty)| cast(&take(column, &firsts, None)?, ty));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                let keys = converter.convert_columns(&values)?;
                ids.extend(keys.iter().map(|key| number(self, key.data())));
            }
        }
        of_row.iter_mut().for_each(|id| *id = ids[*id as usize]);
        Ok(of_row)
    }

    /// Forgets all groups but these, which get the numbers from 0 in this order.
    pub fn keep(&mut self, ids: &[u32]) {
        let kept = ids.iter().filter_map(|id| self.key(*id).map(Arc::clone));
        self.keys = kept.collect();
        let numbers = self.keys.iter().map(Arc::clone).zip(0..);
        self.ids = numbers.collect();
    }

    /// The values that some keys stand for, strings without a dictionary.
    pub fn values<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a GroupKey>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let Some(converter) = &self.converter else {
            return Ok(Vec::new());
        };
        let parser = converter.parser();
        converter.convert_rows(keys.into_iter().map(|key| parser.parse(key)))
    }
}

/// The type without a dictionary.
pub fn plain(ty: &DataType) -> DataType {
    match ty {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        other => other.clone(),
    }
}

/// A number for each row that is equal where all columns are, and the first row of each number.
/// Equal rows may have different numbers where a dictionary has a value twice.
fn within(columns: &[ArrayRef], rows: usize) -> Result<(Vec<u32>, Vec<u32>), ArrowError> {
    let (mut of_row, mut firsts) = (vec![0_u32; rows], vec![0_u32]);
    for column in columns {
        let (codes, count) = codes(column)?;
        let pairs = of_row.iter().zip(&codes);
        let pair = |(one, code): (&u32, &u32)| u64::from(*one) * count as u64 + u64::from(*code);
        let pairs: Vec<u64> = pairs.map(pair).collect();
        let most = firsts.len().saturating_mul(count);
        (of_row, firsts) = dense(&pairs, most);
    }
    if rows == 0 {
        firsts.clear();
    }
    Ok((of_row, firsts))
}

/// Numbers from 0 for numbers below `most`, and where each is first.
fn dense(values: &[u64], most: usize) -> (Vec<u32>, Vec<u32>) {
    let mut firsts = Vec::new();
    let mut new = |row: usize| {
        let number = u32::try_from(firsts.len()).unwrap_or(UNKNOWN);
        firsts.push(u32::try_from(row).unwrap_or(UNKNOWN));
        number
    };
    let mut numbers = Vec::with_capacity(values.len());
    if most <= TABLE_CODES {
        let mut table = vec![UNKNOWN; most];
        for (row, value) in values.iter().enumerate() {
            let known = &mut table[usize::try_from(*value).unwrap_or(usize::MAX)];
            if *known == UNKNOWN {
                *known = new(row);
            }
            numbers.push(*known);
        }
    } else {
        let mut map = HashMap::new();
        for (row, value) in values.iter().enumerate() {
            numbers.push(*map.entry(*value).or_insert_with(|| new(row)));
        }
    }
    (numbers, firsts)
}

/// A code for each row of a column, equal where the values are, and how many codes there are.
fn codes(column: &ArrayRef) -> Result<(Vec<u32>, usize), ArrowError> {
    let rows = 0..column.len();
    match column.data_type() {
        DataType::Dictionary(..) => {
            let column = column.as_any_dictionary();
            let keys = cast(column.keys(), &DataType::Int32)?;
            let null = column.values().len();
            let code = |key: Option<i32>| key.and_then(|key| usize::try_from(key).ok());
            let codes = keys.as_primitive::<Int32Type>().iter().map(code);
            let codes = codes.map(|key| u32::try_from(key.unwrap_or(null)).unwrap_or(UNKNOWN));
            Ok((codes.collect(), null + 1))
        }
        DataType::Boolean => {
            let codes = column.as_boolean().iter();
            let codes = codes.map(|value| value.map_or(2, u32::from));
            Ok((codes.collect(), 3))
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            let values: Vec<_> = values.iter().map(|value| value.cast_unsigned()).collect();
            Ok(of_integers(column, &values))
        }
        DataType::UInt64 => {
            let values = column.as_primitive::<UInt64Type>().values();
            Ok(of_integers(column, values))
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            let mut seen = HashMap::new();
            let mut next = 0..;
            let codes = rows.map(|row| {
                let value = column.is_valid(row).then(|| values.value(row));
                *seen
                    .entry(value)
                    .or_insert_with(|| next.next().unwrap_or(UNKNOWN))
            });
            let codes = codes.collect();
            Ok((codes, seen.len()))
        }
        other => Err(ArrowError::CastError(format!(
            "columns of type {other} do not group rows"
        ))),
    }
}

fn of_integers(column: &ArrayRef, values: &[u64]) -> (Vec<u32>, usize) {
    let (codes, firsts) = dense(values, usize::MAX);
    let null = u32::try_from(firsts.len()).unwrap_or(UNKNOWN);
    let valid = |(row, code): (usize, u32)| if column.is_valid(row) { code } else { null };
    let codes = codes.into_iter().enumerate().map(valid).collect();
    (codes, firsts.len() + 1)
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, DictionaryArray, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    type Value = (Option<String>, Option<i64>, Option<bool>);

    fn columns(rows: &[Value]) -> Vec<ArrayRef> {
        // every value twice in the dictionary
        let texts: Vec<&str> = rows.iter().filter_map(|row| row.0.as_deref()).collect();
        let values = StringArray::from([texts.clone(), texts.clone()].concat());
        let place = |text: &str| texts.iter().position(|one| *one == text).unwrap();
        let keys = rows.iter().enumerate().map(|(i, row)| {
            let at = row.0.as_deref().map(place);
            at.map(|at| i32::try_from(at + i % 2 * texts.len()).unwrap())
        });
        let keys = keys.collect::<arrow::array::Int32Array>();
        let text = DictionaryArray::new(keys, Arc::new(values));
        let number: Int64Array = rows.iter().map(|row| row.1).collect();
        let flag: BooleanArray = rows.iter().map(|row| row.2).collect();
        vec![Arc::new(text), Arc::new(number), Arc::new(flag)]
    }

    fn value() -> impl Strategy<Value = Value> {
        (
            proptest::option::of("[ab]{0,2}"),
            proptest::option::of(-2i64..2),
            proptest::option::of(any::<bool>()),
        )
    }

    proptest! {
        #[test]
        fn rows_share_a_number_if_and_only_if_their_values_are_equal(
            batches in proptest::collection::vec(proptest::collection::vec(value(), 0..30), 1..4),
        ) {
            let types: Vec<_> = columns(&[]).iter().map(|c| c.data_type().clone()).collect();
            let mut groups = Groups::new(&types).unwrap();
            let (mut ids, mut all) = (Vec::new(), Vec::new());
            for rows in &batches {
                ids.extend(groups.resolve(&columns(rows), rows.len()).unwrap());
                all.extend(rows.iter().cloned());
            }
            for (one, a) in ids.iter().zip(&all) {
                for (two, b) in ids.iter().zip(&all) {
                    prop_assert_eq!(one == two, a == b);
                    prop_assert_eq!(groups.key(*one).cmp(&groups.key(*two)), a.cmp(b));
                }
            }
            // the last stays, all others become unknown
            let Some((last, value)) = ids.last().zip(all.last()) else { return Ok(()) };
            groups.keep(&[*last]);
            let found = groups.look_up(&columns(&all), all.len()).unwrap();
            for (id, one) in found.iter().zip(&all) {
                prop_assert_eq!(*id, if one == value { 0 } else { UNKNOWN });
            }
            let values = groups.values(groups.key(0)).unwrap();
            prop_assert_eq!(values[0].as_string::<i32>().iter().next().unwrap(), value.0.as_deref());
        }
    }

    #[test]
    fn without_columns_all_rows_are_one_group() {
        let mut groups = Groups::new(&[]).unwrap();
        assert_eq!(groups.resolve(&[], 3).unwrap(), [0, 0, 0]);
        assert_eq!(groups.resolve(&[], 0).unwrap(), [0; 0]);
        assert!(groups.values(groups.key(0)).unwrap().is_empty());
    }
}
