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

mod gather;
mod heads;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType, UInt32Type};
use arrow::error::ArrowError;
use thiserror::Error;

use self::gather::{Gather, Run};
use self::heads::Heads;
use crate::hlc::{Hlc, Key};
use crate::ids::WriterId;

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
    At(At),
    Finished,
}

/// A batch, and how far it has been taken.
#[derive(Debug)]
struct At {
    batch: RecordBatch,
    stamps: ScalarBuffer<i64>,
    writers: ScalarBuffer<u32>,
    row: usize,
    /// Its place among what the next batch is made of, and the first row of it there.
    part: Option<(usize, usize)>,
}

/// A merge in progress. Holds one batch per input and one of output.
#[derive(Debug)]
pub struct Merge {
    batch_rows: usize,
    inputs: Vec<Input>,
    heads: Heads,
    waiting: Vec<usize>,
    last: Option<Key>,
    /// What the next batch is made of: parts of batches, and how many rows come from which.
    parts: Vec<RecordBatch>,
    runs: Vec<Run>,
    rows: usize,
    gather: Gather,
}

impl Merge {
    /// A merge of `inputs` inputs of stored rows into batches of `batch_rows` (at least 1).
    pub fn new(inputs: usize, schema: SchemaRef, batch_rows: usize) -> Self {
        Self {
            batch_rows: batch_rows.max(1),
            inputs: (0..inputs).map(|_| Input::Waiting).collect(),
            heads: Heads::default(),
            waiting: (0..inputs).rev().collect(),
            last: None,
            parts: Vec::new(),
            runs: Vec::new(),
            rows: 0,
            gather: Gather::new(schema),
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
        let at = At {
            stamps: batch
                .column(0)
                .as_primitive::<TimestampNanosecondType>()
                .values()
                .clone(),
            writers: batch
                .column(1)
                .as_primitive::<UInt32Type>()
                .values()
                .clone(),
            batch,
            row: 0,
            part: None,
        };
        self.heads.push(at.key(0), input);
        self.inputs[input] = Input::At(at);
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
            let Some((key, input)) = self.heads.lowest() else {
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
        let Input::At(at) = &mut self.inputs[input] else {
            return Ok(());
        };
        if let Some(above) = self.last.filter(|last| *last >= key) {
            return Err(MergeError::Order {
                input,
                found: key,
                above,
            });
        }
        let room = (self.batch_rows - self.rows).min(at.batch.num_rows() - at.row);
        let rows = match self.heads.next_lowest() {
            None => room,
            Some(other) => at.gallop(room, other),
        };
        // the first row is lowest: if it is not below the next lowest, both have the same key
        let rows = rows.max(1);
        let (part, _) = *at.part.get_or_insert_with(|| {
            self.parts.push(at.batch.slice(at.row, 0));
            (self.parts.len() - 1, at.row)
        });
        self.runs.push(Run { part, rows });
        self.rows += rows;
        at.row += rows;
        self.last = Some(at.key(at.row - 1));
        if at.row < at.batch.num_rows() {
            self.heads.replace_lowest(at.key(at.row));
        } else {
            at.close(&mut self.parts);
            self.heads.remove_lowest();
            self.inputs[input] = Input::Waiting;
            self.waiting.push(input);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<RecordBatch, ArrowError> {
        for input in &mut self.inputs {
            if let Input::At(at) = input {
                at.close(&mut self.parts);
            }
        }
        let merged = self.gather.rows(&self.parts, &self.runs);
        self.parts.clear();
        self.runs.clear();
        self.rows = 0;
        merged
    }
}

impl At {
    fn key(&self, row: usize) -> Key {
        Key {
            hlc: Hlc(self.stamps[row]),
            writer: WriterId(self.writers[row]),
        }
    }

    /// Cuts out what was taken of it since the last batch.
    fn close(&mut self, parts: &mut [RecordBatch]) {
        if let Some((part, from)) = self.part.take() {
            parts[part] = self.batch.slice(from, self.row - from);
        }
    }

    /// Number of the next `room` rows that lie below `bound`.
    fn gallop(&self, room: usize, bound: Key) -> usize {
        let below = |ahead: usize| self.key(self.row + ahead) < bound;
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
