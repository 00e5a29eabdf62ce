//! Values as JSON where the general writer is slow: times, decimals and texts of dictionaries.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array, DictionaryArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, FieldRef, Int32Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, NullableEncoder, WriterBuilder,
};

use super::times::Line;

/// How rows are written: with nulls, and with these values.
pub(super) fn builder() -> WriterBuilder {
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let builder = builder.with_timestamp_format(super::TEXT_TIME.to_owned());
    builder.with_encoder_factory(Arc::new(Values))
}

/// Whether a column is written as it is.
pub(super) fn takes(ty: &DataType) -> bool {
    match ty {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => true,
        DataType::Dictionary(codes, values) => {
            (codes.as_ref(), values.as_ref()) == (&DataType::Int32, &DataType::Utf8)
        }
        _ => false,
    }
}

#[derive(Debug)]
struct Values;

impl EncoderFactory for Values {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Box::new(Times {
                times: array.as_primitive(),
                line: Line::new(),
            }),
            DataType::Decimal128(_, scale) => match usize::try_from(*scale) {
                Ok(scale) => Box::new(Decimals {
                    values: array.as_primitive(),
                    scale,
                }),
                Err(_) => return Ok(None),
            },
            ty @ DataType::Dictionary(..) if takes(ty) => {
                Box::new(Texts::new(array.as_dictionary())?)
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.logical_nulls())))
    }
}

struct Times<'a> {
    times: &'a TimestampNanosecondArray,
    line: Line,
}

impl Encoder for Times<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.line.quoted(self.times.value(row)));
    }
}

struct Decimals<'a> {
    values: &'a Decimal128Array,
    scale: usize,
}

impl Encoder for Decimals<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        decimal(self.values.value(row), self.scale, out);
    }
}

/// Digits of the longest number, 2^127.
const DIGITS: usize = 39;

/// All digits that the type has after the point, and one before it at least.
fn decimal(value: i128, scale: usize, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let mut digits = [b'0'; DIGITS];
    let first = match u64::try_from(value.unsigned_abs()) {
        Ok(short) => write_short(short, &mut digits),
        Err(_) => write_long(value.unsigned_abs(), &mut digits),
    };
    // zeros stand before the first digit, as many as there may have to be
    let point = DIGITS.saturating_sub(scale);
    out.extend_from_slice(&digits[first.min(point.saturating_sub(1))..point]);
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
}

/// Writes a number to the end, two digits at a time; where it begins.
fn write_short(mut number: u64, digits: &mut [u8; DIGITS]) -> usize {
    let mut at = DIGITS;
    while number >= 10 {
        at -= 2;
        let pair = usize::try_from(number % 100).unwrap_or(0) * 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        number /= 100;
    }
    if number > 0 {
        at -= 1;
        digits[at] = digit(number);
    }
    // an even count of digits may begin with a zero
    if digits.get(at) == Some(&b'0') {
        at + 1
    } else {
        at
    }
}

fn write_long(mut number: u128, digits: &mut [u8; DIGITS]) -> usize {
    let mut at = DIGITS;
    while number > 0 {
        at -= 1;
        digits[at] = digit(u64::try_from(number % 10).unwrap_or(0));
        number /= 10;
    }
    at
}

fn digit(number: u64) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or(0)
}

/// The digits of 00 to 99.
static PAIRS: [u8; 200] = pairs();

const fn pairs() -> [u8; 200] {
    let mut pairs = [b'0'; 200];
    let mut at: u8 = 0;
    while at < 100 {
        pairs[at as usize * 2] = b'0' + at / 10;
        pairs[at as usize * 2 + 1] = b'0' + at % 10;
        at += 1;
    }
    pairs
}

