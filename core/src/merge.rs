//! Merging batches that are each in strict key order into one order.
//!
//! The merge copies runs, not rows: it finds how far the lowest input stays below the next lowest
//! by galloping, and takes that stretch as a slice. Inputs are pushed by the caller, so the same
//! code serves batches at hand and streams of files.
//!
//! ```text
//! input 0  |1 2 3 . . . 9 10|        lowest: 0, next lowest: 1 (at 4)
//! input 1  |4 5 6 7 8|               take 1..=3 from 0, then 4..=8 from 1, then 9..
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use thiserror::Error;

use crate::hlc::{Hlc, Key};
use crate::ids::WriterId;
use crate::open_rows::{key_at, stamps, writers};

/// Average rows a stretch must have for slices to be cheaper than picking rows one by one.
const MIN_STRETCH_ROWS: usize = 32;

/// Why inputs cannot be merged.
#[derive(Debug, Error)]
pub enum MergeError {
    /// INV-ORDER or INV-ONCE is broken.
    #[error("key {found} of input {input} does not lie above {above}")]
    Order {
        /// Which input.
        input: usize,
        /// The key that should be higher.
        found: Key,
        /// The key before it.
        above: Key,
    },
    /// The batches do not fit together.
    #[error("cannot join the batches")]
    Arrow(#[from] ArrowError),
}

/// What a merge needs or has.
#[derive(Debug)]
pub enum MergeStep {
    /// The next batch of this input, by [`Merge::push`] or [`Merge::finish`].
    Need(usize),
    /// Rows in order.
    Batch(RecordBatch),
    /// Every input is finished and empty.
    Done,
}

#[derive(Debug)]
enum Input {
    Waiting,
    At { batch: RecordBatch, row: usize },
    Finished,
}

/// A stretch of one input's batch that is next in order.
#[derive(Debug)]
struct Stretch {
    batch: usize,
    from: usize,
    rows: usize,
}

/// A merge in progress. Holds one batch per input and one of output.
#[derive(Debug)]
pub struct Merge {
    schema: SchemaRef,
    batch_rows: usize,
    inputs: Vec<Input>,
    heap: BinaryHeap<Reverse<(Key, usize)>>,
    waiting: Vec<usize>,
    last: Option<Key>,
    batches: Vec<RecordBatch>,
    batch_of: Vec<Option<usize>>,
    stretches: Vec<Stretch>,
    rows: usize,
}

impl Merge {
    /// A merge of `inputs` inputs of stored rows into batches of `batch_rows` (at least 1).
    pub fn new(inputs: usize, schema: SchemaRef, batch_rows: usize) -> Self {
        Self {
            schema,
            batch_rows: batch_rows.max(1),
            inputs: (0..inputs).map(|_| Input::Waiting).collect(),
            heap: BinaryHeap::with_capacity(inputs),
            waiting: (0..inputs).rev().collect(),
            last: None,
            batches: Vec::new(),
            batch_of: vec![None; inputs],
            stretches: Vec::new(),
            rows: 0,
        }
    }

    /// From now on batches have `batch_rows` rows (at least 1).
    pub fn cut_by(&mut self, batch_rows: usize) {
        self.batch_rows = batch_rows.max(1);
    }

    /// Gives an input its next batch.
    pub fn push(&mut self, input: usize, batch: RecordBatch) {
        if batch.num_rows() == 0 {
            return;
        }
        self.waiting.retain(|waiting| *waiting != input);
        self.heap.push(Reverse((key_at(&batch, 0), input)));
        self.batch_of[input] = None;
        self.inputs[input] = Input::At { batch, row: 0 };
    }

    /// Says that an input has no more batches.
    pub fn finish(&mut self, input: usize) {
        self.waiting.retain(|waiting| *waiting != input);
        self.inputs[input] = Input::Finished;
    }

