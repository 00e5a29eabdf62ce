//! The parameters of bars, and the cursors of their pages.

use std::fmt;
use std::str::FromStr;

use tourbillon_core::bars::{BarColumns, BarError};
use tourbillon_core::schema::{SYSTEM_COLUMNS, StreamSchema};
use tourbillon_core::time::parse_duration_ns;

use crate::error::QueryError;
use crate::params::{Consistency, TimeBasis, WindowParams, wrong};
use crate::token::Token;

/// Shortest and longest interval, ns.
const INTERVALS: std::ops::RangeInclusive<i64> = 1_000_000..=86_400_000_000_000;

/// Parameters that mean the same as for a window.
const OF_WINDOW: [&str; 9] = [
    "time",
    "start",
    "end",
    "order",
    "limit",
    "consistency",
    "wait",
    "snapshot",
    "at_least",
];

/// Bars as asked for.
#[derive(Clone, Debug)]
pub(super) struct BarsParams {
    /// The rows to be folded; without limit.
    pub(super) window: WindowParams,
    /// Length of an interval, ns.
    pub(super) interval_ns: i64,
    pub(super) columns: BarColumns,
    /// The column by which rows fall into intervals.
    pub(super) time: String,
    /// Most bars.
    pub(super) limit: Option<usize>,
    /// What earlier pages gave.
    pub(super) after: Option<BarPlace>,
}

/// How far pages have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BarPlace {
    /// Begin of the last bar that was given, ns.
    pub(super) start: i64,
    /// How many bars that begin there were given.
    pub(super) given: usize,
}

/// Where a page begins, and in which snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BarsCursor {
    pub(super) token: Token,
    pub(super) after: BarPlace,
}

impl fmt::Display for BarsCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.b{}-{}",
            self.token, self.after.start, self.after.given
        )
    }
}

impl FromStr for BarsCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected the cursor of a page of bars".to_owned();
        let (token, place) = text.rsplit_once(".b").ok_or_else(expected)?;
        let (start, given) = place.rsplit_once('-').ok_or_else(expected)?;
        let token: Token = token.parse().map_err(|error| format!("{error}"))?;
        let after = BarPlace {
            start: start.parse().map_err(|_| expected())?,
            given: given.parse().map_err(|_| expected())?,
        };
        let cursor = Self { token, after };
        // one spelling for each, and no cursor of a window within it
        let same = cursor.token.after.is_none() && cursor.to_string() == text;
        same.then_some(cursor).ok_or_else(expected)
    }
}

/// The parameters with a cursor's token as the snapshot that it is.
pub(super) fn tokens(pairs: &[(String, String)]) -> Vec<(String, String)> {
    let token = |value: &str| value.parse().map(|cursor: BarsCursor| cursor.token);
    let pairs = pairs
        .iter()
        .map(|(name, value)| match (name.as_str(), token(value)) {
            ("cursor", Ok(token)) => ("snapshot".to_owned(), token.to_string()),
            _ => (name.clone(), value.clone()),
        });
    pairs.collect()
}

impl BarsParams {
    /// Reads decoded query pairs. Unknown and repeated parameters are errors.
    pub(super) fn parse(
        pairs: &[(String, String)],
        schema: &StreamSchema,
    ) -> Result<Self, QueryError> {
        let (mut interval, mut price, mut size, mut cursor) = (None, None, None, None);
        let mut passed = Vec::new();
        for (name, value) in pairs {
            let own = match name.as_str() {
                "interval" => &mut interval,
                "price" => &mut price,
                "size" => &mut size,
                "cursor" => &mut cursor,
                other if OF_WINDOW.contains(&other) || other.starts_with("key.") => {
                    passed.push((name.clone(), value.clone()));
                    continue;
                }
                _ => {
                    let known = "unknown parameter: there are interval, price, size, time, start, \
                                 end, key.<column>, order, limit, cursor, consistency, wait, \
                                 snapshot and at_least";
                    return Err(wrong(name, known));
                }
            };
            if own.replace(value.as_str()).is_some() {
                return Err(wrong(name, "is given twice"));
            }
        }
        let interval_ns = interval_ns(interval)?;
        let mut window = WindowParams::parse(&passed, schema)?;
        let cursor = cursor.map(|text| text.parse::<BarsCursor>());
        let cursor = cursor
            .transpose()
            .map_err(|error| wrong("cursor", &error))?;
        if let Some(cursor) = &cursor {
            if window.snapshot.is_some() {
                return Err(wrong("snapshot", "the cursor has one already"));
            }
            window.snapshot = Some(cursor.token.clone());
        }
        let columns = columns(schema, price.unwrap_or("price"), size.unwrap_or("size"))?;
        let event = schema.event_time().map(|index| &schema.columns()[index]);
        let time = match window.time {
            TimeBasis::Hlc => SYSTEM_COLUMNS[0].to_owned(),
            TimeBasis::Event => event.map_or_else(String::new, |column| column.name.clone()),
        };
        window.columns = needed(&columns, &time);
        let limit = window.limit.take();
        Ok(Self {
            window,
            interval_ns,
            columns,
            time,
            limit,
            after: cursor.map(|cursor| cursor.after),
        })
    }

