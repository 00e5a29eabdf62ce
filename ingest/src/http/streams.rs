//! Definitions of streams.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use serde::Deserialize;
use tourbillon_core::control::{ColumnSpec, StreamDef, StreamDescription, StreamList};
use tourbillon_core::ids::StreamName;
use tourbillon_core::problem::StreamProblems;
use tourbillon_core::time::parse_duration_ns;
use tourbillon_log::control::StreamRequest;

use super::body::Upload;
use super::docs::{BodyProblems, ContentEncoding, StreamPath};
use super::problem::Problem;
use super::query;
use crate::error::IngestError;
use crate::gateway::Gateway;

/// What a client wants of a stream; what it leaves out stays or takes the default.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamDefinition)]
pub(super) struct Wanted {
    /// All columns, or those to be added.
    #[serde(default)]
    columns: Vec<ColumnSpec>,
    /// Names of the columns that say to which partition a row goes. Fixed once the stream exists.
    #[schema(example = json!(["venue", "symbol"]))]
    key: Option<Vec<String>>,
    /// Name of the timestamp column that holds the event time. Fixed once the stream exists.
    event_time: Option<String>,
    /// Number of partitions; it may only grow.
    #[schema(minimum = 1, maximum = 1024)]
    partitions: Option<u32>,
    /// How long a segment's rows span at most, 100ms to 1d. Fixed once the stream exists.
    #[schema(pattern = "^[0-9]+(ns|us|ms|s|m|h|d)$", example = "10s")]
    window: Option<String>,
    /// The span whose segments become one file, 1s to 1d, or `off`. Fixed once the stream exists.
    #[schema(pattern = "^(off|[0-9]+(ns|us|ms|s|m|h|d))$", example = "1h")]
    compaction: Option<String>,
    /// Age at which rows go, at least the span of compaction, or `off`.
    #[schema(pattern = "^(off|[0-9]+(ns|us|ms|s|m|h|d))$", example = "off")]
    retention: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

/// The stream called `name`, even if it was made elsewhere a moment ago.
pub(super) async fn find(gateway: &Gateway, name: &str) -> Result<Arc<StreamDef>, IngestError> {
    let unknown = || IngestError::UnknownStream(name.chars().take(128).collect());
    let known = StreamName::new(name).map_err(|_| unknown())?;
    let control = gateway.control();
    let found = control.view().streams.get(&known).map(Arc::clone);
    if let Some(def) = found {
        return Ok(def);
    }
    control
        .catch_up()
        .await
        .map_err(IngestError::ControlTopic)?;
    control
        .view()
        .streams
        .get(&known)
        .map(Arc::clone)
        .ok_or_else(unknown)
}

/// List streams
#[utoipa::path(
    get,
    path = "/v1/streams",
    tag = "streams",
    responses((status = 200, description = "All streams.", body = StreamList), StreamProblems)
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Json<StreamList>, Problem> {
    let NoParameters {} = query(request.uri())?;
    let view = gateway.control().view();
    let streams = view.streams.values().map(|def| def.describe()).collect();
    Ok(Json(StreamList { streams }))
}

/// Show a stream
#[utoipa::path(
    get,
    path = "/v1/streams/{stream}",
    tag = "streams",
    params(StreamPath),
    responses((status = 200, description = "The stream.", body = StreamDescription), StreamProblems)
)]
pub(super) async fn show(
    State(gateway): State<Gateway>,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Json<StreamDescription>, Problem> {
    let NoParameters {} = query(request.uri())?;
    Ok(Json(find(&gateway, &stream).await?.describe()))
}

/// Make a stream
///
/// Or add nullable columns and partitions to one, or change its retention. What is left out stays,
/// or takes the default.
#[utoipa::path(
    put,
    path = "/v1/streams/{stream}",
    tag = "streams",
    params(StreamPath, ContentEncoding),
    request_body = Wanted,
    responses(
        (status = 200, description = "The stream as it is now.", body = StreamDescription),
        BodyProblems,
    )
)]
pub(super) async fn put(
    State(gateway): State<Gateway>,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Json<StreamDescription>, Problem> {
    let (head, body) = request.into_parts();
    let NoParameters {} = query(&head.uri)?;
    let (document, _held) = Upload::read(&gateway, &head.headers, body)
        .await?
        .decompress()?;
    let wanted: Wanted = serde_json::from_slice(&document)
        .map_err(|error| IngestError::request("stream definition", error.to_string()))?;
    let request = StreamRequest {
        name: stream,
        columns: wanted.columns,
        key: wanted.key,
        event_time: wanted.event_time,
        partitions: wanted.partitions,
        window_ns: duration("window", wanted.window.as_deref())?,
        compaction_ns: duration_or_off("compaction", wanted.compaction.as_deref())?,
        retention_ns: duration_or_off("retention", wanted.retention.as_deref())?,
    };
    let def = gateway.control().ensure_stream(&request).await?;
    Ok(Json(def.describe()))
}

fn duration(field: &'static str, text: Option<&str>) -> Result<Option<i64>, IngestError> {
    let parsed = text.map(parse_duration_ns).transpose();
    parsed.map_err(|error| IngestError::request(field, error.to_string()))
}

fn duration_or_off(field: &'static str, text: Option<&str>) -> Result<Option<i64>, IngestError> {
    match text {
        Some("off") => Ok(Some(0)),
        text => duration(field, text),
    }
}
