//! The query service's HTTP interface.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::time::sleep;
use tourbillon_core::control::{StreamDef, WriterPhase};
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::WriterId;
use tourbillon_core::problem::{PROBLEM_JSON, Problem};
use tourbillon_core::time::format_time_ns;

use crate::encode::{Encoder, OutputFormat};
use crate::error::QueryError;
use crate::params::{WindowParams, wrong};
use crate::rejects::RejectsParams;
use crate::service::QueryService;
use crate::subscribe;
use crate::token::Token;
use crate::window::Window;

/// Times that an answer is planned whose files are replaced before its first row is read.
const MAX_PLANS: u32 = 5;

/// Pause before it is planned again: the partition is looking at its chains meanwhile.
const REPLAN_PAUSE: Duration = Duration::from_millis(200);

/// Routes for clients that read.
pub fn router(service: QueryService) -> Router {
    Router::new()
        .route("/v1/streams/{stream}/window", get(window))
        .route("/v1/streams/{stream}/subscribe", get(subscribe::answer))
        .route("/v1/streams/{stream}/partitions", get(partitions))
        .route("/v1/streams/{stream}/files", get(files))
        .route("/v1/streams/{stream}/rejects", get(rejects))
        .route("/v1/writers", get(writers))
        .route("/v1/writers/{writer}/fence", post(fence))
        .with_state(service)
}

/// Routes that a gateway has too: mount them where there is none.
pub fn catalog(service: QueryService) -> Router {
    Router::new()
        .route("/v1/streams", get(streams))
        .route("/v1/streams/{stream}", get(stream_of))
        .with_state(service)
}

async fn window(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = OutputFormat::from_accept(accept)?;
    let def = service.find(&stream).await?;
    let def = service.as_new_as(def, &pairs).await?;
    let params = WindowParams::parse(&pairs, def.schema())?;
    let mut planned = 1;
    loop {
        match page(&service, &def, &params, &pairs, format).await {
            Err(QueryError::Moved(_)) if planned < MAX_PLANS => sleep(REPLAN_PAUSE).await,
            answered => return answered,
        }
        planned += 1;
    }
}

/// Plans an answer, and sends it once its first rows were read.
async fn page(
    service: &QueryService,
    def: &Arc<StreamDef>,
    params: &WindowParams,
    pairs: &[(String, String)],
    format: OutputFormat,
) -> Result<Response, QueryError> {
    let window = service.window(def, params).await?;
    let next = window
        .next
        .as_ref()
        .map(|cursor| next_page(def.name.as_str(), pairs, cursor));
    let mut response = answer(window, format).await?;
    if let Some(next) = next {
        response
            .headers_mut()
            .insert(header::LINK, header_value(&next));
    }
    Ok(response)
}

/// The same request again, from where this answer stopped. The cursor has the snapshot.
fn next_page(stream: &str, pairs: &[(String, String)], cursor: &Token) -> String {
    let mut link = format!("</v1/streams/{stream}/window?");
    let replaced = ["cursor", "snapshot", "at_least"];
    for (name, value) in pairs {
        if !replaced.contains(&name.as_str()) {
            link += &format!("{}={}&", percent_encoded(name), percent_encoded(value));
        }
    }
    link + &format!("cursor={cursor}>; rel=\"next\"")
}

fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        _ if byte.is_ascii_alphanumeric() || b"-._~,:".contains(&byte) => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Sends the first bytes only once there is a first batch, so that early errors have a status.
async fn answer(window: Window, format: OutputFormat) -> Result<Response, QueryError> {
    let headers = [
        ("content-type", format.content_type().to_owned()),
        ("tourbillon-snapshot", window.token.to_string()),
        (
            "tourbillon-complete-through",
            format_time_ns(window.complete_through.0),
        ),
        ("tourbillon-final", window.is_final.to_string()),
    ];
    let mut encoder = Encoder::new(format, &window.schema)?;
    let mut batches = window.batches;
    let first = match batches.try_next().await? {
        Some(batch) => encoder.encode(&batch)?,
        None => Bytes::new(),
    };
    let rest = stream::try_unfold(Some((batches, encoder)), |state| async move {
        let Some((mut batches, mut encoder)) = state else {
            return Ok(None);
        };
        match batches.try_next().await? {
            Some(batch) => {
                let bytes = encoder.encode(&batch)?;
                Ok(Some((bytes, Some((batches, encoder)))))
            }
            None => Ok(Some((encoder.finish()?, None))),
        }
    });
    let rest = rest.inspect_err(|error: &QueryError| {
        tracing::error!(error = error_chain(error), "answer broken off");
    });
    let body = stream::once(async { Ok(first) }).chain(rest);
    let mut response = Body::from_stream(body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, header_value(&value));
    }
    Ok(response)
}

