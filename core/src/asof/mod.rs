//! As-of join: to each row of one window the newest row of another that is not later.
//!
//! Both inputs come in the order of their times and are read once, side by side. Of the right one
//! only the newest row of each value of the joined columns is kept:
//!
//! ```text
//! left   ......|t=5    |t=9 ..      right rows through 5 are taken before the left row at 5 is
//! right  |1 |3 |5 |5 |7 ..          answered, so of two rows at 5 the later in the stream wins
//! ```

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampNanosecondType};
use arrow::error::ArrowError;
use thiserror::Error;

use crate::error::ErrorKind;
use crate::groups::{Groups, UNKNOWN};

/// Most values of the joined columns of which a right row is kept.
pub const MAX_JOIN_KEYS: usize = 262_144;

/// Right batches that are kept for the sake of some of their rows before those are copied out.
const MAX_HELD: usize = 64;

/// Place of a null row among the held batches.
const NOTHING: (usize, usize) = (0, 0);

/// Why windows cannot be joined.
#[derive(Debug, Error)]
pub enum AsOfError {
    /// More keys than are held.
    #[error(
        "the right stream has more than {0} values of the columns that are joined on: filter, or \
         give a tolerance"
    )]
    TooManyKeys(usize),
    /// The rows.
    #[error("cannot read or join rows")]
    Arrow(#[from] ArrowError),
}

impl AsOfError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooManyKeys(_) => ErrorKind::Invalid,
            Self::Arrow(_) => ErrorKind::Internal,
        }
    }
}

/// One side of a join.
#[derive(Clone, Debug)]
pub struct Side {
    /// Schema of its batches.
    pub schema: SchemaRef,
    /// The column of its times, by which rows come in order.
    pub time: String,
    /// Its columns in the answer: where they are and what they are called there.
    pub columns: Vec<(usize, String)>,
}

/// What a join needs or has.
#[derive(Debug)]
pub enum AsOfStep {
    /// The next batch of the left input, by [`AsOf::push_left`] or [`AsOf::finish_left`].
    NeedLeft,
    /// The next batch of the right input, by [`AsOf::push_right`] or [`AsOf::finish_right`].
    NeedRight,
    /// The next left batch with what was found for its rows.
    Batch(RecordBatch),
    /// Every left row is answered.
    Done,
}

/// A batch on its way through the join.
#[derive(Debug)]
struct Moving {
    batch: RecordBatch,
    times: usize,
    groups: Vec<u32>,
    row: usize,
}

impl Moving {
    fn time(&self) -> Option<i64> {
        let times = self.batch.column(self.times);
        let times = times.as_primitive::<TimestampNanosecondType>().values();
        times.get(self.row).copied()
    }
}

/// The newest right row of a group.
#[derive(Clone, Copy, Debug)]
struct Newest {
    time: i64,
    place: (usize, usize),
}

/// A join in progress. Holds a left batch, at most `MAX_HELD` right ones, and a right row for
/// each of at most [`MAX_JOIN_KEYS`] keys.
#[derive(Debug)]
pub struct AsOf {
    schema: SchemaRef,
    left: Side,
    right: Side,
    on: Vec<String>,
    tolerance: Option<i64>,
    max_keys: usize,
    groups: Groups,
    newest: Vec<Option<Newest>>,
    /// Right columns of the answer; the first batch is one null row.
    held: Vec<Vec<ArrayRef>>,
    left_now: Option<Moving>,
    right_now: Option<Moving>,
    left_done: bool,
    right_done: bool,
    /// Where the right row of each answered row of the left batch is.
    picks: Vec<(usize, usize)>,
}

