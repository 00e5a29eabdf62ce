//! A request's rows, by partition, in the parts that frames are made of.
//!
//! Parts depend on the rows alone, so that a repeated request has the same ones and each is
//! recognised. A part has at most 8192 rows and, by a measure of its own, at most 4 MiB.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;
use arrow_select::dictionary::garbage_collect_any_dictionary;
use tourbillon_core::frame::MAX_FRAME_ROWS;
use tourbillon_core::ids::PartitionId;
use tourbillon_core::partitioner;
use tourbillon_core::schema::StreamSchema;

use crate::error::IngestError;

/// Most bytes of a part, and of a frame, before encoding.
pub(crate) const MAX_PART_BYTES: usize = 4 << 20;

/// Rows that stay together.
#[derive(Debug)]
pub(crate) struct Part {
    /// The rows.
    pub(crate) rows: RecordBatch,
    /// Place of each in its request, ascending.
    pub(crate) places: UInt32Array,
    /// Their size, bytes.
    pub(crate) bytes: usize,
}

/// A partition's rows of a request.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The partition.
    pub(crate) partition: PartitionId,
    /// Its rows, at least one part.
    pub(crate) parts: Vec<Part>,
}

/// Where a partition's rows of a request are, part by part.
#[derive(Debug)]
pub(crate) struct Share {
    /// The partition.
    pub(crate) partition: PartitionId,
    /// Places of each part's rows, ascending, and their size, bytes.
    pub(crate) parts: Vec<(UInt32Array, usize)>,
}

/// Cuts `rows`, in the data form of `schema`. CPU-bound.
pub(crate) fn cut(
    schema: &StreamSchema,
    rows: &RecordBatch,
    partitions: u32,
) -> Result<Vec<Cut>, IngestError> {
    let weights = Weights::of(rows);
    let part = |(places, bytes): (UInt32Array, usize)| {
        let rows = pick(rows, &places, weights.text.is_some()).map_err(IngestError::Cut)?;
        Ok(Part {
            rows,
            places,
            bytes,
        })
    };
    let cut = |share: Share| {
        let parts: Result<_, IngestError> = share.parts.into_iter().map(part).collect();
        Ok(Cut {
            partition: share.partition,
            parts: parts?,
        })
    };
    let shares = weights.shares(schema, rows, partitions)?;
    shares.into_iter().map(cut).collect()
}

/// What [`cut`] would put where. CPU-bound.
pub(crate) fn shares(
    schema: &StreamSchema,
    rows: &RecordBatch,
    partitions: u32,
) -> Result<Vec<Share>, IngestError> {
    Weights::of(rows).shares(schema, rows, partitions)
}

/// The request that was cut. CPU-bound.
pub(crate) fn join(cuts: &[Cut]) -> Result<RecordBatch, ArrowError> {
    let parts: Vec<_> = cuts.iter().flat_map(|cut| &cut.parts).collect();
    let Some(first) = parts.first() else {
        return Err(ArrowError::InvalidArgumentError("no rows".to_owned()));
    };
    if let [only] = &*parts {
        return Ok(only.rows.clone());
    }
    let whole = concat_batches(&first.rows.schema(), parts.iter().map(|part| &part.rows))?;
    let mut order: Vec<(u32, u32)> = parts
        .iter()
        .flat_map(|part| part.places.values().iter().copied())
        .zip(0..)
        .collect();
    order.sort_unstable();
    let order: UInt32Array = order.into_iter().map(|(_, at)| at).collect();
    take_record_batch(&whole, &order)
}

/// The rows at `places`. Their dictionaries hold no more values than rows and, if those may be
/// `long`, only the ones in use: a frame must not carry the whole request's text.
fn pick(rows: &RecordBatch, places: &UInt32Array, long: bool) -> Result<RecordBatch, ArrowError> {
    let (first, last) = (
        places.value(0) as usize,
        places.value(places.len() - 1) as usize,
    );
    let picked = if last - first + 1 == places.len() {
        rows.slice(first, places.len())
    } else {
        take_record_batch(rows, places)?
    };
    let small = |column: &ArrayRef| match column.as_any_dictionary_opt() {
        Some(dictionary) if long || dictionary.values().len() > dictionary.len() => {
            garbage_collect_any_dictionary(dictionary)
        }
        _ => Ok(ArrayRef::clone(column)),
    };
    let columns: Result<Vec<_>, _> = picked.columns().iter().map(small).collect();
    RecordBatch::try_new(picked.schema(), columns?)
}

