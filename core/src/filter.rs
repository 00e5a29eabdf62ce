//! Filters on key columns, evaluated once per distinct value and then per batch, and on event time.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and, filter_record_batch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampNanosecondType, UInt64Type};
use arrow::error::ArrowError;
use thiserror::Error;

use crate::partitioner::{hash_of_number, hash_of_text};
use crate::schema::{ColumnType, StreamSchema};

/// Keeps rows whose `column` has one of `values`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFilter {
    /// A key column.
    pub column: String,
    /// Accepted values, as text.
    pub values: Vec<String>,
}

/// A filter that no row could meet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// Not a column of the key.
    #[error("`{0}` is not a key column of the stream")]
    NotAKey(String),
    /// A value of the wrong type.
    #[error("`{value}` is not a value of key column `{column}` of type {ty}")]
    Value {
        /// The column.
        column: String,
        /// The value.
        value: String,
        /// The column's type.
        ty: ColumnType,
    },
}

#[derive(Clone, Debug)]
enum Accepted {
    Texts(Vec<String>),
    Ints(Vec<i64>),
    UInts(Vec<u64>),
    Bools(Vec<bool>),
}

/// Filters checked against a schema.
#[derive(Clone, Debug, Default)]
pub struct KeyPredicate {
    columns: Vec<(String, Accepted)>,
}

impl KeyPredicate {
    /// Checks names and values.
    pub fn new(schema: &StreamSchema, filters: &[KeyFilter]) -> Result<Self, FilterError> {
        let columns = filters.iter().map(|filter| {
            let index = schema
                .index_of(&filter.column)
                .filter(|i| schema.key().contains(i));
            let index = index.ok_or_else(|| FilterError::NotAKey(filter.column.clone()))?;
            let accepted = accept(filter, schema.columns()[index].ty)?;
            Ok((filter.column.clone(), accepted))
        });
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
        })
    }

    /// Names of the columns looked at.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Whether every row passes.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Which rows of a batch, which must hold the columns, pass.
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let mut mask: Option<BooleanArray> = None;
        for (name, accepted) in &self.columns {
            let passes = accepted.mask(read_column(batch, name)?)?;
            mask = Some(match mask {
                None => passes,
                Some(mask) => and(&mask, &passes)?,
            });
        }
        let all = || BooleanArray::new(BooleanBuffer::new_set(batch.num_rows()), None);
        Ok(mask.unwrap_or_else(all))
    }

    /// Hashes of the values that are accepted of a column; `None` if all are.
    pub(crate) fn value_hashes(&self, column: &str) -> Option<Vec<u64>> {
        let (_, accepted) = self.columns.iter().find(|(name, _)| name == column)?;
        Some(accepted.hashes())
    }

    /// The rows that pass.
    pub fn filter(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        if self.is_empty() {
            return Ok(batch.clone());
        }
        filter_record_batch(batch, &self.mask(batch)?)
    }
}

/// Keeps rows whose event time lies between two, both included. Rows without one do not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTimes {
    /// The event-time column.
    pub column: String,
    /// The lowest, ns since the epoch.
    pub first: i64,
    /// The highest; below the lowest if nothing passes.
    pub last: i64,
}

impl EventTimes {
    /// Which rows of a batch, which must hold the column, pass.
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let column = read_column(batch, &self.column)?;
        let times = column.as_primitive_opt::<TimestampNanosecondType>();
        let times = times.ok_or_else(|| {
            ArrowError::SchemaError(format!("column {} holds no times", self.column))
        })?;
        let within = |time: i64| (self.first..=self.last).contains(&time);
        Ok(BooleanArray::from_unary(times, within))
    }

    /// The rows that pass.
    pub fn filter(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        filter_record_batch(batch, &self.mask(batch)?)
    }
}

fn read_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    batch
        .column_by_name(name)
        .ok_or_else(|| ArrowError::InvalidArgumentError(format!("column {name} was not read")))
}

fn accept(filter: &KeyFilter, ty: ColumnType) -> Result<Accepted, FilterError> {
    let (values, column) = (&filter.values, &filter.column);
    let wrong = |value: &String| FilterError::Value {
        column: column.clone(),
        value: value.clone(),
        ty,
    };
    fn parse<T: std::str::FromStr>(
        values: &[String],
        wrong: impl Fn(&String) -> FilterError,
    ) -> Result<Vec<T>, FilterError> {
        values
            .iter()
            .map(|value| value.parse().map_err(|_| wrong(value)))
            .collect()
    }
    match ty {
        ColumnType::String => Ok(Accepted::Texts(values.clone())),
        ColumnType::Int64 => parse(values, wrong).map(Accepted::Ints),
        ColumnType::UInt64 => parse(values, wrong).map(Accepted::UInts),
        ColumnType::Bool => parse(values, wrong).map(Accepted::Bools),
        _ => Err(FilterError::NotAKey(column.clone())),
    }
}

