//! Rows in order to bars, a batch at a time.
//!
//! Rows come in the order of their times, so an interval is over as soon as a row lies in the next
//! one. Only the states of one interval are open, one for each key that has traded in it.

use std::collections::VecDeque;
use std::ops::Range;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use arrow::error::ArrowError;

use super::column::Numbers;
use super::{BarColumns, BarError, BarState, Moment};
use crate::groups::{GroupKey, Groups, UNKNOWN};
use crate::hlc::{Hlc, Key};
use crate::ids::WriterId;
use crate::open_rows::{stamps, writers};

/// Most keys that may trade in one interval; a state takes some 300 bytes.
pub const MAX_BAR_KEYS: usize = 262_144;

/// Keys that are remembered beyond those of the open interval.
const IDLE_KEYS: usize = 65_536;

/// A bar whose interval is over.
#[derive(Debug)]
pub(super) struct Finished {
    /// Begin of the interval, ns.
    pub(super) start: i64,
    pub(super) key: GroupKey,
    pub(super) state: BarState,
}

/// A fold in progress.
#[derive(Debug)]
pub struct BarFold {
    columns: BarColumns,
    time: String,
    interval: i64,
    descending: bool,
    max_keys: usize,
    groups: Groups,
    /// Place in `open` of each group, or [`UNKNOWN`].
    places: Vec<u32>,
    /// Groups and their states in the open interval.
    open: Vec<(u32, BarState)>,
    /// Begin of the open interval.
    start: Option<i64>,
    finished: VecDeque<Finished>,
}

impl BarFold {
    /// A fold of rows in the order of the column `time` (`hlc` or the event time) and their keys,
    /// or in the reverse order, into bars of `interval` ns (at least 1) in the same order.
    pub fn new(
        columns: BarColumns,
        time: &str,
        interval: i64,
        descending: bool,
    ) -> Result<Self, BarError> {
        let schema = columns.schema();
        let types: Vec<_> = schema.fields()[1..=columns.key.len()]
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        Ok(Self {
            columns,
            time: time.to_owned(),
            interval: interval.max(1),
            descending,
            max_keys: MAX_BAR_KEYS,
            groups: Groups::new(&types)?,
            places: Vec::new(),
            open: Vec::new(),
            start: None,
            finished: VecDeque::new(),
        })
    }

    /// Takes the next rows: `hlc` and `writer` first, then in any order the columns of the bars
    /// and the time.
    pub fn push(&mut self, rows: &RecordBatch) -> Result<(), BarError> {
        self.forget_idle();
        let column = |name: &String| {
            let absent = || ArrowError::SchemaError(format!("column {name} was not read"));
            rows.column_by_name(name).ok_or_else(absent)
        };
        let kind = self.columns.kind();
        let float = kind.float_price || kind.float_size;
        let keys = self.columns.key.iter().map(column);
        let keys: Vec<ArrayRef> = keys.map(|key| key.cloned()).collect::<Result<_, _>>()?;
        let trades = Trades {
            times: column(&self.time)?
                .as_primitive::<TimestampNanosecondType>()
                .values(),
            stamps: stamps(rows),
            writers: writers(rows),
            prices: Numbers::read(
                column(&self.columns.price)?,
                self.columns.price_number,
                float,
            )?,
            sizes: Numbers::read(column(&self.columns.size)?, self.columns.size_number, float)?,
            float,
        };
        let groups = self.groups.resolve(&keys, rows.num_rows())?;
        self.places.resize(self.groups.len(), UNKNOWN);
        let mut row = 0;
        while row < rows.num_rows() {
            let start = bar_start(trades.times[row], self.interval);
            if self.start != Some(start) {
                self.close()?;
                self.start = Some(start);
            }
            let end = row + self.rows_within(&trades.times[row..], start);
            self.add(&trades, &groups, row..end, start)?;
            row = end;
        }
        Ok(())
    }

    /// Says that there are no more rows.
    pub fn finish(&mut self) -> Result<(), BarError> {
        self.close()
    }

    /// Number of bars that are done and were not taken.
    pub fn done(&self) -> usize {
        self.finished.len()
    }

    /// Takes the next `bars` bars, or what is done of them.
    pub fn take(&mut self, bars: usize) -> Result<RecordBatch, BarError> {
        let bars: Vec<_> = self
            .finished
            .drain(..bars.min(self.finished.len()))
            .collect();
        self.columns.rows(&self.groups, &bars)
    }

    /// How many of the times, of which the first does, lie in the interval that begins at `start`.
    fn rows_within(&self, times: &[i64], start: i64) -> usize {
        let last = start.saturating_add(self.interval - 1);
        match self.descending {
            false => times.partition_point(|time| *time <= last),
            true => times.partition_point(|time| *time >= start),
        }
    }

    /// Adds rows of one interval.
    fn add(
        &mut self,
        trades: &Trades<'_>,
        groups: &[u32],
        rows: Range<usize>,
        start: i64,
    ) -> Result<(), BarError> {
        for row in rows.filter(|row| trades.prices.has(*row)) {
            let place = &mut self.places[groups[row] as usize];
            if *place == UNKNOWN {
                if self.open.len() >= self.max_keys {
                    return Err(BarError::TooManyKeys { bar: start });
                }
                *place = u32::try_from(self.open.len()).unwrap_or(UNKNOWN);
                let state = BarState::new(self.columns.kind());
                self.open.push((groups[row], state));
            }
            trades.add(row, &mut self.open[*place as usize].1);
        }
        Ok(())
    }

    /// Ends the open interval.
    fn close(&mut self) -> Result<(), BarError> {
        let Some(start) = self.start.take() else {
            return Ok(());
        };
        let mut bars = Vec::with_capacity(self.open.len());
        for (group, state) in self.open.drain(..) {
            self.places[group as usize] = UNKNOWN;
            let absent = || ArrowError::ComputeError("a bar's key was forgotten".into());
            let key = self.groups.key(group).cloned().ok_or_else(absent)?;
            bars.push(Finished { start, key, state });
        }
        bars.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        if self.descending {
            bars.reverse();
        }
        self.finished.extend(bars);
        Ok(())
    }

    /// Keys that have not traded lately are forgotten once there are many.
    fn forget_idle(&mut self) {
        if self.groups.len() < self.open.len() + IDLE_KEYS {
            return;
        }
        let open: Vec<u32> = self.open.iter().map(|(group, _)| *group).collect();
        self.groups.keep(&open);
        self.places.clear();
        for ((group, _), number) in self.open.iter_mut().zip(0..) {
            *group = number;
            self.places.push(number);
        }
    }
}

/// Begin of the interval in which a time lies. Intervals are whole from the epoch on.
pub(super) fn bar_start(time: i64, interval: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(interval))
}

/// Columns of a batch.
struct Trades<'a> {
    times: &'a [i64],
    stamps: &'a [i64],
    writers: &'a [u32],
    prices: Numbers,
    sizes: Numbers,
    float: bool,
}

impl Trades<'_> {
    fn add(&self, row: usize, state: &mut BarState) {
        let key = Key {
            hlc: Hlc(self.stamps[row]),
            writer: WriterId(self.writers[row]),
        };
        let time = self.times[row];
        let price = self.prices.exact[row];
        state.price(Moment { time, key }, price);
        if !self.sizes.has(row) {
            return;
        }
        let size = self.sizes.exact[row];
        match self.float {
            false => state.exact_size(price, size),
            true => state.float_size(size, self.sizes.floats[row], self.prices.floats[row]),
        }
    }
}