/// Texts of a dictionary, quoted once each.
struct Texts<'a> {
    codes: &'a [i32],
    quoted: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Texts<'a> {
    fn new(texts: &'a DictionaryArray<Int32Type>) -> Result<Self, ArrowError> {
        let (mut quoted, mut ends) = (Vec::new(), vec![0]);
        for text in texts.values().as_string::<i32>() {
            let text = serde_json::to_writer(&mut quoted, text.unwrap_or_default());
            text.map_err(|error| ArrowError::JsonError(error.to_string()))?;
            ends.push(quoted.len());
        }
        Ok(Self {
            codes: texts.keys().values(),
            quoted,
            ends,
        })
    }
}

impl Encoder for Texts<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let code = usize::try_from(self.codes[row]).unwrap_or(usize::MAX - 1);
        if let (Some(from), Some(to)) = (self.ends.get(code), self.ends.get(code + 1)) {
            out.extend_from_slice(&self.quoted[*from..*to]);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampNanosecondArray};
    use arrow::compute::cast;
    use arrow::json::writer::LineDelimited;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn written(builder: WriterBuilder, rows: &RecordBatch) -> String {
        let mut writer = builder.build::<_, LineDelimited>(Vec::new());
        writer.write(rows).unwrap();
        String::from_utf8(writer.into_inner()).unwrap()
    }

    /// Numbers of every length, and of both signs.
    fn numbers(rng: &mut SmallRng, most: u32) -> Vec<Option<i128>> {
        let mut number = |digits: u32| {
            let number = rng.random_range(0..10_i128.pow(digits));
            let number = if rng.random() { number } else { -number };
            (!rng.random_bool(0.1)).then_some(number)
        };
        (0..2000).map(|i| number(i % (most + 1))).collect()
    }

    #[test]
    fn decimals_are_those_of_the_general_writer() {
        let mut rng = SmallRng::seed_from_u64(1);
        for (precision, scale) in [
            (18, 9),
            (38, 0),
            (38, 38),
            (38, 37),
            (5, 5),
            (1, 1),
            (20, 1),
        ] {
            let numbers: Decimal128Array = numbers(&mut rng, u32::from(precision))
                .into_iter()
                .collect();
            let numbers = numbers.with_precision_and_scale(precision, scale).unwrap();
            let column: ArrayRef = Arc::new(numbers);
            let rows = RecordBatch::try_from_iter_with_nullable([("d", column, true)]).unwrap();
            let general = WriterBuilder::new().with_explicit_nulls(true);
            let (found, wanted) = (written(builder(), &rows), written(general, &rows));
            let differ = found.lines().zip(wanted.lines()).find(|(f, w)| f != w);
            assert_eq!(differ, None, "decimal({precision},{scale})");
            assert_eq!(found.len(), wanted.len());
        }
    }

    #[test]
    fn texts_and_times_are_those_of_the_general_writer() {
        let texts = ["", "a", "\"quoted\"", "Ü\n\u{1}", "\\", "a"];
        let rows = 0..3000_usize;
        let text = rows.clone().map(|i| (i % 7 > 0).then_some(texts[i % 6]));
        let texts: DictionaryArray<Int32Type> = text.collect();
        let time =
            rows.map(|i| (i % 5 > 0).then_some(1_700_000_000_000_000_000 + (i as i64).pow(4)));
        let times: TimestampNanosecondArray = time.collect();
        let times = times.with_timezone("UTC");
        let column: ArrayRef = Arc::new(texts);
        let columns: [(&str, ArrayRef, bool); 2] = [
            ("text", Arc::clone(&column), true),
            ("time", Arc::new(times.clone()), true),
        ];
        let fast = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let plain: ArrayRef = cast(&column, &DataType::Utf8).unwrap();
        let as_text: StringArray = super::super::times::as_text(&times);
        let columns: [(&str, ArrayRef, bool); 2] =
            [("text", plain, true), ("time", Arc::new(as_text), true)];
        let plain = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let general = WriterBuilder::new().with_explicit_nulls(true);
        assert_eq!(written(builder(), &fast), written(general, &plain));
    }
}
