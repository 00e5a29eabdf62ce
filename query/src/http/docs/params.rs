//! Parameters in the OpenAPI document.
//!
//! Handlers read their parameters pair by pair, so these structs are never made; a test compares
//! them with what the handlers take.

#![allow(
    unused_qualifications,
    reason = "the macros of utoipa qualify everything"
)]

use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

/// The stream of a path.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a schema")]
pub(crate) struct StreamName {
    /// Name of the stream.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        example = "trades"
    )]
    stream: String,
}

/// Parameters of the list of files.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; the handler reads them")]
pub(crate) struct FilesQuery {
    /// Only files with rows from this stamp on.
    #[param(inline)]
    start: Option<Time>,
    /// Only files with rows below this stamp.
    #[param(inline)]
    end: Option<Time>,
}

/// Parameters of a window.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; `WindowParams` reads them")]
pub(crate) struct WindowQuery {
    /// `hlc`: the order of the stream; `event`: by event time, which `start` and `end` then mean.
    #[param(inline)]
    time: Option<TimeBasis>,
    /// First stamp; 410 if it lies before what retention has left. By default everything that is
    /// left.
    #[param(inline)]
    start: Option<Time>,
    /// Stamp after the last. By default as far as the stream is complete.
    #[param(inline)]
    end: Option<Time>,
    /// `key.COLUMN=A,B`: only rows whose key column has one of these values.
    #[param(inline, style = Form, explode = true)]
    key: Option<KeyFilters>,
    /// Only this partition.
    partition: Option<u32>,
    /// Columns of the answer, in this order, with commas: `hlc`, `writer`, `log_offset` and the
    /// stream's own. By default all but `log_offset`.
    #[param(min_length = 1, example = "hlc,symbol,price")]
    columns: Option<String>,
    /// By (hlc, writer), or by (event time, hlc, writer).
    #[param(inline)]
    order: Option<Order>,
    /// Most rows. Up to 65536 the answer has a `Link` to the next page.
    #[param(minimum = 1, example = 100)]
    limit: Option<u64>,
    /// Where a page begins; `Link` has it.
    #[param(pattern = r"^1\.[0-9.tfcek-]+$")]
    cursor: Option<String>,
    /// `final`: only what can never change, or 503 naming who holds it back; `latest`: all there
    /// is.
    #[param(inline)]
    consistency: Option<Consistency>,
    /// How long to wait until the window is complete, and the node as far as a token; at most 60s.
    #[param(inline)]
    wait: Option<Wait>,
    /// Only the rows that this token names, as `Tourbillon-Snapshot` of an answer has it. Not with
    /// `cursor`.
    #[param(pattern = r"^1\.[0-9.tfc-]+$", example = "1.12-40-7-0")]
    snapshot: Option<String>,
    /// A token, or the `positions` of an ingest answer (`0:17,3:5` or their JSON): wait until the
    /// node has followed that far, so that you read what you wrote.
    #[param(min_length = 1, example = "0:17,3:5")]
    at_least: Option<String>,
}

/// Parameters of bars.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; `BarsParams` reads them")]
pub(crate) struct BarsQuery {
    /// Length of a bar, 1ms to 1d. Bars begin at whole multiples of it since the epoch.
    #[param(
        pattern = r"^([1-9][0-9]{0,3}ms|[1-5]?[0-9]s|[1-9][0-9]?m|1h|1d)$",
        example = "1s"
    )]
    interval: String,
    /// The column of prices, a number; `price` by default.
    #[param(min_length = 1, example = "price")]
    price: Option<String>,
    /// The column of sizes, a number; `size` by default.
    #[param(min_length = 1, example = "size")]
    size: Option<String>,
    /// By which time rows go into bars, and which time `start` and `end` mean.
    #[param(inline)]
    time: Option<TimeBasis>,
    /// First time of rows.
    #[param(inline)]
    start: Option<Time>,
    /// Time after the last row. By default as far as the stream is complete.
    #[param(inline)]
    end: Option<Time>,
    /// `key.COLUMN=A,B`: only rows whose key column has one of these values.
    #[param(inline, style = Form, explode = true)]
    key: Option<KeyFilters>,
    /// Newest bars first or last.
    #[param(inline)]
    order: Option<Order>,
    /// Most bars. Up to 65536 the answer has a `Link` to the next page.
    #[param(minimum = 1, example = 100)]
    limit: Option<u64>,
    /// Where a page begins; `Link` has it.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// As for windows.
    #[param(inline)]
    consistency: Option<Consistency>,
    /// As for windows.
    #[param(inline)]
    wait: Option<Wait>,
    /// Only the rows that this token names.
    #[param(pattern = r"^1\.[0-9.tfc-]+$", example = "1.12-40-7-0")]
    snapshot: Option<String>,
    /// As for windows.
    #[param(min_length = 1, example = "0:17,3:5")]
    at_least: Option<String>,
}

