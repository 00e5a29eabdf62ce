//! Arrow columns of any kin to the types of a stream, exactly or as null.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int64Array, StringArrayType,
    TimestampNanosecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, TimeUnit, TimestampNanosecondType};
use arrow::error::ArrowError;
use tourbillon_core::schema::{Column, ColumnType};

use super::column::{Column as Builder, Token};
use super::error::ParseError;

/// `source` in the type of `column`. A value that does not convert without loss becomes null: the
/// caller compares nulls to find the rows. Types that never convert are an error.
pub(super) fn convert(source: &ArrayRef, column: &Column) -> Result<ArrayRef, ParseError> {
    use DataType::{
        Boolean, Dictionary, Float16, Float32, Float64, LargeUtf8, Null, Utf8, Utf8View,
    };
    let target = column.ty.arrow();
    let converted = match (source.data_type(), column.ty) {
        (Null, _) => Ok(new_null_array(&target, source.len())),
        (found, ColumnType::Decimal { precision, scale }) if found.is_decimal() => {
            decimal(source, precision, scale)
        }
        (found, ColumnType::String) if *found == target && whole_dictionary(source) => {
            Ok(Arc::clone(source))
        }
        (Dictionary(..), _) => return dictionary(source, column),
        (found, _) if *found == target => Ok(Arc::clone(source)),
        (Utf8, ty) => text(&source.as_string::<i32>(), ty),
        (LargeUtf8, ty) => text(&source.as_string::<i64>(), ty),
        (Utf8View, ty) => text(&source.as_string_view(), ty),
        (DataType::Timestamp(..), ColumnType::Timestamp) => timestamp(source),
        (found, ColumnType::Timestamp) if found.is_integer() => {
            cast(source, &DataType::Int64).and_then(|ns| nanoseconds(&ns, 1))
        }
        (found, ColumnType::Decimal { precision, scale }) if found.is_integer() => {
            cast(source, &DataType::Decimal128(38, 0)).and_then(|v| decimal(&v, precision, scale))
        }
        (found, ColumnType::Int64 | ColumnType::UInt64) if found.is_integer() => {
            cast(source, &target)
        }
        (found, ColumnType::Float64) if found.is_integer() => whole_float(source),
        (Float16 | Float32, ColumnType::Float64) => cast(source, &target),
        (found, ty) => {
            let from_float = matches!(found, Float16 | Float32 | Float64 | Boolean)
                && matches!(ty, ColumnType::Decimal { .. });
            return Err(ParseError::Convert {
                column: column.name.clone(),
                found: found.to_string().chars().take(80).collect(),
                wanted: ty,
                hint: if from_float {
                    ": send text, integers or a decimal, since a float is not the exact price"
                } else {
                    ""
                },
            });
        }
    };
    converted.map_err(ParseError::Assemble)
}

fn whole_dictionary(source: &ArrayRef) -> bool {
    let values = source.as_any_dictionary_opt().map(|d| d.values());
    values.is_some_and(|values| values.null_count() == 0)
}

/// Converts the distinct values, then spreads them by key: the cost of text does not multiply.
fn dictionary(source: &ArrayRef, column: &Column) -> Result<ArrayRef, ParseError> {
    let dictionary = source.as_any_dictionary();
    let values = convert(dictionary.values(), column)?;
    take(&values, dictionary.keys(), None).map_err(ParseError::Assemble)
}

/// Text is read as the text formats read it.
fn text<'a>(source: &impl StringArrayType<'a>, ty: ColumnType) -> Result<ArrayRef, ArrowError> {
    let mut builder = Builder::new("", ty, true);
    for value in source.iter() {
        let text = value.map(|value| Token::Text(value.as_bytes()));
        if !text.is_some_and(|text| builder.push(text)) {
            builder.push_null();
        }
    }
    builder.finish()
}

/// Instants of any unit and zone; one without a zone is in UTC.
fn timestamp(source: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let factor = match source.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        _ => 1,
    };
    nanoseconds(&cast(source, &DataType::Int64)?, factor)
}

fn nanoseconds(counts: &ArrayRef, factor: i64) -> Result<ArrayRef, ArrowError> {
    let counts: &Int64Array = counts.as_primitive();
    let times: TimestampNanosecondArray = if factor == 1 {
        counts.reinterpret_cast::<TimestampNanosecondType>()
    } else {
        counts.unary_opt(|count| count.checked_mul(factor))
    };
    Ok(Arc::new(times.with_timezone("UTC")))
}

fn decimal(source: &ArrayRef, precision: u8, scale: u8) -> Result<ArrayRef, ArrowError> {
    let from = match source.data_type() {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    };
    let wide = match source.data_type() {
        DataType::Decimal128(..) => Arc::clone(source),
        _ => cast(source, &DataType::Decimal128(38, from))?,
    };
    let shift = i32::from(scale) - i32::from(from);
    let factor = 10_i128.checked_pow(shift.unsigned_abs());
    let limit = 10_i128.pow(u32::from(precision.min(38)));
    let rescale = |value: i128| {
        let value = match (value, factor) {
            (0, _) => 0,
            (_, None) => return None,
            (_, Some(factor)) if shift >= 0 => value.checked_mul(factor)?,
            (_, Some(factor)) if value % factor == 0 => value / factor,
            _ => return None,
        };
        (-limit < value && value < limit).then_some(value)
    };
    let wide: &Decimal128Array = wide.as_primitive();
    let exact = if shift == 0 && wide.iter().flatten().all(|v| -limit < v && v < limit) {
        wide.clone()
    } else {
        wide.unary_opt::<_, Decimal128Type>(rescale)
    };
    let exact = exact.with_precision_and_scale(precision, scale.cast_signed())?;
    Ok(Arc::new(exact))
}

/// Integers that a double holds exactly.
fn whole_float(source: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let wide = cast(source, &DataType::Decimal128(38, 0))?;
    let wide: &Decimal128Array = wide.as_primitive();
    let floats = wide.unary_opt::<_, Float64Type>(|value| {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the way back finds what was lost"
        )]
        #[expect(
            clippy::cast_possible_truncation,
            reason = "64-bit integers are in range"
        )]
        let (float, back) = (value as f64, value as f64 as i128);
        (back == value).then_some(float)
    });
    Ok(Arc::new(floats))
}

fn cast(source: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    cast_with_options(source, target, &options)
}
