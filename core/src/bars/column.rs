//! Prices and sizes of a batch as numbers that compare and multiply alike, whatever their type.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, UInt64Array,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use arrow::error::ArrowError;

use crate::schema::ColumnType;

/// What kind of numbers a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberType {
    /// Integers in units of 10^-scale, of at most so many digits.
    Exact { digits: u8, scale: u8 },
    /// Doubles.
    Float,
}

impl NumberType {
    /// Of a column's type; none if it has no numbers.
    pub(super) fn of(ty: ColumnType) -> Option<Self> {
        let (digits, scale) = match ty {
            ColumnType::Decimal { precision, scale } => (precision, scale),
            ColumnType::Int64 => (19, 0),
            ColumnType::UInt64 => (20, 0),
            ColumnType::Float64 => return Some(Self::Float),
            ColumnType::String | ColumnType::Timestamp | ColumnType::Bool => return None,
        };
        Some(Self::Exact { digits, scale })
    }

    pub(super) fn is_float(self) -> bool {
        self == Self::Float
    }
}

/// The numbers of a column.
pub(super) struct Numbers {
    /// Exact values; of doubles, integers that sort as they do.
    pub(super) exact: ScalarBuffer<i128>,
    /// The values as doubles, where they are asked for.
    pub(super) floats: Vec<f64>,
    /// Which rows have one. A double that is not a number is none.
    valid: Option<Vec<bool>>,
}

impl Numbers {
    /// Reads a column; as doubles too if `floats`.
    pub(super) fn read(
        column: &ArrayRef,
        ty: NumberType,
        floats: bool,
    ) -> Result<Self, ArrowError> {
        let (exact, doubles) = match column.data_type() {
            DataType::Decimal128(..) => {
                let values = column.as_primitive::<Decimal128Type>().values();
                (values.clone(), None)
            }
            DataType::Int64 => {
                let values = column.as_primitive::<Int64Type>().values();
                (
                    values.iter().map(|value| i128::from(*value)).collect(),
                    None,
                )
            }
            DataType::UInt64 => {
                let values = column.as_primitive::<UInt64Type>().values();
                (
                    values.iter().map(|value| i128::from(*value)).collect(),
                    None,
                )
            }
            DataType::Float64 => {
                let values = column.as_primitive::<Float64Type>().values();
                (
                    values.iter().map(|v| rank(*v)).collect(),
                    Some(values.to_vec()),
                )
            }
            other => {
                let text = format!("columns of type {other} have no numbers");
                return Err(ArrowError::CastError(text));
            }
        };
        let not_a_number = doubles.iter().flatten().any(|value| value.is_nan());
        let number = |row: usize| {
            doubles
                .as_ref()
                .is_none_or(|doubles: &Vec<f64>| !doubles[row].is_nan())
        };
        let valid = (column.null_count() > 0 || not_a_number).then(|| {
            let rows = 0..column.len();
            rows.map(|row| column.is_valid(row) && number(row))
                .collect()
        });
        let floats = match (doubles, floats) {
            (Some(doubles), _) => doubles,
            (None, true) => exact.iter().map(|value| to_float(*value, ty)).collect(),
            (None, false) => Vec::new(),
        };
        Ok(Self {
            exact,
            floats,
            valid,
        })
    }

    /// Whether a row has a number.
    pub(super) fn has(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid[row])
    }
}

/// The double next to an exact value.
#[allow(clippy::cast_precision_loss, reason = "a double is asked for")]
pub(super) fn to_float(value: i128, ty: NumberType) -> f64 {
    match ty {
        NumberType::Exact { scale, .. } => value as f64 / 10_f64.powi(i32::from(scale)),
        NumberType::Float => unrank(value),
    }
}

/// An integer for each double, in their total order.
fn rank(value: f64) -> i128 {
    i128::from(flipped(value.to_bits().cast_signed()))
}

fn unrank(rank: i128) -> f64 {
    let bits = i64::try_from(rank).unwrap_or(0);
    f64::from_bits(flipped(bits).cast_unsigned())
}

/// Negative doubles sort the other way round. It is its own inverse.
fn flipped(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// Ranks or exact values as a column of prices.
pub(super) fn prices(
    values: impl Iterator<Item = i128>,
    ty: ColumnType,
) -> Result<ArrayRef, ArrowError> {
    let out_of_range = |_| ArrowError::CastError("a price does not fit its column".into());
    Ok(match ty {
        ColumnType::Float64 => Arc::new(values.map(unrank).collect::<Float64Array>()),
        ColumnType::Int64 => {
            let values = values.map(i64::try_from).collect::<Result<Vec<_>, _>>();
            Arc::new(Int64Array::from(values.map_err(out_of_range)?))
        }
        ColumnType::UInt64 => {
            let values = values.map(u64::try_from).collect::<Result<Vec<_>, _>>();
            Arc::new(UInt64Array::from(values.map_err(out_of_range)?))
        }
        _ => {
            let values: Decimal128Array = values.map(Some).collect();
            Arc::new(values.with_data_type(ty.arrow()))
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_sort_as_doubles_do(one in any::<u64>(), two in any::<u64>()) {
            let (one, two) = (f64::from_bits(one), f64::from_bits(two));
            prop_assert_eq!(rank(one).cmp(&rank(two)), one.total_cmp(&two));
            prop_assert_eq!(unrank(rank(one)).to_bits(), one.to_bits());
        }
    }
}