async fn partitions(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, QueryError> {
    no_parameters(&pairs)?;
    let def = service.find(&stream).await?;
    let complete = service.complete_through(&def).ok();
    let mut rows = Vec::new();
    for partition in service.partitions(&def)? {
        let summary = partition.summary();
        let end = service.log.range(&partition.at).await?.end;
        rows.push(json!({
            "partition": partition.number.0,
            "commit": summary.commits.checked_sub(1),
            "segments": summary.segments,
            "next_offset": summary.next_offset.0,
            "log_end": end.0,
            "lag": end.0.saturating_sub(summary.next_offset.0),
            "watermark": format_time_ns(summary.watermark.0),
            "unsealed_rows": summary.tail_rows,
            "sealed_rows": summary.sealed_rows,
            "accepted_rows": summary.counts.accepted,
            "duplicate_rows": summary.counts.duplicate,
            "rejected_rows": summary.counts.rejected,
            "writers": summary.members.iter().map(|(writer, _)| writer.0).collect::<Vec<_>>(),
            "caught_up": summary.caught_up,
            "stopped": summary.stopped,
        }));
    }
    Ok(Json(json!({
        "stream": def.name.as_str(),
        "complete_through": complete.map(|t| format_time_ns(t.0)),
        "partitions": rows,
    })))
}

/// The files that hold the stream's sealed rows, each row in one of them.
async fn files(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, QueryError> {
    no_parameters(&pairs)?;
    let def = service.find(&stream).await?;
    let mut files = Vec::new();
    for partition in service.partitions(&def)? {
        let everything = Hlc(i64::MIN)..Hlc(i64::MAX);
        for file in partition.view(&stream, &everything, None)?.segments {
            files.push(json!({
                "partition": partition.number.0,
                "path": format!("{stream}/{}", file.name),
                "rows": file.rows,
                "bytes": file.bytes,
                "first_hlc": file.first_key.hlc.0,
                "last_hlc": file.last_key.hlc.0,
                "file_hash": file.file_hash,
                "rows_root": file.rows_root,
            }));
        }
    }
    Ok(Json(json!({ "store": service.lake.url(), "files": files })))
}

async fn rejects(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, QueryError> {
    let def = service.find(&stream).await?;
    let params = RejectsParams::parse(&pairs)?;
    Ok(Json(service.rejects(&def, &params).await?))
}

async fn fence(
    State(service): State<QueryService>,
    Path(writer): Path<u32>,
) -> Result<Response, QueryError> {
    let phase = service.fence(WriterId(writer)).await?;
    let answer = json!({ "writer": writer, "state": phase_name(phase) });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

fn phase_name(phase: WriterPhase) -> &'static str {
    match phase {
        WriterPhase::Joined => "joined",
        WriterPhase::FenceIntended => "fence_intended",
        WriterPhase::Fenced => "fenced",
        WriterPhase::Left => "left",
    }
}

fn no_parameters(pairs: &[(String, String)]) -> Result<(), QueryError> {
    match pairs.first() {
        Some((name, _)) => Err(wrong(name, "unknown parameter: there are none")),
        None => Ok(()),
    }
}

async fn writers(
    State(service): State<QueryService>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, QueryError> {
    no_parameters(&pairs)?;
    let view = service.control_view();
    let writer = |(id, info): (&WriterId, &tourbillon_core::control::WriterInfo)| {
        // a writer tells its clock with its first ALIVE
        let told = (info.last_hlc > Hlc::MIN).then_some(info.last_hlc.0);
        json!({
            "writer": id.0,
            "gateway": info.gateway,
            "state": phase_name(info.phase),
            "last_hlc": told.map(format_time_ns),
            "last_seen": format_time_ns(info.last_append_ns),
            "drift_ms": told.map(|hlc| (hlc - info.last_append_ns) / 1_000_000),
        })
    };
    let writers: Vec<_> = view.writers.iter().map(writer).collect();
    Ok(Json(json!({ "writers": writers })))
}

async fn streams(
    State(service): State<QueryService>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, QueryError> {
    no_parameters(&pairs)?;
    let view = service.control_view();
    let streams: Vec<_> = view.streams.values().map(|def| def.describe()).collect();
    Ok(Json(json!({ "streams": streams })))
}

async fn stream_of(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, QueryError> {
    no_parameters(&pairs)?;
    Ok(Json(service.find(&stream).await?.describe()))
}

impl QueryError {
    /// The error as clients of HTTP see it, with what helps them further.
    pub fn problem(&self) -> Problem {
        let mut problem = Problem::new(self.http_status(), self.kind(), error_chain(self));
        let mut more = |name: &str, value: Value| problem.more.insert(name.into(), value);
        match self {
            Self::Incomplete {
                complete_through,
                holders,
                ..
            } => {
                let holders = holders.iter().map(|holder| {
                    json!({
                        "partition": holder.partition,
                        "watermark": format_time_ns(holder.watermark),
                        "writers": holder.writers,
                    })
                });
                more("complete_through", format_time_ns(*complete_through).into());
                more("held_back_by", holders.collect());
            }
            Self::Gone { from } => {
                more("kept_from", format_time_ns(*from).into());
            }
            _ => {}
        }
        problem
    }
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        if matches!(self.kind(), ErrorKind::Internal | ErrorKind::Data) {
            tracing::error!(error = error_chain(&self), "query failed");
        }
        problem_response(&self.problem())
    }
}

/// A problem as an answer.
pub fn problem_response(problem: &Problem) -> Response {
    let text = serde_json::to_vec(problem).unwrap_or_default();
    let status = StatusCode::from_u16(problem.status);
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], text).into_response();
    if let Some(seconds) = problem.retry_after_s() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
