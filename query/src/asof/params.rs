//! The parameters of an as-of join.

use std::ops::RangeInclusive;

use tourbillon_core::filter::KeyFilter;
use tourbillon_core::schema::{SYSTEM_COLUMNS, StreamSchema};
use tourbillon_core::time::parse_duration_ns;

use crate::error::QueryError;
use crate::params::{TimeBasis, WindowParams, columns, wrong};
use crate::token::Token;
use crate::token::many::Tokens;

/// Parameters that mean the same as for a window of the left stream.
const OF_WINDOW: [&str; 7] = [
    "time",
    "start",
    "end",
    "columns",
    "limit",
    "consistency",
    "wait",
];

/// Longest tolerance, ns: ten years of 366 days.
const TOLERANCES: RangeInclusive<i64> = 0..=316_224_000_000_000_000;

/// A request as far as it can be read without the streams.
#[derive(Debug)]
pub(super) struct AsOfRequest {
    pub(super) left: String,
    pub(super) right: String,
    /// Of a snapshot or a cursor.
    pub(super) tokens: Tokens,
    on: Option<String>,
    right_columns: Option<String>,
    tolerance_ns: Option<i64>,
    passed: Vec<(String, String)>,
}

/// A join as asked for.
#[derive(Debug)]
pub(super) struct AsOfParams {
    pub(super) left: WindowParams,
    pub(super) right: WindowParams,
    /// Columns with equal values, of both.
    pub(super) on: Vec<String>,
    /// How much older a right row may be, ns.
    pub(super) tolerance_ns: Option<i64>,
    /// The column of the times.
    pub(super) left_time: String,
    pub(super) right_time: String,
    /// Columns of the answer, and what they are called there.
    pub(super) left_columns: Vec<(String, String)>,
    pub(super) right_columns: Vec<(String, String)>,
}

impl AsOfRequest {
    /// Reads decoded query pairs. Unknown and repeated parameters are errors.
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self, QueryError> {
        let names = [
            "left",
            "right",
            "on",
            "tolerance",
            "right_columns",
            "snapshot",
            "cursor",
        ];
        let mut own: [Option<&str>; 7] = [None; 7];
        let mut passed = Vec::new();
        for (name, value) in pairs {
            let place = names.iter().position(|own| own == name);
            if let Some(place) = place {
                if own[place].replace(value).is_some() {
                    return Err(wrong(name, "is given twice"));
                }
            } else if OF_WINDOW.contains(&name.as_str()) || name.starts_with("key.") {
                passed.push((name.clone(), value.clone()));
            } else {
                let known = "unknown parameter: there are left, right, on, tolerance, time, start, \
                             end, key.<column>, columns, right_columns, limit, cursor, \
                             consistency, wait and snapshot";
                return Err(wrong(name, known));
            }
        }
        let [left, right, on, tolerance, right_columns, snapshot, cursor] = own;
        let stream = |name, value: Option<&str>| {
            let missing = || wrong(name, "is missing: name a stream");
            value.map(str::to_owned).ok_or_else(missing)
        };
        let (left, right) = (stream("left", left)?, stream("right", right)?);
        Ok(Self {
            tokens: tokens((&left, &right), snapshot, cursor)?,
            left,
            right,
            on: on.map(str::to_owned),
            right_columns: right_columns.map(str::to_owned),
            tolerance_ns: tolerance.map(tolerance_ns).transpose()?,
            passed,
        })
    }

    /// Checks the request against the streams' schemas.
    pub(super) fn checked(
        &self,
        left: &StreamSchema,
        right: &StreamSchema,
    ) -> Result<AsOfParams, QueryError> {
        let mut of_left = WindowParams::parse(&self.passed, left)?;
        let on = self.on(left, right)?;
        let time = |schema: &StreamSchema| match of_left.time {
            TimeBasis::Hlc => Ok(SYSTEM_COLUMNS[0].to_owned()),
            TimeBasis::Event => {
                let column = schema.event_time().map(|index| &schema.columns()[index]);
                let none = || {
                    wrong(
                        "time",
                        "the right stream has no event-time column: use `hlc`",
                    )
                };
                column.map(|column| column.name.clone()).ok_or_else(none)
            }
        };
        let (left_time, right_time) = (time(left)?, time(right)?);
        let token = |stream: &String| self.tokens.0.get(stream).cloned();
        if let Some(token) = token(&self.left) {
            of_left.after = token.after;
            of_left.snapshot = Some(token);
            of_left.cursor_fits()?;
        }
        let mut of_right = WindowParams {
            time: of_left.time,
            end: of_left.end,
            consistency: of_left.consistency,
            wait_ns: of_left.wait_ns,
            keys: filters(&of_left.keys, &on, right),
            snapshot: token(&self.right).map(|token| Token {
                after: None,
                ..token
            }),
            ..WindowParams::everything(right)
        };
        of_right.start = self.right_start(&of_left, of_right.snapshot.as_ref());
        let of_answer = |name: &String| (name.clone(), name.clone());
        let left_columns: Vec<_> = of_left.columns.iter().map(of_answer).collect();
        let right_columns = self.right_columns(&left_columns, &on, right)?;
        of_left.columns = needed(&left_columns, &on, &left_time);
        of_right.columns = needed(&right_columns, &on, &right_time);
        Ok(AsOfParams {
            left: of_left,
            right: of_right,
            on,
            tolerance_ns: self.tolerance_ns,
            left_time,
            right_time,
            left_columns,
            right_columns,
        })
    }

