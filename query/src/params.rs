//! The parameters of a window, checked against the stream.

use tourbillon_core::filter::{EventTimes, KeyFilter};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::schema::{SYSTEM_COLUMNS, StreamSchema};
use tourbillon_core::time::{parse_duration_ns, parse_time_ns};

use crate::error::QueryError;
use crate::token::{Positions, RowPlace, Token, TokenError, positions};

/// Longest wait for a window to become complete, ns.
const MAX_WAIT_NS: i64 = 60_000_000_000;

/// Wait if the client names none, ns.
const DEFAULT_WAIT_NS: i64 = 2_000_000_000;

/// Rows that a client may limit an answer to; more than anybody has.
const LIMITS: std::ops::RangeInclusive<usize> = 1..=isize::MAX.unsigned_abs();

/// What to do about rows that may still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Only rows through T, or an error.
    Final,
    /// Whatever is there, flagged.
    Latest,
}

/// The time by which a window is cut and ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeBasis {
    /// The stamps of the gateways: the total order.
    #[default]
    Hlc,
    /// The stream's event-time column. Rows without an event time are in no window.
    Event,
}

/// A window as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowParams {
    /// What `start`, `end` and the order go by.
    pub time: TimeBasis,
    /// First stamp or event time, ns since the epoch.
    pub start: i64,
    /// Stamp or event time after the last; as far as possible if absent.
    pub end: Option<i64>,
    /// Filters on key columns.
    pub keys: Vec<KeyFilter>,
    /// Only this partition.
    pub partition: Option<u32>,
    /// Columns of the answer, in order.
    pub columns: Vec<String>,
    /// Newest row first.
    pub descending: bool,
    /// Most rows.
    pub limit: Option<usize>,
    /// What to do about rows that may still change.
    pub consistency: Consistency,
    /// How long to wait for completeness, ns.
    pub wait_ns: i64,
    /// Only the rows of this snapshot.
    pub snapshot: Option<Token>,
    /// Only rows that come after this one in the answer.
    pub after: Option<RowPlace>,
    /// How far the node must have followed.
    pub at_least: Positions,
}

impl WindowParams {
    /// Reads decoded query pairs. Unknown and repeated parameters are errors.
    pub fn parse(pairs: &[(String, String)], schema: &StreamSchema) -> Result<Self, QueryError> {
        let mut params = Self::everything(schema);
        let is = |asked: &str| pairs.iter().any(|(name, _)| name == asked);
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in pairs {
            if seen.contains(&name.as_str()) {
                return Err(wrong(name, "is given twice"));
            }
            seen.push(name);
            params.take(name, value, schema)?;
        }
        params.by_event_time(is("start"), schema)?;
        if params.end.is_some_and(|end| end < params.start) {
            return Err(wrong("end", "lies before start"));
        }
        params.cursor_fits()?;
        if is("cursor") && is("snapshot") {
            return Err(wrong("snapshot", "the cursor has one already"));
        }
        if !is("columns") {
            params.columns_of_snapshot(schema)?;
        }
        Ok(params)
    }

    /// What `time=event` asks of the stream, and of a window without a start.
    fn by_event_time(&mut self, has_start: bool, schema: &StreamSchema) -> Result<(), QueryError> {
        if self.time == TimeBasis::Hlc {
            return Ok(());
        }
        if schema.event_time().is_none() {
            return Err(wrong(
                "time",
                "the stream has no event-time column: use `hlc`",
            ));
        }
        if !has_start {
            // events may be older than the epoch; stamps cannot
            self.start = i64::MIN;
        }
        Ok(())
    }

    /// Whether the cursor is one of such a window.
    pub(crate) fn cursor_fits(&self) -> Result<(), QueryError> {
        let Some(after) = self.after else {
            return Ok(());
        };
        let needs = match (self.time, after.event) {
            (TimeBasis::Hlc, Some(_)) => "event",
            (TimeBasis::Event, None) => "hlc",
            _ => return Ok(()),
        };
        let reason = format!("it is one of a window with time={needs}: say so here too");
        Err(wrong("cursor", &reason))
    }

    /// The stamps between which rows are asked for: all, where the window goes by event time.
    pub(crate) fn stamps(&self) -> (Hlc, Option<Hlc>) {
        match self.time {
            TimeBasis::Hlc => (Hlc(self.start), self.end.map(Hlc)),
            TimeBasis::Event => (Hlc::MIN, None),
        }
    }

