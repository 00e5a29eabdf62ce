//! InfluxDB line protocol: lines to one batch a stream.
//!
//! A measurement is a stream; its tags and fields are columns, the timestamp its event time.
//! Lines for streams or columns that do not exist yet are not guessed at: the parse answers with
//! proposals, the caller creates what it agrees to, and parses again.

mod lex;
mod precision;
mod propose;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tourbillon_core::schema::StreamSchema;

use super::column::{Token, snippet};
use super::error::{ParseError, RowError};
use super::rows::{Fault, Rows};
use super::text::parse_i64;
use super::{MAX_ROWS, OnError, Refusals, utf8};
use lex::{Entries, Line, is_integer, line_end, read_line};
use propose::Draft;

pub use precision::Precision;
pub use propose::{EVENT_TIME, Proposal};

/// Rows of a body by stream.
#[derive(Clone, Debug)]
pub struct LineProtocol {
    /// Measurement and rows, in order of first appearance; rows keep the order of their lines.
    pub streams: Vec<(String, RecordBatch)>,
    /// The first [`MAX_ROW_ERRORS`](super::MAX_ROW_ERRORS) refused lines by line number; empty
    /// unless [`OnError::Skip`].
    pub refused: Vec<RowError>,
    /// How many lines were refused.
    pub refused_count: u64,
}

/// What became of a body.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Every stream and column exists.
    Rows(LineProtocol),
    /// These streams or columns must be added first; nothing was parsed to the end.
    Needs(Vec<Proposal>),
}

/// Parses `body`. Lines without a timestamp get `default_time_ns` (nanoseconds since the epoch).
/// `schemas` looks a measurement up; it is asked once for each.
pub fn parse_lines(
    body: &[u8],
    precision: Precision,
    default_time_ns: i64,
    schemas: &dyn Fn(&str) -> Option<Arc<StreamSchema>>,
    on_error: OnError,
) -> Result<Outcome, ParseError> {
    let body = utf8(body)?;
    let mut tables = Tables::new(schemas);
    let mut refusals = Refusals::default();
    let mut entries = Entries::new();
    let (mut start, mut number) = (0, 0);
    while start < body.len() {
        number += 1;
        let blank = body[start..]
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t' | b'\r'));
        let first = start + blank.count();
        if body.get(first) == Some(&b'#') {
            start = memchr::memchr(b'\n', &body[first..]).map_or(body.len(), |n| first + n + 1);
            continue;
        }
        let end = line_end(body, first);
        let line = &body[first..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            let row = number;
            match read_line(line, &mut entries) {
                Ok(line) => {
                    let time = time_of(&line, precision, default_time_ns);
                    tables.add(row, &line.measurement, &entries, time, &mut refusals)?;
                }
                Err(fault) => refusals.add(|| fault.at(row)),
            }
        }
        number += breaks(line);
        start = end + 1;
    }
    let (refused, refused_count) = refusals.settle(on_error)?;
    tables.finish(refused, refused_count)
}

/// Line breaks inside a line, which its quoted values hold.
fn breaks(line: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', line).count() as u64
}

fn time_of(line: &Line<'_>, precision: Precision, default_ns: i64) -> Result<i64, Fault> {
    let Some(text) = line.timestamp else {
        return Ok(default_ns);
    };
    // QuestDB may mark the unit itself
    let (text, precision) = match text {
        [head @ .., b't'] => (head, Precision::Us),
        [head @ .., b'n'] => (head, Precision::Ns),
        _ => (text, precision),
    };
    let time = is_integer(text).then(|| parse_i64(text)).flatten();
    time.and_then(|time| precision.nanoseconds(time))
        .ok_or_else(|| Fault::row(format!("`{}` is not a timestamp in range", snippet(text))))
}

/// The streams of a body.
struct Tables<'s> {
    schemas: &'s dyn Fn(&str) -> Option<Arc<StreamSchema>>,
    tables: Vec<Table>,
    by_name: HashMap<Vec<u8>, usize>,
    /// Table of the last line.
    last: usize,
    lines: usize,
}

