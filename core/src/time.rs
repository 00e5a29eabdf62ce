//! Durations in the text forms of settings and schemas: `10s`, `250ms`, `1h`.

use thiserror::Error;

/// Why a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not a duration: write a whole number and ns, us, ms, s, m, h or d, like `10s`"
)]
pub struct DurationError {
    text: String,
}

const UNITS: [(&str, i64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Parses `10s` into nanoseconds.
pub fn parse_duration_ns(text: &str) -> Result<i64, DurationError> {
    let refuse = || DurationError {
        text: text.chars().take(40).collect(),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().map_err(|_| refuse())?;
    let (_, scale) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(refuse)?;
    number.checked_mul(*scale).ok_or_else(refuse)
}

/// Writes nanoseconds with the largest unit that loses nothing.
pub fn format_duration_ns(ns: i64) -> String {
    let (unit, scale) = UNITS
        .iter()
        .find(|(_, scale)| ns % scale == 0)
        .unwrap_or(&("ns", 1));
    format!("{}{unit}", ns / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for text in ["10s", "250ms", "1h", "90s", "1ns", "7us", "2d"] {
            let ns = parse_duration_ns(text).unwrap();
            assert_eq!(parse_duration_ns(&format_duration_ns(ns)).unwrap(), ns);
        }
        assert_eq!(format_duration_ns(10_000_000_000), "10s");
        for bad in ["", "s", "10", "-1s", "1.5s", "10 s", "99999999999999d"] {
            assert!(parse_duration_ns(bad).is_err(), "{bad}");
        }
    }
}
