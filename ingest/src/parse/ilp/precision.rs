//! Units of line timestamps.

use crate::parse::ParseError;

/// Unit of the timestamps of a body, from the `precision` parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nanoseconds.
    #[default]
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// Minutes.
    M,
    /// Hours.
    H,
    /// Told from the size of each timestamp.
    Auto,
}

impl Precision {
    /// Reads the spellings of the v1, v2 and v3 interfaces.
    pub fn from_query(text: &str) -> Result<Self, ParseError> {
        match text {
            "n" | "ns" | "nanosecond" => Ok(Self::Ns),
            "u" | "us" | "µ" | "microsecond" => Ok(Self::Us),
            "ms" | "millisecond" => Ok(Self::Ms),
            "s" | "second" => Ok(Self::S),
            "m" => Ok(Self::M),
            "h" => Ok(Self::H),
            "auto" => Ok(Self::Auto),
            _ => Err(ParseError::Precision(text.chars().take(40).collect())),
        }
    }

    /// Nanoseconds of a timestamp; none if they do not fit.
    pub(super) fn nanoseconds(self, time: i64) -> Option<i64> {
        let factor = match self {
            Self::Ns => 1,
            Self::Us => 1_000,
            Self::Ms => 1_000_000,
            Self::S => 1_000_000_000,
            Self::M => 60_000_000_000,
            Self::H => 3_600_000_000_000,
            Self::Auto => return Self::guess(time).nanoseconds(time),
        };
        time.checked_mul(factor)
    }

    /// The unit that puts `time` nearest to our days: each step is a factor of 1000 wide, and
    /// five billion seconds reach the year 2128.
    fn guess(time: i64) -> Self {
        match time.unsigned_abs() {
            0..5_000_000_000 => Self::S,
            5_000_000_000..5_000_000_000_000 => Self::Ms,
            5_000_000_000_000..5_000_000_000_000_000 => Self::Us,
            _ => Self::Ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_its_unit() {
        let hour = 3_600_000_000_000;
        let cases = [
            ("n", hour),
            ("ns", hour),
            ("nanosecond", hour),
            ("u", hour / 1_000),
            ("us", hour / 1_000),
            ("microsecond", hour / 1_000),
            ("ms", 3_600_000),
            ("millisecond", 3_600_000),
            ("s", 3_600),
            ("second", 3_600),
            ("m", 60),
            ("h", 1),
        ];
        for (text, count) in cases {
            let precision = Precision::from_query(text).unwrap();
            assert_eq!(precision.nanoseconds(count), Some(hour), "{text}");
        }
        assert!(Precision::from_query("fortnight").is_err());
        assert_eq!(Precision::S.nanoseconds(i64::MAX), None);
    }

    #[test]
    fn auto_tells_the_unit_from_the_size() {
        let ns = 1_700_000_000_000_000_000;
        for unit in [1, 1_000, 1_000_000, 1_000_000_000] {
            assert_eq!(Precision::Auto.nanoseconds(ns / unit), Some(ns));
        }
    }
}
