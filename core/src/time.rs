//! Durations (`10s`, `250ms`, `1h`) and instants (RFC 3339 or integer nanoseconds) in text.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
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

/// Why an instant was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not a time: write RFC 3339 like 2026-01-31T09:30:00.123456789Z or integer \
     nanoseconds since the epoch"
)]
pub struct TimeError {
    text: String,
}

/// Parses RFC 3339 (to the nanosecond; UTC if it names no zone) or integer nanoseconds since the
/// epoch.
pub fn parse_time_ns(text: &str) -> Result<i64, TimeError> {
    text.parse::<i64>()
        .or_else(|_| string_to_timestamp_nanos(text))
        .map_err(|_| TimeError {
            text: text.chars().take(40).collect(),
        })
}

/// RFC 3339 in UTC to the nanosecond, always as long.
pub fn format_time_ns(ns: i64) -> String {
    let format = "%Y-%m-%dT%H:%M:%S%.9fZ";
    chrono::DateTime::from_timestamp_nanos(ns)
        .format(format)
        .to_string()
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

    #[test]
    fn instants_are_written_in_full() {
        let ns = 1_700_000_000_120_000_000;
        assert_eq!(format_time_ns(ns), "2023-11-14T22:13:20.120000000Z");
        assert_eq!(parse_time_ns(&format_time_ns(ns)), Ok(ns));
    }

    #[test]
    fn instants_are_rfc_3339_or_nanoseconds() {
        let expected = 1_700_000_000_123_456_789;
        for text in ["1700000000123456789", "2023-11-14T22:13:20.123456789Z"] {
            assert_eq!(parse_time_ns(text).unwrap(), expected);
        }
        assert_eq!(
            parse_time_ns("2023-11-14T23:13:20.123456789+01:00").unwrap(),
            expected
        );
        for bad in ["", "yesterday", "1e9", "2023-13-01T00:00:00Z"] {
            assert!(parse_time_ns(bad).is_err(), "{bad}");
        }
    }
}