    /// The window without what earlier pages gave for certain.
    pub(super) fn narrowed(&self) -> WindowParams {
        let mut window = self.window.clone();
        let (Some(place), Some(token)) = (self.after, &window.snapshot) else {
            return window;
        };
        let by_hlc = window.time == TimeBasis::Hlc;
        if !window.descending {
            // a window by HLC without a start begins with what was left
            let left = if by_hlc { token.kept_from.0 } else { i64::MIN };
            window.start = window.start.max(place.start).max(left);
            return window;
        }
        let end = place.start.saturating_add(self.interval_ns);
        let complete = token.complete_through.map_or(0, |t| t.0.saturating_add(1));
        // an end beyond what is complete would be refused, and none is not
        let allowed = window.consistency == Consistency::Latest || end <= complete;
        if allowed {
            window.end = Some(window.end.map_or(end, |asked| asked.min(end)));
            window.start = window.start.min(end);
        }
        window
    }
}

fn interval_ns(text: Option<&str>) -> Result<i64, QueryError> {
    let text =
        text.ok_or_else(|| wrong("interval", "is missing: say how long a bar is, like 1s"))?;
    let interval =
        parse_duration_ns(text).map_err(|error| wrong("interval", &error.to_string()))?;
    match INTERVALS.contains(&interval) {
        true => Ok(interval),
        false => Err(wrong("interval", "use 1ms to 1d")),
    }
}

fn columns(schema: &StreamSchema, price: &str, size: &str) -> Result<BarColumns, QueryError> {
    for (name, column) in [("price", price), ("size", size)] {
        if schema.index_of(column).is_none() {
            let column: String = column.chars().take(40).collect();
            let reason = format!("the stream has no column `{column}`: name one that it has");
            return Err(wrong(name, &reason));
        }
    }
    BarColumns::new(schema, price, size).map_err(|error| {
        let name = match &error {
            BarError::NotNumeric(column) if column == price => "price",
            _ => "size",
        };
        wrong(name, &error.to_string())
    })
}

/// The columns of the rows that are folded, each once.
fn needed(bars: &BarColumns, time: &str) -> Vec<String> {
    let mut needed: Vec<String> = Vec::new();
    let of_bars = bars.key.iter().chain([&bars.price, &bars.size]);
    let names = SYSTEM_COLUMNS[..2].iter().copied().chain([time]);
    for name in names.chain(of_bars.map(String::as_str)) {
        if !needed.iter().any(|column| column == name) {
            needed.push(name.to_owned());
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use tourbillon_core::schema::builtin_streams;

    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<BarsParams, QueryError> {
        let [(_, trades), _] = builtin_streams();
        let pairs = query
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        BarsParams::parse(&pairs.collect::<Vec<_>>(), &trades)
    }

    #[test]
    fn the_rows_have_the_columns_that_bars_need() {
        let params = parse(&[("interval", "1m"), ("key.symbol", "X"), ("limit", "7")]).unwrap();
        assert_eq!(
            (params.interval_ns, params.limit),
            (60_000_000_000, Some(7))
        );
        let wanted = ["hlc", "writer", "venue", "symbol", "price", "size"];
        assert_eq!(params.window.columns, wanted);
        assert_eq!(params.window.limit, None);
        let same = parse(&[("interval", "1ms"), ("size", "price"), ("time", "event")]).unwrap();
        let wanted = ["hlc", "writer", "ts_event", "venue", "symbol", "price"];
        assert_eq!(same.window.columns, wanted);
    }

    #[test]
    fn names_the_parameter_that_is_wrong() {
        let every = ("interval", "1s");
        let bad: [(&[(&str, &str)], &str); 11] = [
            (&[], "interval"),
            (&[("interval", "1us")], "interval"),
            (&[("interval", "25h")], "interval"),
            (&[("interval", "1")], "interval"),
            (&[every, every], "interval"),
            (&[every, ("price", "bid")], "price"),
            (&[every, ("price", "venue")], "price"),
            (&[every, ("size", "side")], "size"),
            (&[every, ("columns", "price")], "columns"),
            (&[every, ("cursor", "1.5.k7-1")], "cursor"),
            (
                &[every, ("cursor", "1.5.b0-1"), ("snapshot", "1.5")],
                "snapshot",
            ),
        ];
        for (query, name) in bad {
            let error = parse(query).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: ")), "{name}: {error}");
        }
    }

    #[test]
    fn cursors_come_back_as_they_went() {
        for text in ["1.5-7.t9.f3.c4.b1700000000000000000-3", "1.5.b-60-1"] {
            assert_eq!(text.parse::<BarsCursor>().unwrap().to_string(), text);
        }
        for bad in [
            "1.5",
            "1.5.b",
            "1.5.b7",
            "1.5.b+7-1",
            "1.5.k1-1.b7-1",
            "1.5.b7--1",
        ] {
            assert!(bad.parse::<BarsCursor>().is_err(), "{bad}");
        }
    }
}
