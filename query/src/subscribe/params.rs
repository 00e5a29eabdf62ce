//! The parameters of a subscription, checked against the stream.

use tourbillon_core::schema::StreamSchema;
use tourbillon_core::time::parse_time_ns;

use super::place::Place;
use crate::error::QueryError;
use crate::params::{WindowParams, columns, key_filter, wrong};

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the first row that is left.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With this stamp, HLC.
    Time(i64),
    /// After what a subscriber has.
    Cursor(Place),
}

/// A subscription as asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscribeParams {
    /// Where it begins.
    pub from: Begin,
    /// Rows at once, and not when they are final.
    pub eager: bool,
    /// So many times as fast as the rows came; as fast as possible if absent.
    pub speed: Option<f64>,
    /// Filters and columns.
    pub window: WindowParams,
}

impl SubscribeParams {
    /// Reads decoded query pairs; the id of the last event that a client has seen comes before
    /// what it asked for when it began.
    pub fn parse(
        pairs: &[(String, String)],
        last_event: Option<&str>,
        schema: &StreamSchema,
    ) -> Result<Self, QueryError> {
        let mut params = Self {
            from: Begin::Latest,
            eager: false,
            speed: None,
            window: WindowParams::everything(schema),
        };
        let (mut seen, mut mode): (Vec<&str>, Option<bool>) = (Vec::new(), None);
        for (name, value) in pairs {
            if seen.contains(&name.as_str()) {
                return Err(wrong(name, "is given twice"));
            }
            seen.push(name);
            match name.as_str() {
                "from" => params.from = from(value)?,
                "mode" => mode = Some(eager(value)?),
                "speed" => params.speed = speed(value)?,
                "columns" => params.window.columns = columns(value, schema)?,
                _ => {
                    let known = "from, mode, speed, key.<column> and columns";
                    params.window.keys.push(key_filter(name, value, known)?);
                }
            }
        }
        if let Some(id) = last_event {
            params.from = Begin::Cursor(cursor("Last-Event-ID", id)?);
        }
        params.eager = match (&params.from, mode) {
            (Begin::Cursor(place), asked) => {
                let own = matches!(place, Place::Eager(_));
                if asked.is_some_and(|asked| asked != own) {
                    return Err(wrong("mode", "the cursor is one of the other mode"));
                }
                own
            }
            (_, asked) => asked.unwrap_or(false),
        };
        if params.eager && params.speed.is_some() {
            return Err(wrong("speed", "eager rows come at their own pace"));
        }
        Ok(params)
    }
}

fn speed(value: &str) -> Result<Option<f64>, QueryError> {
    if value == "max" {
        return Ok(None);
    }
    let speed = value.parse().ok();
    let speed = speed.filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    let reason = "use `max` or how many times as fast, above 0";
    Ok(Some(speed.ok_or_else(|| wrong("speed", reason))?))
}

fn from(value: &str) -> Result<Begin, QueryError> {
    match value {
        "earliest" => Ok(Begin::Earliest),
        "latest" => Ok(Begin::Latest),
        _ if value.starts_with(['o', 'e']) => Ok(Begin::Cursor(cursor("from", value)?)),
        _ => {
            let time = parse_time_ns(value);
            let time = time.map_err(|source| QueryError::Time {
                name: "from",
                source,
            });
            Ok(Begin::Time(time?))
        }
    }
}

fn eager(value: &str) -> Result<bool, QueryError> {
    match value {
        "ordered" => Ok(false),
        "eager" => Ok(true),
        _ => Err(wrong("mode", "use `ordered` or `eager`")),
    }
}

fn cursor(name: &str, text: &str) -> Result<Place, QueryError> {
    text.parse()
        .map_err(|error: crate::token::TokenError| wrong(name, &error.to_string()))
}
