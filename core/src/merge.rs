//! Merging batches that are each in strict key order into one order.
//!
//! Where an input stays below the others for long, that stretch is found by galloping and taken as a
//! slice. Where inputs alternate, the keys that come next of all of them are sorted, which for
//! ascending runs is a merge without branches, and rows are gathered by it. Inputs are pushed by the
//! caller, so the same code serves batches at hand and streams of files.
//!
//! ```text
//! input 0  |1 2 3 . . . 9 10|        lowest: 0, next lowest: 1 (at 4)
//! input 1  |4 5 6 7 8|               take 1..=3 from 0, then 4..=8 from 1, then 9..
//! ```

mod gather;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType, UInt32Type};
use arrow::error::ArrowError;
use thiserror::Error;

use self::gather::{Gather, Order};
use crate::hlc::{Hlc, Key};
use crate::ids::WriterId;

/// Rows that an input must stay below all others for, to be taken as a stretch.
const STRETCH_ROWS: usize = 16;

/// Keys of an input at least that are sorted at a time.
const MIN_SORTED: usize = 16;

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
    /// Its place among the parts of the next batch, and its first row there.
    part: Option<(u32, usize)>,
}

/// A merge in progress. Holds one batch per input and one of output.
#[derive(Debug)]
pub struct Merge {
    batch_rows: usize,
    inputs: Vec<Input>,
    waiting: Vec<usize>,
    last: Option<Key>,
    /// What is wrong with a batch that was pushed: to go on needs ascending keys.
    broken: Option<MergeError>,
    /// What the next batch is made of: parts of batches, and which part each row comes from.
    parts: Vec<RecordBatch>,
    order: Order,
    gather: Gather,
    /// Keys that are being sorted, and how many rows of each part are among them.
    keys: Vec<Packed>,
    taken: Vec<usize>,
}

/// The input whose next key is lowest.
#[derive(Debug)]
struct Lowest {
    input: usize,
    /// How many others have rows, and the lowest key of those.
    others: usize,
    bound: Option<Key>,
}

/// A key and the part that its row comes from, in the order of keys.
type Packed = i128;

impl Merge {
    /// A merge of `inputs` inputs of stored rows into batches of `batch_rows` (at least 1).
    pub fn new(inputs: usize, schema: SchemaRef, batch_rows: usize) -> Self {
        Self {
            batch_rows: batch_rows.max(1),
            inputs: (0..inputs).map(|_| Input::Waiting).collect(),
            waiting: (0..inputs).rev().collect(),
            last: None,
            broken: None,
            parts: Vec::new(),
            order: Order::default(),
            gather: Gather::new(schema),
            keys: Vec::new(),
            taken: Vec::new(),
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
        if let Some(row) = at.fall() {
            self.broken = Some(broken(input, at.key(row), at.key(row - 1)));
        }
        self.inputs[input] = Input::At(at);
    }

    /// Says that an input has no more batches.
    pub fn finish(&mut self, input: usize) {
        self.waiting.retain(|waiting| *waiting != input);
        self.inputs[input] = Input::Finished;
    }

    /// Goes on until something is needed or a batch is full. An error is the end of a merge.
    pub fn step(&mut self) -> Result<MergeStep, MergeError> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        loop {
            if let Some(input) = self.waiting.last() {
                return Ok(MergeStep::Need(*input));
            }
            if self.order.rows() >= self.batch_rows {
                return Ok(MergeStep::Batch(self.flush()?));
            }
            let Some(lowest) = self.lowest() else {
                let done = self.order.rows() == 0;
                return Ok(if done {
                    MergeStep::Done
                } else {
                    MergeStep::Batch(self.flush()?)
                });
            };
            let room = self.batch_rows - self.order.rows();
            if self.stays_below(&lowest, room) {
                self.take_stretch(&lowest, room)?;
            } else {
                self.take_sorted(lowest.others + 1, room)?;
            }
        }
    }

