//! What the OpenAPI document says of several requests: headers, paths and problems.

use std::collections::BTreeMap;

use tourbillon_core::problem::{Problem, problem_responses};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Response, Schema};

use super::{events, influx, streams};

/// The document of [`super::router`].
pub fn api() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        paths(
            streams::list,
            streams::show,
            streams::put,
            events::post,
            influx::write,
            influx::write_v2,
            influx::write_v3,
            influx::settings,
            influx::ping,
            influx::health,
        ),
        components(schemas(Problem)),
        tags(
            (name = "streams", description = "Definitions of streams."),
            (name = "ingest", description = "Events in."),
            (name = "line protocol", description = "Events in, as clients of InfluxDB and QuestDB send them."),
        )
    )]
    struct Api;
    <Api as utoipa::OpenApi>::openapi()
}

/// The stream of a path.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct StreamPath {
    /// Name of the stream.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        example = "trades"
    )]
    stream: String,
}

/// Who sends.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a schema; `events::source` reads them")]
pub(super) struct SourceHeaders {
    /// The client's name. Needs `Tourbillon-Sequence`.
    #[param(
        rename = "Tourbillon-Source",
        required = false,
        min_length = 1,
        max_length = 128,
        pattern = "^[!-~]+$",
        example = "feed-7"
    )]
    source: String,
    /// The client's number for this request. At most 1024 of a source may be in flight.
    #[param(rename = "Tourbillon-Sequence", required = false, inline)]
    sequence: Sequence,
}

/// Any `u64`, which no format of OpenAPI says.
#[derive(Debug)]
struct Sequence;

impl utoipa::PartialSchema for Sequence {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0_usize))
            .maximum(Some(usize::MAX))
            .into()
    }
}

impl utoipa::ToSchema for Sequence {}

/// What the client has seen.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct StampHeader {
    /// An HLC that the client has seen: stamps will lie above it.
    #[param(rename = "Tourbillon-HLC", required = false)]
    hlc: i64,
}

/// Bytes.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct Binary(String);

/// How a body is compressed.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema")]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// How the body is compressed.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct ContentEncoding {
    /// How the body is compressed.
    #[param(rename = "Content-Encoding", required = false, inline)]
    encoding: Encoding,
}

const BODY: [(u16, &str); 7] = [
    (
        400,
        "The body, a row, a header or a parameter is wrong: `detail` names it, `rows` the rows.",
    ),
    (408, "The body stopped coming for 30 s."),
    (413, "The body is over the limit: split it."),
    (415, "No such content type, or content encoding."),
    (
        429,
        "More bytes in flight than allowed: send less at a time.",
    ),
    (500, "A bug: see the service's log."),
    (
        503,
        "Not ready, or indeterminate: repeat the request with the same source and sequence.",
    ),
];

/// What a request with a body can be answered with instead.
pub(super) struct BodyProblems;

impl utoipa::IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problem_responses(&BODY)
    }
}

/// What events can be answered with instead.
pub(super) struct EventProblems;

impl utoipa::IntoResponses for EventProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut answers = problem_responses(&BODY);
        answers.extend(problem_responses(&[(404, "There is no such stream.")]));
        answers
    }
}
