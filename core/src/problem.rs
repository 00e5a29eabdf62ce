//! Error answers of the HTTP interface, after RFC 9457.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

use crate::error::ErrorKind;

/// Media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A bad row in a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProblemRow {
    /// Place in the body, from 1.
    pub row: u64,
    /// The column at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// What kind of error it is, as a URN.
    #[serde(rename = "type", default)]
    #[schema(example = "urn:tourbillon:problem:invalid")]
    pub kind: String,
    /// The status in words.
    #[serde(default)]
    pub title: String,
    /// HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What is wrong, with every cause.
    pub detail: String,
    /// Rows at fault, the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<ProblemRow>,
    /// Further members, such as who holds a window back.
    #[serde(flatten)]
    #[schema(value_type = MoreMembers)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// The members that a problem may have besides, for the OpenAPI document.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "a schema; the members are put together where they are known"
)]
struct MoreMembers {
    /// The request's id, as in `X-Request-Id` and in the log of the service.
    request_id: Option<String>,
    /// How many rows were refused.
    refused: Option<u64>,
    /// How far the stream is complete.
    #[schema(format = DateTime)]
    complete_through: Option<String>,
    /// Partitions that are not complete as far as was asked for.
    held_back_by: Option<Vec<HeldBackBy>>,
    /// From where on rows are left.
    #[schema(format = DateTime)]
    kept_from: Option<String>,
}

/// A partition that keeps a window from being complete.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct HeldBackBy {
    partition: u32,
    /// How far it is complete.
    #[schema(format = DateTime)]
    watermark: String,
    /// The writers that have not spoken since.
    writers: Vec<u32>,
}

impl Problem {
    /// A problem without rows.
    pub fn new(status: u16, kind: ErrorKind, detail: impl Into<String>) -> Self {
        let more = serde_json::Map::new();
        Self {
            kind: format!("urn:tourbillon:problem:{}", kind.as_str()),
            title: title(status).to_owned(),
            status,
            detail: detail.into(),
            rows: Vec::new(),
            more,
        }
    }

    /// Seconds after which to try again, if that can help.
    pub fn retry_after_s(&self) -> Option<u32> {
        matches!(self.status, 429 | 503).then_some(1)
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ if (400..500).contains(&status) => "Client Error",
        _ => "Internal Server Error",
    }
}

/// Documents answers of problems: a status, and when it is given.
pub fn problem_responses(statuses: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let answer = |(status, when): &(u16, &str)| {
        let schema = Ref::from_schema_name("Problem");
        let mut answer = ResponseBuilder::new()
            .description(*when)
            .content(PROBLEM_JSON, Content::new(Some(schema)));
        if matches!(status, 429 | 503) {
            let seconds = ObjectBuilder::new()
                .schema_type(Type::Integer)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)));
            let header = HeaderBuilder::new()
                .schema(Some(seconds))
                .description(Some("Seconds after which to try again."));
            answer = answer.header("Retry-After", header.build());
        }
        (status.to_string(), answer.build().into())
    };
    statuses.iter().map(answer).collect()
}

/// What any request to a stream can be answered with instead.
#[derive(Clone, Copy, Debug)]
pub struct StreamProblems;

impl utoipa::IntoResponses for StreamProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problem_responses(&[
            (
                400,
                "A parameter is unknown, repeated or wrong: `detail` names it.",
            ),
            (404, "There is no such stream."),
            (
                500,
                "Stored data is damaged, or a bug: see the service's log.",
            ),
            (503, "Not now: ask again."),
        ])
    }
}