    /// The input whose next key is lowest.
    fn lowest(&self) -> Option<Lowest> {
        let mut inputs = at(&self.inputs).map(|(input, at)| (at.key(at.row), input));
        let mut lowest = inputs.next()?;
        let (mut others, mut bound) = (0, None);
        for next in inputs {
            let higher = next.max(lowest).0;
            bound = Some(bound.map_or(higher, |bound| higher.min(bound)));
            lowest = lowest.min(next);
            others += 1;
        }
        Some(Lowest {
            input: lowest.1,
            others,
            bound,
        })
    }

    /// Whether so many rows of an input lie below the others that they are worth a slice; all that
    /// there is room for are.
    fn stays_below(&self, lowest: &Lowest, room: usize) -> bool {
        let (Input::At(at), Some(bound)) = (&self.inputs[lowest.input], lowest.bound) else {
            return true;
        };
        let last = at.row + STRETCH_ROWS.min(room) - 1;
        last < at.batch.num_rows() && at.key(last) < bound
    }

    /// Takes from an input all rows below the next key of the others.
    fn take_stretch(&mut self, lowest: &Lowest, room: usize) -> Result<(), MergeError> {
        let input = lowest.input;
        let Input::At(at) = &mut self.inputs[input] else {
            return Ok(());
        };
        let room = room.min(at.batch.num_rows() - at.row);
        let rows = lowest.bound.map_or(room, |bound| at.gallop(room, bound));
        let key = at.key(at.row);
        if let Some(above) = self.last.filter(|last| *last >= key) {
            return Err(broken(input, key, above));
        }
        let part = at.part(&mut self.parts);
        self.order.take(part, rows);
        self.last = Some(at.key(at.row + rows - 1));
        self.advance(input, rows);
        Ok(())
    }

    /// Takes the rows that come next of all inputs, as far as is known without their next batches.
    fn take_sorted(&mut self, inputs: usize, room: usize) -> Result<(), MergeError> {
        let each = room.div_ceil(inputs).max(MIN_SORTED);
        let bound = at(&self.inputs).map(|(_, at)| at.key(at.last_of(each)));
        let Some(bound) = bound.min() else {
            return Ok(());
        };
        self.keys.clear();
        for (_, at) in at_mut(&mut self.inputs) {
            let rows = at.rows_through(each, bound);
            if rows > 0 {
                let part = at.part(&mut self.parts);
                let rows = at.row..at.row + rows;
                let keys = at.stamps[rows.clone()].iter().zip(&at.writers[rows]);
                self.keys
                    .extend(keys.map(|(hlc, writer)| pack(*hlc, *writer, part)));
            }
        }
        self.keys.sort();
        self.keys.truncate(room);
        self.check()?;
        self.last = self.keys.last().map(|packed| unpack(*packed).0);
        self.taken.clear();
        self.taken.resize(self.parts.len(), 0);
        for packed in &self.keys {
            let (_, part) = unpack(*packed);
            self.order.take(part, 1);
            self.taken[part as usize] += 1;
        }
        for input in 0..self.inputs.len() {
            if let Input::At(at) = &self.inputs[input]
                && let Some((part, _)) = at.part
            {
                self.advance(input, self.taken[part as usize]);
            }
        }
        Ok(())
    }

    /// Fails if the sorted keys do not ascend from the last.
    fn check(&self) -> Result<(), MergeError> {
        let pairs = self.keys.windows(2).map(|pair| (pair[0], pair[1]));
        let first = self.keys.first().zip(self.last);
        let first = first.map(|(first, last)| (pack(last.hlc.0, last.writer.0, 0), *first));
        let falls = |pair: &(Packed, Packed)| pair.0 >> PART_BITS >= pair.1 >> PART_BITS;
        let Some((above, found)) = first.into_iter().chain(pairs).find(falls) else {
            return Ok(());
        };
        let (found, part) = unpack(found);
        let of_part = |at: &At| at.part.is_some_and(|own| own.0 == part);
        let input = at(&self.inputs).find(|(_, at)| of_part(at));
        let input = input.map_or(usize::MAX, |(input, _)| input);
        Err(broken(input, found, unpack(above).0))
    }