    /// The event times that are asked for, where the window goes by them.
    pub(crate) fn event_times(&self, schema: &StreamSchema) -> Option<EventTimes> {
        let column = match self.time {
            TimeBasis::Hlc => return None,
            TimeBasis::Event => &schema.columns()[schema.event_time()?],
        };
        let last = self.end.map_or(Some(i64::MAX), |end| end.checked_sub(1));
        // there is no time before the lowest, so then none may pass
        let (mut first, mut last) = last.map_or((i64::MAX, i64::MIN), |last| (self.start, last));
        match self.after.and_then(|after| after.event) {
            Some(event) if self.descending => last = last.min(event),
            Some(event) => first = first.max(event),
            None => {}
        }
        Some(EventTimes {
            column: column.name.clone(),
            first,
            last,
        })
    }

    /// Columns that came after the snapshot are only given if they are asked for.
    fn columns_of_snapshot(&mut self, schema: &StreamSchema) -> Result<(), QueryError> {
        let known = self.snapshot.as_ref().and_then(|token| token.columns);
        let Some(known) = known else { return Ok(()) };
        if known > schema.columns().len() {
            return Err(wrong(
                "snapshot",
                "the stream has fewer columns: whose is it?",
            ));
        }
        self.columns.truncate(2 + known);
        Ok(())
    }

    /// All rows that are complete, in every column but `log_offset`.
    pub fn everything(schema: &StreamSchema) -> Self {
        let system = SYSTEM_COLUMNS[..2].iter().map(|name| (*name).to_owned());
        let own = schema.columns().iter().map(|column| column.name.clone());
        Self {
            time: TimeBasis::Hlc,
            start: 0,
            end: None,
            keys: Vec::new(),
            partition: None,
            columns: system.chain(own).collect(),
            descending: false,
            limit: None,
            consistency: Consistency::Final,
            wait_ns: DEFAULT_WAIT_NS,
            snapshot: None,
            after: None,
            at_least: Positions::new(),
        }
    }

    fn take(&mut self, name: &str, value: &str, schema: &StreamSchema) -> Result<(), QueryError> {
        let time = |name| move |source| QueryError::Time { name, source };
        match name {
            "start" => self.start = parse_time_ns(value).map_err(time("start"))?,
            "end" => self.end = Some(parse_time_ns(value).map_err(time("end"))?),
            "time" => {
                self.time = match choice(name, value, ["hlc", "event"])? {
                    false => TimeBasis::Hlc,
                    true => TimeBasis::Event,
                }
            }
            "order" => self.descending = choice(name, value, ["asc", "desc"])?,
            "limit" => {
                let limit = value.parse().ok().filter(|limit| LIMITS.contains(limit));
                self.limit = Some(limit.ok_or_else(|| wrong(name, "use a whole number from 1"))?);
            }
            "consistency" => {
                self.consistency = match choice(name, value, ["final", "latest"])? {
                    false => Consistency::Final,
                    true => Consistency::Latest,
                }
            }
            "snapshot" => {
                let token: Token = value.parse().map_err(unread(name))?;
                if token.after.is_some() {
                    return Err(wrong(name, "this is a cursor: use `cursor`"));
                }
                self.snapshot = Some(token);
            }
            "cursor" => {
                let token: Token = value.parse().map_err(unread(name))?;
                if token.after.is_none() {
                    return Err(wrong(name, "this is a snapshot: use `snapshot`"));
                }
                self.after = token.after;
                self.snapshot = Some(token);
            }
            "at_least" => self.at_least = positions(value).map_err(unread(name))?,
            "wait" => {
                self.wait_ns = parse_duration_ns(value).map_err(QueryError::Wait)?;
                if self.wait_ns > MAX_WAIT_NS {
                    return Err(wrong(name, "at most 60s"));
                }
            }
            "partition" => {
                let number = value.parse().map_err(|_| wrong(name, "use a whole number"));
                self.partition = Some(number?);
            }
            "columns" => self.columns = columns(value, schema)?,
            _ => {
                let known = "time, start, end, key.<column>, partition, columns, order, limit, \
                             cursor, consistency, wait, snapshot and at_least";
                self.keys.push(key_filter(name, value, known)?);
            }
        }
        Ok(())
    }
}

