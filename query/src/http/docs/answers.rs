//! Answers and problems in the OpenAPI document.

use std::collections::BTreeMap;

use serde_json::Value;
use tourbillon_core::problem::problem_responses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Content, RefOr, Response, ResponseBuilder};

use crate::encode::OutputFormat;

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
pub fn rows(meaning: &str) -> ResponseBuilder {
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