struct Table {
    measurement: String,
    /// Absent while the stream does not exist.
    rows: Option<(Rows, Option<usize>)>,
    /// What the lines carry and the stream lacks.
    draft: Draft,
}

impl<'s> Tables<'s> {
    fn new(schemas: &'s dyn Fn(&str) -> Option<Arc<StreamSchema>>) -> Self {
        Self {
            schemas,
            tables: Vec::new(),
            by_name: HashMap::new(),
            last: 0,
            lines: 0,
        }
    }

    /// The table of `measurement`.
    fn table(&mut self, measurement: &[u8]) -> usize {
        let is = |table: &Table| table.measurement.as_bytes() == measurement;
        if !self.tables.get(self.last).is_some_and(is) {
            self.last = match self.by_name.get(measurement) {
                Some(&known) => known,
                None => self.open(measurement),
            };
        }
        self.last
    }

    fn open(&mut self, measurement: &[u8]) -> usize {
        let name = String::from_utf8_lossy(measurement).into_owned();
        let rows = (self.schemas)(&name).map(|s| (Rows::new(&s), s.event_time()));
        self.by_name.insert(measurement.to_vec(), self.tables.len());
        self.tables.push(Table {
            measurement: name,
            rows,
            draft: Draft::default(),
        });
        self.tables.len() - 1
    }

    fn add(
        &mut self,
        row: u64,
        measurement: &[u8],
        entries: &Entries<'_>,
        time: Result<i64, Fault>,
        refusals: &mut Refusals,
    ) -> Result<(), ParseError> {
        self.lines += 1;
        if self.lines > MAX_ROWS {
            return Err(ParseError::TooManyRows { limit: MAX_ROWS });
        }
        let table = self.table(measurement);
        self.tables[table].add(row, entries, time, refusals)
    }

    fn finish(self, refused: Vec<RowError>, refused_count: u64) -> Result<Outcome, ParseError> {
        let (mut streams, mut needs) = (Vec::new(), Vec::new());
        for table in self.tables {
            let new_stream = table.rows.is_none();
            match (
                table.draft.finish(&table.measurement, new_stream),
                table.rows,
            ) {
                (Some(need), _) => needs.push(need),
                (None, Some((rows, _))) => streams.push((table.measurement, rows.finish()?)),
                // a new stream of which every line was refused
                (None, None) => {}
            }
        }
        if !needs.is_empty() {
            return Ok(Outcome::Needs(needs));
        }
        Ok(Outcome::Rows(LineProtocol {
            streams,
            refused,
            refused_count,
        }))
    }
}

impl Table {
    fn add(
        &mut self,
        row: u64,
        entries: &Entries<'_>,
        time: Result<i64, Fault>,
        refusals: &mut Refusals,
    ) -> Result<(), ParseError> {
        let time = match time {
            Ok(time) => time,
            Err(fault) => {
                refusals.add(|| fault.at(row));
                return Ok(());
            }
        };
        let Some((rows, event_time)) = &mut self.rows else {
            let drafted = self.draft.add_all(row, entries);
            drafted.unwrap_or_else(|fault| refusals.add(|| fault.at(row)));
            return Ok(());
        };
        let mut lacking = false;
        let mut outcome = Ok(());
        for (position, (name, value)) in entries.iter().enumerate() {
            match rows.find(position, name) {
                Some(column) if outcome.is_ok() => outcome = rows.put(column, value.token()),
                Some(_) => {}
                None => lacking = true,
            }
        }
        if let (Ok(()), Some(column)) = (&outcome, *event_time)
            && !rows.has(column)
        {
            outcome = rows.put(column, Token::Time(time));
        }
        if lacking && outcome.is_ok() {
            let unknown = |name: &[u8]| rows.find(usize::MAX, name).is_none();
            outcome = self.draft.add_some(row, entries, unknown);
        }
        rows.end_row(row, outcome, refusals)
    }
}
