//! Definitions of streams.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use serde::Deserialize;
use serde_json::{Value, json};
use tourbillon_core::control::{ColumnSpec, StreamDef};
use tourbillon_core::ids::StreamName;
use tourbillon_core::time::parse_duration_ns;
use tourbillon_log::control::StreamRequest;

use super::body::Upload;
use super::problem::Problem;
use super::query;
use crate::error::IngestError;
use crate::gateway::Gateway;

/// What a client wants of a stream; what it leaves out stays or takes the default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    columns: Vec<ColumnSpec>,
    key: Option<Vec<String>>,
    event_time: Option<String>,
    partitions: Option<u32>,
    window: Option<String>,
    compaction: Option<String>,
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

/// `GET /v1/streams`.
pub(super) async fn list(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let NoParameters {} = query(request.uri())?;
    let view = gateway.control().view();
    let streams = view
        .streams
        .values()
        .map(|def| def.describe())
        .collect::<Vec<_>>();
    Ok(Json(json!({ "streams": streams })))
}

/// `GET /v1/streams/{stream}`.
pub(super) async fn show(
    State(gateway): State<Gateway>,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let NoParameters {} = query(request.uri())?;
    Ok(Json(find(&gateway, &stream).await?.describe()))
}

/// `PUT /v1/streams/{stream}`: makes a stream, or adds columns and partitions to one.
pub(super) async fn put(
    State(gateway): State<Gateway>,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
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