/// Parameters of an as-of join.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; `AsOfRequest` reads them")]
pub(crate) struct AsOfQuery {
    /// The stream whose rows are all given.
    #[param(min_length = 1, example = "trades")]
    left: String,
    /// The stream of which the newest row that is not later is added to each.
    #[param(min_length = 1, example = "quotes")]
    right: String,
    /// Columns with equal values, with commas. By default the key columns that both have.
    #[param(min_length = 1, example = "venue,symbol")]
    on: Option<String>,
    /// How much older the right row may be; any age by default.
    #[param(pattern = r"^[0-9]+(ns|us|ms|s|m|h|d)$", example = "1s")]
    tolerance: Option<String>,
    /// By which time rows are joined, and which time `start` and `end` mean.
    #[param(inline)]
    time: Option<TimeBasis>,
    /// First time of left rows.
    #[param(inline)]
    start: Option<Time>,
    /// Time after the last left row. By default as far as both streams are complete.
    #[param(inline)]
    end: Option<Time>,
    /// `key.COLUMN=A,B`: only left rows whose key column has one of these values.
    #[param(inline, style = Form, explode = true)]
    key: Option<KeyFilters>,
    /// Columns of the left stream, with commas.
    #[param(min_length = 1, example = "hlc,symbol,price")]
    columns: Option<String>,
    /// Columns of the right stream, with commas; in the answer they bear its name.
    #[param(min_length = 1, example = "bid,ask")]
    right_columns: Option<String>,
    /// Most rows. Up to 65536 the answer has a `Link` to the next page.
    #[param(minimum = 1, example = 100)]
    limit: Option<u64>,
    /// Where a page begins; `Link` has it.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// As for windows.
    #[param(inline)]
    consistency: Option<Consistency>,
    /// As for windows.
    #[param(inline)]
    wait: Option<Wait>,
    /// `stream=token;stream=token`: only the rows that these tokens name.
    #[param(min_length = 1, example = "trades=1.12-40-7-0;quotes=1.9-9-9-9")]
    snapshot: Option<String>,
}

/// Parameters of a subscription.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; `SubscribeParams` reads them")]
pub(crate) struct SubscribeQuery {
    /// `earliest` (all that is left), `latest` (what comes from now on), a time, or a cursor.
    #[param(min_length = 1, default = "latest", example = "earliest")]
    from: Option<String>,
    /// `ordered`: final rows in the order of the stream; `eager`: rows at once. By default
    /// `ordered`, or the cursor's.
    #[param(inline)]
    mode: Option<Mode>,
    /// Ordered rows so many times as fast as their stamps lie apart, or `max`.
    #[param(pattern = r"^(max|[0-9]+(\.[0-9]+)?)$", default = "max")]
    speed: Option<String>,
    /// `key.COLUMN=A,B`: only rows whose key column has one of these values.
    #[param(inline, style = Form, explode = true)]
    key: Option<KeyFilters>,
    /// Columns of the rows, in this order, with commas. By default all but `log_offset`.
    #[param(min_length = 1, example = "hlc,symbol,price")]
    columns: Option<String>,
}

/// What a browser that lost its connection sends.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a schema")]
pub(crate) struct LastEventId {
    /// The cursor of the last event that a client has; it comes before `from`.
    #[param(rename = "Last-Event-ID", required = false, min_length = 1)]
    last_event_id: String,
}

/// RFC 3339 or integer nanoseconds since the epoch.
#[derive(utoipa::ToSchema)]
#[schema(example = "2026-01-31T14:30:00Z")]
#[serde(untagged)]
#[expect(dead_code, reason = "a schema")]
pub(crate) enum Time {
    /// Nanoseconds since the epoch.
    Ns(i64),
    /// RFC 3339, between the years 1678 and 2261.
    #[schema(format = DateTime)]
    Text(String),
}

/// Filters on key columns, each a parameter of its own.
#[derive(Debug)]
pub(crate) struct KeyFilters;

impl utoipa::PartialSchema for KeyFilters {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let name = text().pattern(Some(r"^key\.[A-Za-z_][A-Za-z0-9_]*$"));
        let values = text().pattern(Some("^.+$"));
        let values = AdditionalProperties::RefOr(values.build().into());
        ObjectBuilder::new()
            .property_names(Some(name.build()))
            .additional_properties(Some(values))
            .examples([json!({ "key.symbol": "BTCUSDT,ETHUSDT" })])
            .into()
    }
}

impl utoipa::ToSchema for KeyFilters {}

/// By (hlc, writer).
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case", default = "asc")]
#[expect(dead_code, reason = "a schema")]
enum Order {
    Asc,
    Desc,
}

/// Which time orders rows.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case", default = "hlc")]
#[expect(dead_code, reason = "a schema")]
enum TimeBasis {
    Hlc,
    Event,
}

/// What to do about rows that may still change.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case", default = "final")]
#[expect(dead_code, reason = "a schema")]
enum Consistency {
    Final,
    Latest,
}

/// How rows come.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema")]
enum Mode {
    Ordered,
    Eager,
}

/// A duration of at most 60s.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, default = "2s", pattern = "^([1-5]?[0-9]|60)s$|^[0-9]{1,4}ms$")]
#[expect(dead_code, reason = "a schema")]
struct Wait(String);
