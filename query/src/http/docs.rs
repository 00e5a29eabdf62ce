//! What the OpenAPI document says of windows and subscriptions: parameters, answers, problems.
//!
//! Handlers read their parameters pair by pair, so these structs are never made; a test compares
//! them with what the handlers take.

#![allow(
    unused_qualifications,
    reason = "the macros of utoipa qualify everything"
)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tourbillon_core::problem::{Problem, problem_responses};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type,
};
use utoipa::openapi::{Content, OpenApi, RefOr, Response, ResponseBuilder, Schema};

use super::state;
use crate::encode::OutputFormat;
use crate::subscribe;

/// The document of [`super::router`].
pub fn api() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        paths(
            super::window,
            subscribe::answer,
            state::partitions,
            state::files,
            state::rejects,
            state::writers,
            state::fence,
        ),
        components(schemas(Problem)),
        tags(
            (name = "rows", description = "Rows in the order of the stream: windows and subscriptions."),
            (name = "state", description = "Partitions, files and writers."),
        )
    )]
    struct Api;
    <Api as utoipa::OpenApi>::openapi()
}

/// The document of [`super::catalog`].
pub fn catalog_api() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(state::streams, state::stream_of), components(schemas(Problem)))]
    struct Api;
    <Api as utoipa::OpenApi>::openapi()
}

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

/// Parameters of a window.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; `WindowParams` reads them")]
pub(crate) struct WindowQuery {
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
    /// By (hlc, writer).
    #[param(inline)]
    order: Option<Order>,
    /// Most rows. Up to 65536 the answer has a `Link` to the next page.
    #[param(minimum = 1, example = 100)]
    limit: Option<u64>,
    /// Where a page begins; `Link` has it.
    #[param(pattern = r"^1\.[0-9.tfck-]+$")]
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

/// Rows in any of the formats of a window.
pub(crate) struct WindowAnswer;

impl utoipa::IntoResponses for WindowAnswer {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let told = [
            ("Tourbillon-Snapshot", "The token of these rows."),
            (
                "Tourbillon-Complete-Through",
                "How far the stream is complete, RFC 3339.",
            ),
            (
                "Tourbillon-Final",
                "Whether all of these rows are final: `true` or `false`.",
            ),
        ];
        let mut answer = rows("The rows.");
        for (name, meaning) in told {
            answer = answer.header(name, header(meaning).build());
        }
        let link = "`<..>; rel=\"next\"`: the next page, where `limit` cut this one short.";
        let answer = answer.header("Link", header(link).build());
        [("200".to_owned(), answer.build().into())].into()
    }
}

fn header(meaning: &str) -> HeaderBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new()
        .schema(Some(text))
        .description(Some(meaning))
}

/// An answer of rows, in each format that there is.
pub(crate) fn rows(meaning: &str) -> ResponseBuilder {
    let row = ObjectBuilder::new().description(Some(
        "A member for each column: decimals are numbers with all their digits, times are text.",
    ));
    let rows = ArrayBuilder::new()
        .items(RefOr::T(row.build().into()))
        .build();
    let answer = ResponseBuilder::new().description(meaning);
    OutputFormat::ALL.into_iter().fold(answer, |answer, format| {
        let content = match format {
            OutputFormat::Json => Content::new(Some(rows.clone())),
            OutputFormat::NdJson => example(
                "{\"hlc\":\"2026-01-31T14:30:00.000000001Z\",\"writer\":0,\"symbol\":\"AAPL\"}\n".into(),
            ),
            OutputFormat::Csv => example("hlc,writer,symbol\n2026-01-31T14:30:00.000000001Z,0,AAPL\n".into()),
            OutputFormat::Arrow | OutputFormat::Parquet => binary(),
        };
        answer.content(format.content_type(), content)
    })
}

fn example(text: Value) -> Content {
    let mut content = Content::new(Some(ObjectBuilder::new().schema_type(Type::String).build()));
    content.example = Some(text);
    content
}

fn binary() -> Content {
    let bytes = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
    Content::new(Some(bytes.build()))
}

/// Events without an end.
pub(crate) struct SubscribeAnswer;

impl utoipa::IntoResponses for SubscribeAnswer {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let event =
            "event: rows\nid: o1.1769869800000000001-0\ndata: {\"final\":true,\"rows\":[]}\n\n";
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let names = text().enum_values(Some(["rows", "watermark", "end"]));
        let one = ObjectBuilder::new()
            .description(Some("One event: its fields."))
            .property("event", names)
            .property("id", text().description(Some("A cursor.")))
            .property(
                "data",
                text().description(Some(
                    "An object in JSON: `rows`, `complete_through` or `reason`.",
                )),
            );
        let mut events = Content::new(Some(one.build()));
        events.example = Some(event.into());
        let events = ResponseBuilder::new()
            .description("Events, until the client goes.")
            .content("text/event-stream", events)
            .content(OutputFormat::Arrow.content_type(), binary());
        let socket = ResponseBuilder::new().description(
            "A WebSocket, whose messages are the events as JSON with `type` and `cursor`.",
        );
        [
            ("101".to_owned(), socket.build().into()),
            ("200".to_owned(), events.build().into()),
        ]
        .into()
    }
}

/// What a request for rows can be answered with instead.
pub(crate) struct RowProblems;

impl utoipa::IntoResponses for RowProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problem_responses(&[
            (
                400,
                "A parameter is unknown, repeated or wrong, or a token cannot be read: `detail` names the place.",
            ),
            (404, "There is no such stream."),
            (
                406,
                "None of the formats of `Accept` can be given: `detail` lists those that can.",
            ),
            (
                410,
                "It begins before what retention has left: `kept_from` says where that begins.",
            ),
            (
                500,
                "Stored data is damaged, or a bug: see the service's log.",
            ),
            (
                503,
                "Not complete in time (`held_back_by`), not followed far enough, or too many subscribers: ask again.",
            ),
        ])
    }
}

/// What a request about writers can be answered with instead.
pub(crate) struct WriterProblems;

impl utoipa::IntoResponses for WriterProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problem_responses(&[
            (400, "A parameter is unknown, or the id is no whole number."),
            (404, "There is no such writer."),
            (500, "A bug: see the service's log."),
            (503, "The log is out of reach: ask again."),
        ])
    }
}