impl Accepted {
    fn hashes(&self) -> Vec<u64> {
        let numbers = |values: &mut dyn Iterator<Item = u64>| values.map(hash_of_number).collect();
        match self {
            Self::Texts(texts) => texts.iter().map(|text| hash_of_text(text)).collect(),
            Self::Ints(ints) => numbers(&mut ints.iter().map(|int| int.cast_unsigned())),
            Self::UInts(ints) => numbers(&mut ints.iter().copied()),
            Self::Bools(bools) => numbers(&mut bools.iter().map(|flag| u64::from(*flag))),
        }
    }

    fn mask(&self, column: &ArrayRef) -> Result<BooleanArray, ArrowError> {
        match (self, column.data_type()) {
            (Self::Texts(texts), DataType::Dictionary(..)) => {
                let array = column.as_dictionary::<Int32Type>();
                let values = array.values().as_string::<i32>();
                let hit: Vec<bool> = values
                    .iter()
                    .map(|v| v.is_some_and(|v| texts.iter().any(|t| t == v)))
                    .collect();
                Ok(hits(array.keys(), &hit))
            }
            (Self::Ints(ints), DataType::Int64) => {
                let values = column.as_primitive::<Int64Type>().iter();
                Ok(bits(values.map(|value| {
                    value.is_some_and(|value| ints.contains(&value))
                })))
            }
            (Self::UInts(ints), DataType::UInt64) => {
                let values = column.as_primitive::<UInt64Type>().iter();
                Ok(bits(values.map(|value| {
                    value.is_some_and(|value| ints.contains(&value))
                })))
            }
            (Self::Bools(bools), DataType::Boolean) => {
                let values = column.as_boolean().iter();
                Ok(bits(values.map(|value| {
                    value.is_some_and(|value| bools.contains(&value))
                })))
            }
            (_, other) => Err(ArrowError::CastError(format!("key column of type {other}"))),
        }
    }
}

/// Which rows have a code with a hit. What lies under a null may be any number.
fn hits(codes: &PrimitiveArray<Int32Type>, hit: &[bool]) -> BooleanArray {
    let values = codes.values();
    let of_row =
        |row: usize| usize::try_from(values[row]).is_ok_and(|code| hit.get(code) == Some(&true));
    let found = BooleanBuffer::collect_bool(values.len(), of_row);
    let found = match codes.nulls() {
        Some(nulls) => &found & nulls.inner(),
        None => found,
    };
    BooleanArray::new(found, None)
}

/// A mask without nulls: a missing value never passes.
fn bits(passes: impl Iterator<Item = bool>) -> BooleanArray {
    passes.map(Some).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int64Array};

    use super::*;
    use crate::schema::Column;

    #[test]
    fn rows_pass_if_every_column_has_an_accepted_value() {
        let columns = vec![
            Column::optional("symbol", ColumnType::String),
            Column::required("lot", ColumnType::Int64),
            Column::required("price", ColumnType::Float64),
        ];
        let schema = StreamSchema::new(columns, &["symbol", "lot"], None).unwrap();
        let filter = |column: &str, values: &[&str]| KeyFilter {
            column: column.into(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        let symbols: DictionaryArray<Int32Type> = [Some("a"), Some("b"), None, Some("a")]
            .into_iter()
            .collect();
        let lots = Int64Array::from(vec![1, 1, 1, 2]);
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("symbol", Arc::new(symbols) as ArrayRef, true),
            ("lot", Arc::new(lots), false),
        ])
        .unwrap();
        let both = [filter("symbol", &["a", "x"]), filter("lot", &["1"])];
        let predicate = KeyPredicate::new(&schema, &both).unwrap();
        assert_eq!(predicate.filter(&rows).unwrap(), rows.slice(0, 1));
        assert!(KeyPredicate::new(&schema, &[filter("lot", &["x"])]).is_err());
        assert!(KeyPredicate::new(&schema, &[filter("price", &["1"])]).is_err());
    }
}