/// Size of each row, bytes.
struct Weights {
    /// What every row has.
    fixed: usize,
    /// The text of each row; absent if no 8192 rows could exceed a part's size.
    text: Option<Vec<usize>>,
}

impl Weights {
    fn of(rows: &RecordBatch) -> Self {
        let width = |column: &ArrayRef| column.data_type().primitive_width().unwrap_or(4);
        let fixed: usize = rows.columns().iter().map(width).sum();
        let lengths: Vec<_> = rows.columns().iter().filter_map(text_lengths).collect();
        let longest = |lengths: &(Vec<usize>, _)| lengths.0.iter().copied().max().unwrap_or(0);
        let most = fixed + lengths.iter().map(longest).sum::<usize>();
        if most * MAX_FRAME_ROWS as usize <= MAX_PART_BYTES {
            return Self { fixed, text: None };
        }
        let mut text = vec![0; rows.num_rows()];
        for (lengths, codes) in lengths {
            for (sum, code) in text.iter_mut().zip(codes) {
                let code = code.and_then(|code| usize::try_from(code).ok());
                *sum += code.and_then(|code| lengths.get(code)).unwrap_or(&0);
            }
        }
        Self {
            fixed,
            text: Some(text),
        }
    }

    fn shares(
        &self,
        schema: &StreamSchema,
        rows: &RecordBatch,
        partitions: u32,
    ) -> Result<Vec<Share>, IngestError> {
        let split = partitioner::split(schema, rows, partitions).map_err(IngestError::Cut)?;
        let share = |(partition, places): (PartitionId, UInt32Array)| {
            let mut parts = Vec::with_capacity(places.len() / MAX_FRAME_ROWS as usize + 1);
            let mut from = 0;
            while from < places.len() {
                let (count, bytes) = self.fill(&places.values()[from..])?;
                parts.push((places.slice(from, count), bytes));
                from += count;
            }
            Ok(Share { partition, parts })
        };
        split.into_iter().map(share).collect()
    }

    /// How many of the first rows at `places` make a part, and their size.
    fn fill(&self, places: &[u32]) -> Result<(usize, usize), IngestError> {
        let places = &places[..places.len().min(MAX_FRAME_ROWS as usize)];
        let Some(text) = &self.text else {
            return Ok((places.len(), self.fixed * places.len()));
        };
        let mut bytes = 0;
        for (count, place) in places.iter().enumerate() {
            let row = self.fixed + text[*place as usize];
            if row > MAX_PART_BYTES {
                return Err(IngestError::TooLarge {
                    what: "row",
                    limit_bytes: MAX_PART_BYTES,
                });
            }
            if bytes + row > MAX_PART_BYTES {
                return Ok((count, bytes));
            }
            bytes += row;
        }
        Ok((places.len(), bytes))
    }
}

type Codes<'a> = Box<dyn Iterator<Item = Option<i32>> + 'a>;

