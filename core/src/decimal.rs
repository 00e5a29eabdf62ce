//! Decimal text to scaled integers, without a float in between.

use thiserror::Error;

/// Why a decimal was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// Not a number.
    #[error("is not a decimal number")]
    Malformed,
    /// More digits before the point than the type holds.
    #[error("is out of range for the column")]
    OutOfRange,
    /// More digits after the point than the type holds; rounding would falsify the record.
    #[error("has more decimal places than the column")]
    TooPrecise,
}

/// Parses `[+-]digits[.digits][e[+-]digits]` into `value * 10^scale`, exactly or not at all.
/// `precision` is at most 38.
pub fn parse_decimal(text: &[u8], precision: u8, scale: u8) -> Result<i128, DecimalError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (digits, exponent) = split_exponent(digits)?;
    let mut value: i128 = 0;
    let mut places: i32 = 0;
    let mut seen_point = false;
    let mut any_digit = false;
    let mut zeros: i32 = 0;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                any_digit = true;
                places += i32::from(seen_point);
                if byte == b'0' {
                    zeros += 1;
                } else {
                    // trailing zeros are only taken when a digit follows, so 1.0000… always fits
                    value = shift(value, zeros + 1)?
                        .checked_add(i128::from(byte - b'0'))
                        .ok_or(DecimalError::OutOfRange)?;
                    zeros = 0;
                }
            }
            b'.' if !seen_point => seen_point = true,
            _ => return Err(DecimalError::Malformed),
        }
    }
    if !any_digit {
        return Err(DecimalError::Malformed);
    }
    if value == 0 {
        return Ok(0);
    }
    let shift_by = i32::from(scale) - places + zeros + exponent;
    if shift_by < 0 {
        return Err(DecimalError::TooPrecise);
    }
    let value = shift(value, shift_by)?;
    let limit = 10_i128.pow(u32::from(precision.min(38)));
    if value >= limit {
        return Err(DecimalError::OutOfRange);
    }
    Ok(if negative { -value } else { value })
}

fn shift(value: i128, places: i32) -> Result<i128, DecimalError> {
    if value == 0 {
        return Ok(0);
    }
    u32::try_from(places)
        .ok()
        .and_then(|places| 10_i128.checked_pow(places))
        .and_then(|factor| value.checked_mul(factor))
        .ok_or(DecimalError::OutOfRange)
}

/// Exponents beyond this are out of range for any column.
const MAX_EXPONENT: i32 = 1000;

fn split_exponent(digits: &[u8]) -> Result<(&[u8], i32), DecimalError> {
    let Some(at) = digits.iter().position(|b| matches!(b, b'e' | b'E')) else {
        return Ok((digits, 0));
    };
    let exponent: i32 = std::str::from_utf8(&digits[at + 1..])
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(DecimalError::Malformed)?;
    if exponent.abs() > MAX_EXPONENT {
        return Err(DecimalError::OutOfRange);
    }
    Ok((&digits[..at], exponent))
}

/// Writes `value / 10^scale` as plain text without trailing zeros.
pub fn write_decimal(out: &mut Vec<u8>, value: i128, scale: u8) {
    if value < 0 {
        out.push(b'-');
    }
    let factor = 10_u128.pow(u32::from(scale));
    let magnitude = value.unsigned_abs();
    let (whole, mut fraction) = (magnitude / factor, magnitude % factor);
    out.extend_from_slice(whole.to_string().as_bytes());
    if fraction == 0 {
        return;
    }
    let mut width = usize::from(scale);
    while fraction % 10 == 0 {
        fraction /= 10;
        width -= 1;
    }
    out.extend_from_slice(format!(".{fraction:0width$}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_exactly_or_refuses() {
        let ok: [(&str, i128); 9] = [
            ("61837.63000000", 61_837_630_000_000),
            ("-0.000000001", -1),
            ("+5", 5_000_000_000),
            (".5", 500_000_000),
            ("5.", 5_000_000_000),
            ("1e-9", 1),
            ("1.5E3", 1_500_000_000_000),
            ("999999999.999999999", 999_999_999_999_999_999),
            (
                "1.0000000000000000000000000000000000000000000000",
                1_000_000_000,
            ),
        ];
        for (text, value) in ok {
            assert_eq!(parse_decimal(text.as_bytes(), 18, 9), Ok(value), "{text}");
        }
        let bad = [
            ("", DecimalError::Malformed),
            (".", DecimalError::Malformed),
            ("-", DecimalError::Malformed),
            ("1.2.3", DecimalError::Malformed),
            ("NaN", DecimalError::Malformed),
            ("1e", DecimalError::Malformed),
            ("1000000000", DecimalError::OutOfRange),
            ("1e999999", DecimalError::OutOfRange),
            ("0.0000000001", DecimalError::TooPrecise),
        ];
        for (text, error) in bad {
            assert_eq!(parse_decimal(text.as_bytes(), 18, 9), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(value in -999_999_999_999_999_999_i128..1_000_000_000_000_000_000, scale in 0u8..=18) {
            let mut text = Vec::new();
            write_decimal(&mut text, value, scale);
            prop_assert_eq!(parse_decimal(&text, 18, scale), Ok(value));
        }

        #[test]
        fn any_bytes_are_answered(text in proptest::collection::vec(any::<u8>(), 0..50)) {
            if let Ok(value) = parse_decimal(&text, 38, 9) {
                prop_assert!(value.abs() < 10_i128.pow(38));
            }
        }
    }
}
