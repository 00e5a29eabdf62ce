//! Times as text, a column at a time.

use arrow::array::{StringArray, StringBuilder, TimestampNanosecondArray};
use chrono::DateTime;

/// Length of a time to the nanosecond, and of what comes before its fraction.
const TEXT: usize = "2026-11-30T10:32:00.123456789Z".len();
const SECOND: usize = "2026-11-30T10:32:00.".len();

const NS: i64 = 1_000_000_000;

/// RFC 3339 to the nanosecond, always as long. Rows in order share seconds, whose text is made once.
pub(super) fn as_text(times: &TimestampNanosecondArray) -> StringArray {
    let mut texts = StringBuilder::with_capacity(times.len(), times.len() * TEXT);
    let mut line = Line::new();
    for time in times {
        texts.append_option(time.map(|ns| line.of(ns)));
    }
    texts.finish()
}

/// The text of the time before, in quotes.
pub(super) struct Line {
    second: Option<i64>,
    quoted: [u8; TEXT + 2],
}

impl Line {
    pub(super) fn new() -> Self {
        let mut quoted = [b'"'; TEXT + 2];
        quoted[TEXT] = b'Z';
        Self {
            second: None,
            quoted,
        }
    }

    fn of(&mut self, ns: i64) -> &str {
        std::str::from_utf8(&self.quoted(ns)[1..=TEXT]).unwrap_or_default()
    }

    /// The time as JSON.
    pub(super) fn quoted(&mut self, ns: i64) -> &[u8] {
        let second = ns.div_euclid(NS);
        if self.second != Some(second) {
            let whole = DateTime::from_timestamp_nanos(second.saturating_mul(NS));
            let whole = whole.format("%Y-%m-%dT%H:%M:%S.").to_string();
            self.quoted[1..=SECOND].copy_from_slice(whole.as_bytes());
            self.second = Some(second);
        }
        let fraction = u32::try_from(ns.rem_euclid(NS)).unwrap_or(0);
        let thirds = [
            fraction / 1_000_000,
            fraction / 1000 % 1000,
            fraction % 1000,
        ];
        for (third, at) in thirds.into_iter().zip([1, 4, 7]) {
            let digits = [third / 100, third / 10 % 10, third % 10];
            for (digit, place) in digits.into_iter().zip(SECOND + at..) {
                self.quoted[place] = b'0' + u8::try_from(digit).unwrap_or(0);
            }
        }
        &self.quoted
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::compute::cast;
    use arrow::datatypes::DataType;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn texts_are_those_of_a_plain_formatter() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut times: Vec<Option<i64>> = vec![None, Some(0), Some(-1), Some(i64::MAX)];
        let begin = 1_700_000_000_000_000_000;
        times.extend((0..5000).map(|i| Some(begin + i * rng.random_range(0..NS / 7))));
        times.extend((0..5000).map(|_| Some(rng.random_range(i64::MIN + NS..i64::MAX))));
        let expected = times.iter().map(|time| {
            let time = DateTime::from_timestamp_nanos((*time)?);
            Some(time.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string())
        });
        let expected: StringArray = expected.collect();
        let found = as_text(&times.iter().copied().collect());
        assert_eq!(found, expected);
        // and they can be read again
        let ty = DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None);
        let again = cast(&found.slice(4, 5000), &ty).unwrap();
        let again = again.as_primitive::<arrow::datatypes::TimestampNanosecondType>();
        assert!(again.iter().eq(times[4..5004].iter().copied()));
    }
}