/// Lengths of a text column's values, and the value of each row.
fn text_lengths(column: &ArrayRef) -> Option<(Vec<usize>, Codes<'_>)> {
    if !matches!(column.data_type(), DataType::Dictionary(..)) {
        return None;
    }
    let column = column.as_dictionary::<Int32Type>();
    let values = column.values().as_string::<i32>();
    let lengths = values.iter().map(|value| value.map_or(0, str::len));
    Some((lengths.collect(), Box::new(column.keys().iter())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int64Array};
    use tourbillon_core::schema::{Column, ColumnType};

    use super::*;

    fn schema() -> StreamSchema {
        let columns = vec![
            Column::required("symbol", ColumnType::String),
            Column::required("n", ColumnType::Int64),
        ];
        StreamSchema::new(columns, &["symbol"], None).unwrap()
    }

    fn rows(symbols: &[String]) -> RecordBatch {
        let dictionary: DictionaryArray<Int32Type> =
            symbols.iter().map(|s| Some(s.as_str())).collect();
        let numbers: Int64Array = (0..symbols.len() as i64).map(Some).collect();
        RecordBatch::try_new(
            Arc::clone(schema().data()),
            vec![Arc::new(dictionary), Arc::new(numbers)],
        )
        .unwrap()
    }

    #[test]
    fn every_row_is_in_one_part_at_its_place() {
        let symbols: Vec<String> = (0..30_000).map(|i| format!("s{}", i % 97)).collect();
        let cuts = cut(&schema(), &rows(&symbols), 3).unwrap();
        let mut seen = vec![false; symbols.len()];
        for part in cuts.iter().flat_map(|cut| &cut.parts) {
            assert!(part.rows.num_rows() <= 8192 && part.places.values().is_sorted());
            let keys = part.rows.column(0).as_dictionary::<Int32Type>();
            let keys = keys.downcast_dict::<arrow::array::StringArray>().unwrap();
            for (key, place) in keys.into_iter().zip(part.places.values()) {
                assert_eq!(key, Some(symbols[*place as usize].as_str()));
                assert!(!std::mem::replace(&mut seen[*place as usize], true));
            }
        }
        assert!(seen.iter().all(|seen| *seen));
    }

    #[test]
    fn what_was_cut_is_put_together_again() {
        for (count, partitions) in [(1, 3), (100, 1), (30_000, 5)] {
            let symbols: Vec<String> = (0..count).map(|i| format!("s{}", i % 97)).collect();
            let whole = rows(&symbols);
            let joined = join(&cut(&schema(), &whole, partitions).unwrap()).unwrap();
            assert_eq!(joined.column(1), whole.column(1));
            let plain = |rows: &RecordBatch| {
                let keys = rows.column(0).as_dictionary::<Int32Type>();
                let keys = keys.downcast_dict::<arrow::array::StringArray>().unwrap();
                let keys: Vec<_> = keys.into_iter().map(|key| key.map(str::to_owned)).collect();
                keys
            };
            assert_eq!(plain(&joined), plain(&whole));
        }
    }

    #[test]
    fn parts_carry_only_the_text_they_use_and_stay_small() {
        let symbols: Vec<String> = (0..2000).map(|i| format!("{i:0>4000}")).collect();
        let parts: Vec<_> = cut(&schema(), &rows(&symbols), 1)
            .unwrap()
            .into_iter()
            .flat_map(|c| c.parts)
            .collect();
        assert_eq!(parts.len(), 2);
        for part in parts {
            let values = part.rows.column(0).as_any_dictionary().values().len();
            assert_eq!(values, part.rows.num_rows());
            assert!(part.bytes <= MAX_PART_BYTES);
        }
    }

    #[test]
    fn text_of_other_parts_is_left_behind() {
        let long = (0..30).map(|i| format!("{i}{}", "0".repeat(1_000_000)));
        let symbols: Vec<String> = long
            .chain((0..8000).map(|i| format!("s{}", i % 3)))
            .collect();
        for part in cut(&schema(), &rows(&symbols), 1)
            .unwrap()
            .iter()
            .flat_map(|c| &c.parts)
        {
            let values = part.rows.column(0).as_any_dictionary().values();
            let text: usize = values
                .as_string::<i32>()
                .iter()
                .flatten()
                .map(str::len)
                .sum();
            assert!(text <= MAX_PART_BYTES, "{text} bytes");
        }
    }

    #[test]
    fn a_row_larger_than_a_part_is_refused() {
        let huge = vec!["x".repeat(MAX_PART_BYTES)];
        assert!(matches!(
            cut(&schema(), &rows(&huge), 1),
            Err(IngestError::TooLarge { .. })
        ));
    }
}
