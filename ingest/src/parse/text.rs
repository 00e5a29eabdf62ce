//! Text to numbers and times: short paths for the usual layouts, in front of the general ones.

use tourbillon_core::decimal::{DecimalError, parse_decimal};
use tourbillon_core::time::parse_time_ns;

/// Digits that always fit a `u64`.
const SAFE_DIGITS: usize = 19;

/// Digits that fit a `u64`; none if there is anything else, nothing, or too much.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > SAFE_DIGITS {
        return None;
    }
    let mut value = 0_u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

/// A whole number; none if it is not one or out of range.
pub(super) fn parse_u64(text: &[u8]) -> Option<u64> {
    digits(text).or_else(|| std::str::from_utf8(text).ok()?.parse().ok())
}

/// A whole number; none if it is not one or out of range.
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    let short = match text {
        [b'-', rest @ ..] => digits(rest).and_then(|value| 0_i64.checked_sub_unsigned(value)),
        _ => digits(text).and_then(|value| i64::try_from(value).ok()),
    };
    short.or_else(|| std::str::from_utf8(text).ok()?.parse().ok())
}

/// A float; none if it is not one. Digits that overflow to infinity are refused.
pub(super) fn parse_f64(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (value.is_finite() || !text.iter().any(u8::is_ascii_digit)).then_some(value)
}

/// `true` or `false` in any case.
pub(super) fn parse_bool(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case(b"false").then_some(false)
    }
}

/// `value * 10^scale`, exactly; the same answer as [`parse_decimal`].
pub(super) fn parse_exact(text: &[u8], precision: u8, scale: u8) -> Result<i128, DecimalError> {
    short_decimal(text, precision, scale).map_or_else(|| parse_decimal(text, precision, scale), Ok)
}

/// Plain digits with at most one point, short enough for integer arithmetic without checks.
fn short_decimal(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    if text.len() > SAFE_DIGITS {
        return None;
    }
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut value = 0_u64;
    let mut point = None;
    for (at, &byte) in unsigned.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + u64::from(digit);
        } else if byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let places = point.map_or(0, |at| unsigned.len() - at - 1);
    if unsigned.len() == usize::from(point.is_some()) {
        return None;
    }
    let shift = usize::from(scale).checked_sub(places)?;
    let factor = POWERS.get(shift)?;
    let value = i128::from(value) * i128::from(*factor);
    let fits = precision >= 38 || value < 10_i128.pow(u32::from(precision));
    fits.then_some(if negative { -value } else { value })
}

/// Powers of ten that fit a `u64`.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut i = 1;
    while i < 20 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Nanoseconds since the epoch; the same answer as [`parse_time_ns`].
pub(super) fn parse_time(text: &[u8]) -> Option<i64> {
    parse_utc(text)
        .or_else(|| parse_i64(text))
        .or_else(|| parse_time_ns(std::str::from_utf8(text).ok()?).ok())
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction]Z` with 1 to 9 digits of fraction.
fn parse_utc(text: &[u8]) -> Option<i64> {
    let (head, tail) = text.split_at_checked(19)?;
    let separators = (head[4], head[7], head[10], head[13], head[16]);
    if separators != (b'-', b'-', b'T', b':', b':') {
        return None;
    }
    let field = |from: usize, to: usize| Some(digits(&head[from..to])?.cast_signed());
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = match tail {
        b"Z" => 0,
        [b'.', fraction @ .., b'Z'] if fraction.len() <= 9 => {
            digits(fraction)? * POWERS[9 - fraction.len()]
        }
        _ => return None,
    };
    let seconds = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add_unsigned(nanos)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar, for years 0 to 9999. Counting from March puts
/// the leap day last, so that the months before it have fixed lengths.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let years = if month > 2 { year } else { year - 1 };
    let months = (month + 9) % 12;
    let leap_days = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    years * 365 + leap_days + (153 * months + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_numbers_reach_both_ends() {
        for value in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        assert_eq!(parse_u64(u64::MAX.to_string().as_bytes()), Some(u64::MAX));
        for bad in [
            "",
            "-",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
            "1e3",
            " 1",
        ] {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad}");
        }
        for bad in ["", "-1", "18446744073709551616", "99999999999999999999"] {
            assert_eq!(parse_u64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn floats_do_not_overflow_silently() {
        assert_eq!(parse_f64(b"-1.5e3"), Some(-1500.0));
        assert_eq!(parse_f64(b"1e999"), None);
        assert!(parse_f64(b"NaN").is_some_and(f64::is_nan));
        assert_eq!(parse_f64(b"1,5"), None);
    }

    proptest! {
        #[test]
        fn decimals_equal_the_general_path(
            text in "[+-]?[0-9]{0,12}[.]?[0-9]{0,12}(e-?[0-9])?",
            precision in 1_u8..=38,
            scale in 0_u8..=38,
        ) {
            let scale = scale.min(precision);
            let text = text.as_bytes();
            prop_assert_eq!(parse_exact(text, precision, scale), parse_decimal(text, precision, scale));
        }

        #[test]
        fn times_equal_the_general_path(
            year in 1600_u32..2400, month in 0_u32..14, day in 0_u32..33, hour in 0_u32..25,
            minute in 0_u32..61, second in 0_u32..61, rest in "([.][0-9]{0,10})?(Z|\\+01:00)?",
        ) {
            let text = format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{rest}");
            prop_assert_eq!(parse_time(text.as_bytes()), parse_time_ns(&text).ok(), "{}", text);
        }
    }
}