    /// The columns to join on: by default the key columns that both have.
    fn on(&self, left: &StreamSchema, right: &StreamSchema) -> Result<Vec<String>, QueryError> {
        let Some(names) = &self.on else {
            let is_key = |name: &&str| right.key_names().any(|key| key == *name);
            let both: Vec<String> = left.key_names().filter(is_key).map(str::to_owned).collect();
            let same = |name: &String| type_of(left, name) == type_of(right, name);
            return match both.is_empty() || !both.iter().all(same) {
                true => Err(wrong("on", "the keys have no columns in common: name some")),
                false => Ok(both),
            };
        };
        let mut on: Vec<String> = Vec::new();
        for name in names.split(',').map(str::trim) {
            let shown: String = name.chars().take(40).collect();
            let refuse = |reason: &str| Err(wrong("on", &format!("`{shown}` {reason}")));
            match (type_of(left, name), type_of(right, name)) {
                (Some(one), Some(other)) if one == other && one.can_be_key() => {}
                (Some(one), Some(other)) if one == other => {
                    return refuse("must be of type string, int64, uint64 or bool");
                }
                (Some(_), Some(_)) => return refuse("has different types in the two streams"),
                _ => return refuse("must be a column of both streams"),
            }
            if on.iter().any(|one| one == name) {
                return refuse("is given twice");
            }
            on.push(name.to_owned());
        }
        Ok(on)
    }

    /// Where the right window begins: the tolerance before the left one.
    fn right_start(&self, left: &WindowParams, snapshot: Option<&Token>) -> i64 {
        let by_hlc = left.time == TimeBasis::Hlc;
        let lowest = if by_hlc { 0 } else { i64::MIN };
        let Some(tolerance) = self.tolerance_ns else {
            return lowest;
        };
        let after = left.after.map(|place| match by_hlc {
            true => place.key.hlc.0,
            false => place.event.unwrap_or(lowest),
        });
        let start = after.map_or(left.start, |after| left.start.max(after));
        let start = start.saturating_sub(tolerance).max(lowest);
        // a page begins later than its first one did, and must not ask for what that did not have
        let left = snapshot.filter(|_| by_hlc).map(|token| token.kept_from.0);
        left.map_or(start, |left| start.max(left))
    }

    /// The right columns of the answer, with the stream's name before them: by default all that do
    /// not repeat the left row.
    fn right_columns(
        &self,
        left: &[(String, String)],
        on: &[String],
        right: &StreamSchema,
    ) -> Result<Vec<(String, String)>, QueryError> {
        let asked = self
            .right_columns
            .as_ref()
            .map(|names| columns(names, right));
        let asked = asked.transpose().map_err(|error| match error {
            QueryError::Parameter { reason, .. } => wrong("right_columns", &reason),
            other => other,
        })?;
        let all = || {
            let all = WindowParams::everything(right).columns.into_iter();
            all.filter(|name| !on.contains(name)).collect()
        };
        let named = asked.unwrap_or_else(all).into_iter().map(|name| {
            let shown = format!("{}_{name}", self.right);
            if left.iter().any(|(_, taken)| *taken == shown) {
                let reason = format!("the left stream has a column `{shown}` too: leave one out");
                return Err(wrong("columns", &reason));
            }
            Ok((name, shown))
        });
        named.collect()
    }
}

impl AsOfParams {
    /// What an error of the right window means for the start of the left one.
    pub(super) fn told_of_right(&self, error: QueryError) -> QueryError {
        match (error, self.tolerance_ns) {
            (QueryError::Gone { from }, Some(tolerance)) => QueryError::Gone {
                from: from.saturating_add(tolerance),
            },
            (error, _) => error,
        }
    }
}

