//! One typed column, value by value: where text of any format becomes Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Decimal128Array, DictionaryArray, Float64Array,
    Int64Array, NullBufferBuilder, PrimitiveArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use tourbillon_core::schema::ColumnType;

use super::text::{parse_bool, parse_exact, parse_f64, parse_i64, parse_time, parse_u64};
use super::words::Words;

/// One value as a format spells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// Explicitly nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// The text of a number.
    Number(&'a [u8]),
    /// The text of a number that its format calls a float, which no integer column takes.
    Float(&'a [u8]),
    /// Nanoseconds since the epoch.
    Time(i64),
    /// UTF-8 text, read as any type.
    Text(&'a [u8]),
    /// An object or array, which no column takes.
    Nested,
}

/// Text from the body, short enough for a message.
pub(super) fn snippet(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(40).collect()
}

/// Builder of one column.
#[derive(Debug)]
pub(super) struct Column {
    name: String,
    ty: ColumnType,
    nullable: bool,
    values: Values,
    nulls: NullBufferBuilder,
}

#[derive(Debug)]
enum Values {
    Text(Vec<i32>, Words),
    Time(Vec<i64>),
    Decimal(Vec<i128>, u8, u8),
    Int64(Vec<i64>),
    UInt64(Vec<u64>),
    Float64(Vec<f64>),
    Bool(BooleanBufferBuilder),
}

impl Column {
    pub(super) fn new(name: &str, ty: ColumnType, nullable: bool) -> Self {
        let values = match ty {
            ColumnType::String => Values::Text(Vec::new(), Words::default()),
            ColumnType::Timestamp => Values::Time(Vec::new()),
            ColumnType::Decimal { precision, scale } => {
                Values::Decimal(Vec::new(), precision, scale)
            }
            ColumnType::Int64 => Values::Int64(Vec::new()),
            ColumnType::UInt64 => Values::UInt64(Vec::new()),
            ColumnType::Float64 => Values::Float64(Vec::new()),
            ColumnType::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
        };
        Self {
            name: name.to_owned(),
            ty,
            nullable,
            values,
            nulls: NullBufferBuilder::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Appends one value. A token that does not fit changes nothing and is answered with the
    /// reason.
    pub(super) fn put(&mut self, token: Token<'_>) -> Result<(), String> {
        match token {
            Token::Null if self.nullable => self.push_null(),
            Token::Null => return Err("is required".to_owned()),
            _ if self.push(token) => {}
            _ => return Err(self.refusal(token)),
        }
        Ok(())
    }

    /// Appends the value of `token`, if it has one of this type.
    pub(super) fn push(&mut self, token: Token<'_>) -> bool {
        let fits = self.values.push(token);
        if fits {
            self.nulls.append_non_null();
        }
        fits
    }

    /// Appends a null, allowed or not.
    pub(super) fn push_null(&mut self) {
        self.values.push_default();
        self.nulls.append_null();
    }

    fn refusal(&self, token: Token<'_>) -> String {
        let found = match token {
            Token::Number(text) | Token::Float(text) | Token::Text(text) => {
                if let ColumnType::Decimal { precision, scale } = self.ty
                    && let Err(reason) = parse_exact(text, precision, scale)
                {
                    return format!("`{}` {reason}", snippet(text));
                }
                format!("`{}`", snippet(text))
            }
            Token::Bool(value) => value.to_string(),
            Token::Time(_) => "a time".to_owned(),
            Token::Nested => "an object or array".to_owned(),
            Token::Null => "null".to_owned(),
        };
        let kind = match token {
            Token::Number(_) => " (a number)",
            Token::Float(_) => " (a float)",
            Token::Text(_) => " (a string)",
            _ => "",
        };
        format!("is {}, which {found}{kind} is not", self.ty)
    }

    /// Forgets all but the first `len` values.
    pub(super) fn truncate(&mut self, len: usize) {
        match &mut self.values {
            Values::Text(keys, _) => keys.truncate(len),
            Values::Time(values) | Values::Int64(values) => values.truncate(len),
            Values::Decimal(values, ..) => values.truncate(len),
            Values::UInt64(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Bool(values) => values.truncate(len),
        }
        self.nulls.truncate(len);
    }

    pub(super) fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.finish();
        Ok(match self.values {
            Values::Text(keys, words) => {
                let keys = PrimitiveArray::<Int32Type>::try_new(keys.into(), nulls)?;
                Arc::new(DictionaryArray::try_new(keys, Arc::new(words.finish()?))?)
            }
            Values::Time(values) => {
                let times = TimestampNanosecondArray::try_new(values.into(), nulls)?;
                Arc::new(times.with_timezone("UTC"))
            }
            Values::Decimal(values, precision, scale) => {
                let decimals = Decimal128Array::try_new(values.into(), nulls)?;
                Arc::new(decimals.with_precision_and_scale(precision, scale.cast_signed())?)
            }
            Values::Int64(values) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
            Values::UInt64(values) => Arc::new(UInt64Array::try_new(values.into(), nulls)?),
            Values::Float64(values) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
            Values::Bool(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
        })
    }
}

impl Values {
    /// Appends the value of `token`, if it has one of this type.
    fn push(&mut self, token: Token<'_>) -> bool {
        use Token::{Float, Number, Text};
        match (self, token) {
            (Self::Text(keys, words), Text(text)) => keep(keys, words.intern(text)),
            (Self::Time(values), Number(text)) => keep(values, parse_i64(text)),
            (Self::Time(values), Text(text)) => keep(values, parse_time(text)),
            (Self::Time(values), Token::Time(ns)) => keep(values, Some(ns)),
            (Self::Decimal(values, precision, scale), Number(text) | Float(text) | Text(text)) => {
                keep(values, parse_exact(text, *precision, *scale).ok())
            }
            (Self::Int64(values), Number(text) | Text(text)) => keep(values, parse_i64(text)),
            (Self::UInt64(values), Number(text) | Text(text)) => keep(values, parse_u64(text)),
            (Self::Float64(values), Number(text) | Float(text) | Text(text)) => {
                keep(values, parse_f64(text))
            }
            (Self::Bool(values), token) => {
                let value = match token {
                    Token::Bool(value) => Some(value),
                    Text(text) => parse_bool(text),
                    _ => None,
                };
                value.map(|value| values.append(value)).is_some()
            }
            _ => false,
        }
    }

    /// Appends what stands under a null.
    fn push_default(&mut self) {
        match self {
            Self::Text(keys, _) => keys.push(0),
            Self::Time(values) | Self::Int64(values) => values.push(0),
            Self::Decimal(values, ..) => values.push(0),
            Self::UInt64(values) => values.push(0),
            Self::Float64(values) => values.push(0.0),
            Self::Bool(values) => values.append(false),
        }
    }
}

fn keep<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    value.map(|value| values.push(value)).is_some()
}