    /// Goes on until something is needed or a batch is full.
    pub fn step(&mut self) -> Result<MergeStep, MergeError> {
        loop {
            if let Some(input) = self.waiting.last() {
                return Ok(MergeStep::Need(*input));
            }
            if self.rows >= self.batch_rows {
                return Ok(MergeStep::Batch(self.flush()?));
            }
            let Some(Reverse((key, input))) = self.heap.pop() else {
                let done = self.rows == 0;
                return Ok(if done {
                    MergeStep::Done
                } else {
                    MergeStep::Batch(self.flush()?)
                });
            };
            self.take(key, input)?;
        }
    }

    /// Takes from `input`, whose first key is lowest, all rows below the next lowest input's.
    fn take(&mut self, key: Key, input: usize) -> Result<(), MergeError> {
        let Input::At { batch, row } = &mut self.inputs[input] else {
            return Ok(());
        };
        if let Some(above) = self.last.filter(|last| *last >= key) {
            return Err(MergeError::Order {
                input,
                found: key,
                above,
            });
        }
        let room = (self.batch_rows - self.rows).min(batch.num_rows() - *row);
        let rows = match self.heap.peek() {
            None => room,
            Some(Reverse((other, _))) => gallop(batch, *row, room, *other),
        };
        // the first row is lowest: if it is not below the next lowest, both have the same key
        let rows = rows.max(1);
        self.last = Some(key_at(batch, *row + rows - 1));
        let slot = *self.batch_of[input].get_or_insert_with(|| {
            self.batches.push(batch.clone());
            self.batches.len() - 1
        });
        self.stretches.push(Stretch {
            batch: slot,
            from: *row,
            rows,
        });
        self.rows += rows;
        *row += rows;
        if *row < batch.num_rows() {
            self.heap.push(Reverse((key_at(batch, *row), input)));
        } else {
            self.inputs[input] = Input::Waiting;
            self.waiting.push(input);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<RecordBatch, ArrowError> {
        let stretches = std::mem::take(&mut self.stretches);
        let batches = std::mem::take(&mut self.batches);
        let rows = std::mem::take(&mut self.rows);
        self.batch_of.fill(None);
        if rows / stretches.len().max(1) >= MIN_STRETCH_ROWS {
            let slices: Vec<_> = stretches
                .iter()
                .map(|s| batches[s.batch].slice(s.from, s.rows))
                .collect();
            return match &slices[..] {
                [one] => Ok(one.clone()),
                many => concat_batches(&self.schema, many),
            };
        }
        let picks: Vec<_> = stretches
            .iter()
            .flat_map(|s| (s.from..s.from + s.rows).map(|row| (s.batch, row)))
            .collect();
        interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &picks)
    }
}

/// Number of the `room` rows from `row` on that lie below `bound`.
fn gallop(batch: &RecordBatch, row: usize, room: usize, bound: Key) -> usize {
    let (stamps, writers) = (stamps(batch), writers(batch));
    let below = |at: usize| {
        Key {
            hlc: Hlc(stamps[row + at]),
            writer: WriterId(writers[row + at]),
        } < bound
    };
    let mut step = 1;
    while step < room && below(step) {
        step *= 2;
    }
    let (mut low, mut high) = (step / 2, step.min(room));
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Merges batches at hand.
pub fn merge_runs(
    schema: SchemaRef,
    inputs: Vec<Vec<RecordBatch>>,
    batch_rows: usize,
) -> Result<Vec<RecordBatch>, MergeError> {
    let mut merge = Merge::new(inputs.len(), Arc::clone(&schema), batch_rows);
    let mut inputs: Vec<_> = inputs.into_iter().map(Vec::into_iter).collect();
    let mut merged = Vec::new();
    loop {
        match merge.step()? {
            MergeStep::Done => return Ok(merged),
            MergeStep::Batch(batch) => merged.push(batch),
            MergeStep::Need(input) => match inputs[input].next() {
                Some(batch) => merge.push(input, batch),
                None => merge.finish(input),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::{ArrayRef, DictionaryArray, UInt32Array, UInt64Array};
    use arrow::array::{AsArray, TimestampNanosecondArray};
    use arrow::datatypes::{Int32Type, Schema};
    use proptest::prelude::*;

    use super::*;
    use crate::schema::{Column, ColumnType, StreamSchema};

    fn schema() -> SchemaRef {
        let columns = vec![Column::required("symbol", ColumnType::String)];
        let none: [&str; 0] = [];
        Arc::clone(StreamSchema::new(columns, &none, None).unwrap().stored())
    }

    fn batch(keys: &[(i64, u32)]) -> RecordBatch {
        let hlc = TimestampNanosecondArray::from_iter_values(keys.iter().map(|key| key.0));
        let writers = UInt32Array::from_iter_values(keys.iter().map(|key| key.1));
        let texts: Vec<String> = keys
            .iter()
            .map(|key| format!("{}-{}", key.0, key.1))
            .collect();
        let texts: DictionaryArray<Int32Type> = texts.iter().map(String::as_str).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(hlc.with_timezone("UTC")),
            Arc::new(writers),
            Arc::new(UInt64Array::from_value(1, keys.len())),
            Arc::new(texts),
        ];
        RecordBatch::try_new(schema(), columns).unwrap()
    }

    fn keys_and_texts(batches: &[RecordBatch]) -> Vec<(i64, u32, String)> {
        let mut rows = Vec::new();
        for batch in batches {
            let texts = arrow::compute::cast(batch.column(3), &arrow::datatypes::DataType::Utf8);
            let texts = texts.unwrap();
            let texts = texts.as_string::<i32>();
            for i in 0..batch.num_rows() {
                rows.push((
                    stamps(batch)[i],
                    writers(batch)[i],
                    texts.value(i).to_owned(),
                ));
            }
        }
        rows
    }

    #[test]
    fn equal_keys_are_an_error() {
        let inputs = vec![vec![batch(&[(1, 1), (2, 1)])], vec![batch(&[(2, 1)])]];
        let error = merge_runs(schema(), inputs, 10).unwrap_err();
        assert!(matches!(error, MergeError::Order { .. }));
    }

    #[test]
    fn nothing_merges_to_nothing() {
        assert!(
            merge_runs(schema(), vec![vec![], vec![batch(&[])]], 10)
                .unwrap()
                .is_empty()
        );
        assert_eq!(Schema::empty().fields().len(), 0);
    }

    proptest! {
        /// The oracle sorts all keys in a set.
        #[test]
        fn merges_like_a_sort(
            keys in proptest::collection::btree_set((0i64..300, 0u32..4), 0..400),
            owners in proptest::collection::vec((0usize..6, 1usize..30), 1..80),
            batch_rows in 1usize..70,
        ) {
            let mut inputs: Vec<Vec<(i64, u32)>> = vec![Vec::new(); 6];
            let mut turns = owners.iter().cycle();
            let mut turn = (0, 0);
            for key in &keys {
                if turn.1 == 0 { turn = *turns.next().unwrap(); }
                turn.1 -= 1;
                inputs[turn.0].push(*key);
            }
            let batches: Vec<Vec<RecordBatch>> = inputs
                .iter()
                .enumerate()
                .map(|(i, keys)| keys.chunks(1 + i * 7).map(batch).collect())
                .collect();
            let merged = merge_runs(schema(), batches, batch_rows).unwrap();
            prop_assert!(merged.iter().rev().skip(1).all(|b| b.num_rows() == batch_rows));
            let expected: Vec<_> = BTreeSet::from_iter(keys)
                .into_iter()
                .map(|(hlc, writer)| (hlc, writer, format!("{hlc}-{writer}")))
                .collect();
            prop_assert_eq!(keys_and_texts(&merged), expected);
        }
    }
}