    /// Rows of an input have been taken.
    fn advance(&mut self, input: usize, rows: usize) {
        if let Input::At(at) = &mut self.inputs[input] {
            at.row += rows;
            if at.row == at.batch.num_rows() {
                at.close(&mut self.parts);
                self.inputs[input] = Input::Waiting;
                self.waiting.push(input);
            }
        }
    }

    fn flush(&mut self) -> Result<RecordBatch, ArrowError> {
        for (_, at) in at_mut(&mut self.inputs) {
            at.close(&mut self.parts);
        }
        let merged = self.gather.rows(&self.parts, &self.order);
        self.parts.clear();
        self.order.clear();
        merged
    }
}

fn at(inputs: &[Input]) -> impl Iterator<Item = (usize, &At)> {
    inputs
        .iter()
        .enumerate()
        .filter_map(|(i, input)| match input {
            Input::At(at) => Some((i, at)),
            _ => None,
        })
}

fn at_mut(inputs: &mut [Input]) -> impl Iterator<Item = (usize, &mut At)> {
    let inputs = inputs.iter_mut().enumerate();
    inputs.filter_map(|(i, input)| match input {
        Input::At(at) => Some((i, at)),
        _ => None,
    })
}

fn broken(input: usize, found: Key, above: Key) -> MergeError {
    MergeError::Order {
        input,
        found,
        above,
    }
}

const PART_BITS: u32 = 32;

fn pack(hlc: i64, writer: u32, part: u32) -> Packed {
    (Packed::from(hlc) << 64) | (Packed::from(writer) << PART_BITS) | Packed::from(part)
}

#[expect(clippy::cast_possible_truncation, reason = "what `pack` put together")]
#[expect(clippy::cast_sign_loss, reason = "what `pack` put together")]
fn unpack(packed: Packed) -> (Key, u32) {
    let key = Key {
        hlc: Hlc((packed >> 64) as i64),
        writer: WriterId((packed >> PART_BITS) as u32),
    };
    (key, packed as u32)
}

impl At {
    fn key(&self, row: usize) -> Key {
        Key {
            hlc: Hlc(self.stamps[row]),
            writer: WriterId(self.writers[row]),
        }
    }

    /// The first row whose key does not lie above the one before.
    fn fall(&self) -> Option<usize> {
        let stamps = self.stamps.windows(2).zip(self.writers.windows(2));
        let mut falls = stamps.map(|(hlc, writer)| (hlc[0], writer[0]) >= (hlc[1], writer[1]));
        falls.position(|falls| falls).map(|row| row + 1)
    }

    /// Its place among the parts of the next batch.
    fn part(&mut self, parts: &mut Vec<RecordBatch>) -> u32 {
        let part = self.part.get_or_insert_with(|| {
            parts.push(self.batch.slice(self.row, 0));
            // of more than 2^32 batches none would be left in memory
            let place = u32::try_from(parts.len() - 1).unwrap_or(u32::MAX);
            (place, self.row)
        });
        part.0
    }

    /// Cuts out what was taken of it since the last batch.
    fn close(&mut self, parts: &mut [RecordBatch]) {
        if let Some((part, from)) = self.part.take() {
            parts[part as usize] = self.batch.slice(from, self.row - from);
        }
    }

    /// The last of the next `rows` rows.
    fn last_of(&self, rows: usize) -> usize {
        (self.row + rows).min(self.batch.num_rows()) - 1
    }

    /// How many of the next `most` rows lie at or below `bound`.
    fn rows_through(&self, most: usize, bound: Key) -> usize {
        let (mut low, mut high) = (0, self.last_of(most) + 1 - self.row);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.key(self.row + middle) <= bound {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
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
