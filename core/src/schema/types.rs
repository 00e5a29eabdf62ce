//! Column types: their text form, and the Arrow type that carries them.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, TimeUnit};
use thiserror::Error;

/// Most digits of a decimal.
const MAX_PRECISION: u8 = 38;

/// Type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// UTF-8 text, dictionary-coded.
    String,
    /// Nanoseconds since the Unix epoch, UTC.
    Timestamp,
    /// Exact decimal number.
    Decimal {
        /// Significant digits, 1 to 38.
        precision: u8,
        /// Digits after the point, 0 to `precision`.
        scale: u8,
    },
    /// Signed integer.
    Int64,
    /// Unsigned integer.
    UInt64,
    /// IEEE 754 double.
    Float64,
    /// True or false.
    Bool,
}

/// A type name nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "unknown column type `{0}`: use string, timestamp, decimal(p,s) with 1 <= p <= 38 and \
     0 <= s <= p, int64, uint64, float64 or bool"
)]
pub struct TypeError(String);

impl ColumnType {
    /// The Arrow type of the column, in memory, in frames and in files.
    pub fn arrow(self) -> DataType {
        match self {
            Self::String => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            Self::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            Self::Decimal { precision, scale } => {
                DataType::Decimal128(precision, scale.cast_signed())
            }
            Self::Int64 => DataType::Int64,
            Self::UInt64 => DataType::UInt64,
            Self::Float64 => DataType::Float64,
            Self::Bool => DataType::Boolean,
        }
    }

    /// Whether values compare exactly, so that a row's partition is never in doubt.
    pub fn can_be_key(&self) -> bool {
        matches!(self, Self::String | Self::Int64 | Self::UInt64 | Self::Bool)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("string"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Int64 => f.write_str("int64"),
            Self::UInt64 => f.write_str("uint64"),
            Self::Float64 => f.write_str("float64"),
            Self::Bool => f.write_str("bool"),
        }
    }
}

impl FromStr for ColumnType {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Self, TypeError> {
        match text {
            "string" => Ok(Self::String),
            "timestamp" => Ok(Self::Timestamp),
            "int64" => Ok(Self::Int64),
            "uint64" => Ok(Self::UInt64),
            "float64" => Ok(Self::Float64),
            "bool" => Ok(Self::Bool),
            _ => decimal(text).ok_or_else(|| TypeError(text.chars().take(40).collect())),
        }
    }
}

fn decimal(text: &str) -> Option<ColumnType> {
    let inner = text.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inner.split_once(',')?;
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: u8 = scale.trim().parse().ok()?;
    let fits = (1..=MAX_PRECISION).contains(&precision) && scale <= precision;
    fits.then_some(ColumnType::Decimal { precision, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let names = [
            "string",
            "timestamp",
            "decimal(18,9)",
            "int64",
            "uint64",
            "float64",
            "bool",
        ];
        for name in names {
            assert_eq!(name.parse::<ColumnType>().unwrap().to_string(), name);
        }
        for bad in [
            "",
            "text",
            "decimal",
            "decimal(0,0)",
            "decimal(39,1)",
            "decimal(4,5)",
        ] {
            assert!(bad.parse::<ColumnType>().is_err(), "{bad}");
        }
    }
}