/// Whether it is the second of two words.
fn choice(name: &str, value: &str, words: [&str; 2]) -> Result<bool, QueryError> {
    let [first, second] = words;
    match value {
        _ if value == first => Ok(false),
        _ if value == second => Ok(true),
        _ => Err(wrong(name, &format!("use `{first}` or `{second}`"))),
    }
}

fn unread(name: &str) -> impl Fn(TokenError) -> QueryError {
    move |error| wrong(name, &error.to_string())
}

/// `key.COLUMN=A,B`; other names are unknown.
pub(crate) fn key_filter(name: &str, value: &str, known: &str) -> Result<KeyFilter, QueryError> {
    let unknown = || wrong(name, &format!("unknown parameter: there are {known}"));
    Ok(KeyFilter {
        column: name.strip_prefix("key.").ok_or_else(unknown)?.to_owned(),
        values: value.split(',').map(str::to_owned).collect(),
    })
}

pub(crate) fn columns(value: &str, schema: &StreamSchema) -> Result<Vec<String>, QueryError> {
    let mut columns: Vec<String> = Vec::new();
    for name in value.split(',').map(str::trim) {
        if !SYSTEM_COLUMNS.contains(&name) && schema.index_of(name).is_none() {
            return Err(wrong(
                "columns",
                &format!("the stream has no column `{name}`"),
            ));
        }
        if columns.iter().any(|column| column == name) {
            return Err(wrong("columns", &format!("`{name}` is given twice")));
        }
        columns.push(name.to_owned());
    }
    Ok(columns)
}

pub(crate) fn wrong(name: &str, reason: &str) -> QueryError {
    let name = name.chars().take(40).collect();
    QueryError::Parameter {
        name,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tourbillon_core::schema::builtin_streams;

    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<WindowParams, QueryError> {
        let [(_, trades), _] = builtin_streams();
        let pairs: Vec<_> = query
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        WindowParams::parse(&pairs, &trades)
    }

    #[test]
    fn reads_every_parameter() {
        let params = parse(&[
            ("start", "2023-11-14T22:13:20Z"),
            ("end", "1700000001000000000"),
            ("key.symbol", "BTCUSDT,ETHUSDT"),
            ("columns", "hlc,price"),
            ("order", "desc"),
            ("limit", "10"),
            ("consistency", "latest"),
            ("wait", "0s"),
            ("time", "hlc"),
        ])
        .unwrap();
        assert_eq!(
            (params.start, params.end),
            (1_700_000_000_000_000_000, Some(1_700_000_001_000_000_000))
        );
        assert_eq!(params.keys[0].values, ["BTCUSDT", "ETHUSDT"]);
        assert_eq!(params.columns, ["hlc", "price"]);
        assert!(params.descending && params.limit == Some(10) && params.wait_ns == 0);
        assert_eq!(parse(&[]).unwrap().columns[..3], ["hlc", "writer", "venue"]);
    }

    #[test]
    fn event_time_needs_its_column_and_has_no_lowest() {
        let event = parse(&[("time", "event")]).unwrap();
        assert_eq!((event.time, event.start), (TimeBasis::Event, i64::MIN));
        let event = parse(&[("time", "event"), ("end", "-5")]).unwrap();
        assert_eq!((event.start, event.end), (i64::MIN, Some(-5)));
        assert_eq!(parse(&[]).unwrap().time, TimeBasis::Hlc);
        let [(_, trades), _] = builtin_streams();
        let bare = StreamSchema::new(trades.columns().to_vec(), &["symbol"], None).unwrap();
        let asked = [("time".to_owned(), "event".to_owned())];
        let error = WindowParams::parse(&asked, &bare).unwrap_err();
        assert!(error.to_string().starts_with("time: "), "{error}");
    }

    #[test]
    fn names_the_parameter_that_is_wrong() {
        let bad = [
            [("begin", "1")].as_slice(),
            &[("start", "soon")],
            &[("limit", "0")],
            &[("order", "up")],
            &[("time", "wall")],
            &[("wait", "2")],
            &[("wait", "61s")],
            &[("columns", "hlc,bid")],
            &[("columns", "hlc,hlc")],
            &[("start", "5"), ("end", "4")],
            &[("start", "5"), ("start", "5")],
        ];
        for query in bad {
            let error = parse(query).unwrap_err().to_string();
            assert!(
                query.iter().any(|(name, _)| error.contains(name)),
                "{error}"
            );
        }
    }
}