impl AsOf {
    /// A join of rows that have equal values in the columns `on`, which both have with the same
    /// type; a null equals nothing. A right row may be up to `tolerance` ns older.
    pub fn new(
        left: Side,
        right: Side,
        on: &[String],
        tolerance: Option<i64>,
    ) -> Result<Self, AsOfError> {
        let types = on.iter().map(|name| {
            let field = right.schema.field_with_name(name)?;
            Ok(field.data_type().clone())
        });
        let types: Vec<DataType> = types.collect::<Result<_, ArrowError>>()?;
        let renamed = |side: &Side, optional: bool| -> Vec<Field> {
            let fields = side.columns.iter().map(|(index, name)| {
                let field = side.schema.field(*index).clone();
                let nullable = optional || field.is_nullable();
                field.with_name(name).with_nullable(nullable)
            });
            fields.collect()
        };
        let fields = [renamed(&left, false), renamed(&right, true)].concat();
        let nulls = right.columns.iter();
        let nulls = nulls.map(|(i, _)| new_null_array(right.schema.field(*i).data_type(), 1));
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            held: vec![nulls.collect()],
            left,
            right,
            on: on.to_vec(),
            tolerance,
            max_keys: MAX_JOIN_KEYS,
            groups: Groups::new(&types)?,
            newest: Vec::new(),
            left_now: None,
            right_now: None,
            left_done: false,
            right_done: false,
            picks: Vec::new(),
        })
    }

    /// Schema of the answer: the left columns, then the right ones, null where nothing was found.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Gives the left input's next batch.
    pub fn push_left(&mut self, batch: RecordBatch) -> Result<(), AsOfError> {
        let times = self.left.schema.index_of(&self.left.time)?;
        let (columns, nulls) = joined_on(&batch, &self.on)?;
        let groups = self.groups.look_up(&columns, batch.num_rows())?;
        self.left_now = Some(moving(batch, times, groups, nulls.as_ref()));
        Ok(())
    }

    /// Gives the right input's next batch.
    pub fn push_right(&mut self, batch: RecordBatch) -> Result<(), AsOfError> {
        if self.held.len() > MAX_HELD || self.groups.len() > self.max_keys {
            self.copy_out()?;
        }
        let times = self.right.schema.index_of(&self.right.time)?;
        let (columns, nulls) = joined_on(&batch, &self.on)?;
        let known = self.groups.len();
        let groups = self.groups.resolve(&columns, batch.num_rows())?;
        self.newest.resize(self.groups.len(), None);
        let kept = self.right.columns.iter();
        self.held
            .push(kept.map(|(i, _)| Arc::clone(batch.column(*i))).collect());
        self.right_now = Some(moving(batch, times, groups, nulls.as_ref()));
        if known < self.groups.len() {
            self.look_up_again()?;
        }
        Ok(())
    }

    /// Says that there are no more left rows.
    pub fn finish_left(&mut self) {
        self.left_done = true;
    }

    /// Says that there are no more right rows.
    pub fn finish_right(&mut self) {
        self.right_done = true;
    }

    /// Goes on until something is needed or a left batch is answered.
    pub fn step(&mut self) -> Result<AsOfStep, AsOfError> {
        let Some(mut left) = self.left_now.take() else {
            return Ok(match self.left_done {
                true => AsOfStep::Done,
                false => AsOfStep::NeedLeft,
            });
        };
        while let Some(time) = left.time() {
            if !self.advance_right(time) {
                self.left_now = Some(left);
                return Ok(AsOfStep::NeedRight);
            }
            self.picks.push(self.found(left.groups[left.row], time));
            left.row += 1;
        }
        Ok(AsOfStep::Batch(self.answered(&left.batch)?))
    }

    /// Takes right rows through `time`; false if more are needed for that.
    fn advance_right(&mut self, time: i64) -> bool {
        let Some(right) = &mut self.right_now else {
            return self.right_done;
        };
        let batch = self.held.len() - 1;
        while let Some(time) = right.time().filter(|at| *at <= time) {
            if let Ok(group) = usize::try_from(right.groups[right.row])
                && let Some(newest) = self.newest.get_mut(group)
            {
                let place = (batch, right.row);
                *newest = Some(Newest { time, place });
            }
            right.row += 1;
        }
        if right.row < right.batch.num_rows() {
            return true;
        }
        self.right_now = None;
        self.right_done
    }

    /// The place of the right row for a left one.
    fn found(&self, group: u32, time: i64) -> (usize, usize) {
        let newest = usize::try_from(group)
            .ok()
            .and_then(|group| self.newest.get(group));
        let newest = newest.copied().flatten();
        newest
            .filter(|newest| !self.is_too_old(newest.time, time))
            .map_or(NOTHING, |newest| newest.place)
    }

    fn is_too_old(&self, right: i64, left: i64) -> bool {
        // the right row is not later, so a difference that overflows is a long one
        let age = left.checked_sub(right);
        self.tolerance
            .is_some_and(|most| age.is_none_or(|age| age > most))
    }

    /// The left batch with its right rows.
    fn answered(&mut self, left: &RecordBatch) -> Result<RecordBatch, AsOfError> {
        let picks = std::mem::take(&mut self.picks);
        let own = self
            .left
            .columns
            .iter()
            .map(|(i, _)| Arc::clone(left.column(*i)));
        let mut columns: Vec<ArrayRef> = own.collect();
        columns.extend(self.picked(&picks)?);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Right columns at these places.
    fn picked(&self, picks: &[(usize, usize)]) -> Result<Vec<ArrayRef>, ArrowError> {
        let columns = (0..self.right.columns.len()).map(|column| {
            let arrays: Vec<&dyn Array> = self.held.iter().map(|c| c[column].as_ref()).collect();
            interleave(&arrays, picks)
        });
        columns.collect()
    }

    /// Copies the right rows that may still be asked for out of their batches. Rows that are too
    /// old for the left row at hand are forgotten.
    fn copy_out(&mut self) -> Result<(), AsOfError> {
        let now = self.left_now.as_ref().and_then(Moving::time);
        let too_old = |newest: &Newest| now.is_some_and(|now| self.is_too_old(newest.time, now));
        let groups = (0..).zip(&self.newest);
        let kept = groups.filter_map(|(group, newest)| Some((group, (*newest)?)));
        let kept: Vec<(u32, Newest)> = kept.filter(|(_, newest)| !too_old(newest)).collect();
        if kept.len() > self.max_keys {
            return Err(AsOfError::TooManyKeys(self.max_keys));
        }
        let mut places = self.picks.clone();
        places.extend(kept.iter().map(|(_, newest)| newest.place));
        let copied = self.picked(&places)?;
        let picked = self.picks.len();
        for (at, pick) in self.picks.iter_mut().enumerate() {
            *pick = (1, at);
        }
        let newest = kept.iter().enumerate().map(|(at, (_, newest))| {
            let place = (1, picked + at);
            Some(Newest { place, ..*newest })
        });
        self.newest = newest.collect();
        self.held.truncate(1);
        self.held.push(copied);
        let groups: Vec<u32> = kept.iter().map(|(group, _)| *group).collect();
        self.groups.keep(&groups);
        self.look_up_again()
    }

    /// The groups of the left rows at hand, after groups came or went.
    fn look_up_again(&mut self) -> Result<(), AsOfError> {
        let Some(left) = &mut self.left_now else {
            return Ok(());
        };
        let (columns, nulls) = joined_on(&left.batch, &self.on)?;
        left.groups = self.groups.look_up(&columns, left.batch.num_rows())?;
        forget_nulls(&mut left.groups, nulls.as_ref());
        Ok(())
    }
}

/// The columns that are joined on, and which rows have values in all of them.
fn joined_on(
    batch: &RecordBatch,
    on: &[String],
) -> Result<(Vec<ArrayRef>, Option<NullBuffer>), ArrowError> {
    let schema = batch.schema();
    let columns = on
        .iter()
        .map(|name| Ok(Arc::clone(batch.column(schema.index_of(name)?))));
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, ArrowError>>()?;
    let nulls = columns.iter().map(|column| column.logical_nulls());
    let nulls = nulls.reduce(|all, one| NullBuffer::union(all.as_ref(), one.as_ref()));
    Ok((columns, nulls.flatten()))
}

fn moving(
    batch: RecordBatch,
    times: usize,
    mut groups: Vec<u32>,
    nulls: Option<&NullBuffer>,
) -> Moving {
    forget_nulls(&mut groups, nulls);
    Moving {
        batch,
        times,
        groups,
        row: 0,
    }
}

/// A null equals nothing, so its row has no group.
fn forget_nulls(groups: &mut [u32], nulls: Option<&NullBuffer>) {
    let Some(nulls) = nulls else { return };
    for (row, group) in groups.iter_mut().enumerate() {
        if nulls.is_null(row) {
            *group = UNKNOWN;
        }
    }
}