/// The tokens of a snapshot or a cursor, which must have both streams.
fn tokens(
    (left, right): (&String, &String),
    snapshot: Option<&str>,
    cursor: Option<&str>,
) -> Result<Tokens, QueryError> {
    let (name, text) = match (snapshot, cursor) {
        (None, None) => return Ok(Tokens::default()),
        (Some(_), Some(_)) => return Err(wrong("snapshot", "the cursor has one already")),
        (Some(text), None) => ("snapshot", text),
        (None, Some(text)) => ("cursor", text),
    };
    let tokens: Tokens = text
        .parse()
        .map_err(|error| wrong(name, &format!("{error}")))?;
    for stream in [left, right] {
        let Some(token) = tokens.0.get(stream) else {
            let stream: String = stream.chars().take(128).collect();
            return Err(wrong(name, &format!("has no token of stream `{stream}`")));
        };
        let is_place = name == "cursor" && stream == left;
        match (is_place, token.after.is_some()) {
            (false, true) => return Err(wrong(name, "this is a cursor: use `cursor`")),
            (true, false) => return Err(wrong(name, "this is a snapshot: use `snapshot`")),
            _ => {}
        }
        if left == right {
            break;
        }
    }
    Ok(tokens)
}

fn tolerance_ns(text: &str) -> Result<i64, QueryError> {
    let tolerance = parse_duration_ns(text);
    let tolerance = tolerance.map_err(|error| wrong("tolerance", &error.to_string()))?;
    match TOLERANCES.contains(&tolerance) {
        true => Ok(tolerance),
        false => Err(wrong("tolerance", "use at most 3660d")),
    }
}

fn type_of(schema: &StreamSchema, name: &str) -> Option<tourbillon_core::schema::ColumnType> {
    let index = schema.index_of(name)?;
    Some(schema.columns()[index].ty)
}

/// The filters that hold for the right rows too, because the column is joined on.
fn filters(left: &[KeyFilter], on: &[String], right: &StreamSchema) -> Vec<KeyFilter> {
    let holds = |filter: &&KeyFilter| {
        on.contains(&filter.column) && right.key_names().any(|key| key == filter.column)
    };
    left.iter().filter(holds).cloned().collect()
}

/// The columns of a window, each once.
fn needed(answer: &[(String, String)], on: &[String], time: &str) -> Vec<String> {
    let mut needed: Vec<String> = Vec::new();
    let of_answer = answer.iter().map(|(name, _)| name.as_str());
    let joined = on.iter().map(String::as_str).chain([time]);
    for name in of_answer.chain(joined) {
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

    fn parse(query: &[(&str, &str)]) -> Result<AsOfParams, QueryError> {
        let [(_, trades), (_, quotes)] = builtin_streams();
        let pairs = query
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let request = AsOfRequest::parse(&pairs.collect::<Vec<_>>())?;
        request.checked(&trades, &quotes)
    }

    const BOTH: [(&str, &str); 2] = [("left", "trades"), ("right", "quotes")];

    #[test]
    fn the_right_window_begins_the_tolerance_before_the_left() {
        let start = ("start", "5000000000");
        let params = parse(&[BOTH[0], BOTH[1], start, ("tolerance", "2s")]).unwrap();
        assert_eq!(
            (params.left.start, params.right.start),
            (5_000_000_000, 3_000_000_000)
        );
        assert_eq!(params.on, ["venue", "symbol"]);
        assert_eq!(params.right_columns[2].1, "quotes_ts_event");
        let params = parse(&[BOTH[0], BOTH[1], start, ("time", "event")]).unwrap();
        assert_eq!(params.right.start, i64::MIN);
        let some = [
            BOTH[0],
            BOTH[1],
            ("key.venue", "X"),
            ("on", "symbol"),
            ("columns", "price"),
            ("right_columns", "bid"),
        ];
        let params = parse(&some).unwrap();
        assert_eq!(params.left.columns, ["price", "symbol", "hlc"]);
        assert_eq!(params.right.columns, ["bid", "symbol", "hlc"]);
        assert_eq!((params.left.keys.len(), params.right.keys.len()), (1, 0));
    }

    #[test]
    fn names_the_parameter_that_is_wrong() {
        let bad: [(&str, &str); 13] = [
            ("left", "trades"),
            ("order", "desc"),
            ("on", "price"),
            ("on", "side"),
            ("on", "venue,venue"),
            ("tolerance", "1"),
            ("tolerance", "9999d"),
            ("columns", "bid"),
            ("right_columns", "price"),
            ("snapshot", "1.5"),
            ("snapshot", "trades=1.5"),
            ("snapshot", "trades=1.5.k1-1;quotes=1.3"),
            ("cursor", "trades=1.5;quotes=1.3"),
        ];
        for (name, value) in bad {
            let error = parse(&[BOTH[0], BOTH[1], (name, value)])
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(&format!("{name}: ")), "{name}: {error}");
        }
        assert!(
            parse(&BOTH[..1])
                .unwrap_err()
                .to_string()
                .starts_with("right: ")
        );
    }
}
