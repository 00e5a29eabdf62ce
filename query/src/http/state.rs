//! What a node knows of streams, partitions, files and writers.

use std::ops::Range;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Serialize;
use tourbillon_core::control::{StreamDescription, StreamList, WriterInfo, WriterPhase};
use tourbillon_core::digest::Digest;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::WriterId;
use tourbillon_core::problem::StreamProblems;
use tourbillon_core::time::{format_time_ns, parse_time_ns};

use super::docs::{FilesQuery, StreamName, WriterProblems};
use crate::error::QueryError;
use crate::params::wrong;
use crate::partition::Partition;
use crate::rejects::{RejectList, RejectsParams, RejectsQuery};
use crate::service::QueryService;

/// The partitions of a stream.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct PartitionList {
    stream: String,
    /// How far all of them are complete; null while the node catches up.
    #[schema(format = DateTime)]
    complete_through: Option<String>,
    partitions: Vec<PartitionState>,
}

/// A partition as this node sees it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Partition)]
struct PartitionState {
    partition: u32,
    /// The newest commit; null before the first.
    commit: Option<u64>,
    /// Files that hold its sealed rows.
    segments: usize,
    /// Offset after the last record that was read.
    next_offset: u64,
    /// Offset after the log's last record.
    log_end: u64,
    /// Records that were not read yet.
    lag: u64,
    /// How far it is complete.
    #[schema(format = DateTime)]
    watermark: String,
    unsealed_rows: u64,
    sealed_rows: u64,
    accepted_rows: u64,
    duplicate_rows: u64,
    rejected_rows: u64,
    /// Ids of the writers that are open.
    writers: Vec<u32>,
    /// Whether the node has read the log up to where it began to follow it.
    caught_up: bool,
    /// Why it is followed no further; null as it should be.
    stopped: Option<String>,
}

/// The files of a stream, each sealed row in one of them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct FileList {
    /// Address of the store.
    store: String,
    files: Vec<FileState>,
}

/// A Parquet file.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = File)]
struct FileState {
    partition: u32,
    /// Path below the store's address.
    path: String,
    rows: u64,
    bytes: u64,
    /// Stamp of its first row.
    first_hlc: i64,
    /// Stamp of its last row.
    last_hlc: i64,
    /// BLAKE3 of its bytes, in hexadecimal.
    #[schema(value_type = String)]
    file_hash: Digest,
    /// Digest of its rows, in hexadecimal.
    #[schema(value_type = String)]
    rows_root: Digest,
}

/// Gateways' writers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct WriterList {
    writers: Vec<WriterState>,
}

/// A writer: one incarnation of a gateway.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Writer)]
struct WriterState {
    writer: u32,
    /// Name of its gateway.
    gateway: String,
    #[schema(inline)]
    state: Phase,
    /// The last stamp that it told; null before the first.
    #[schema(format = DateTime)]
    last_hlc: Option<String>,
    /// When it last spoke, by the log's clock.
    #[schema(format = DateTime)]
    last_seen: String,
    /// Its lease: how long after that it may acknowledge rows.
    lease_ms: i64,
    /// How far its clock was ahead of the log's then.
    drift_ms: Option<i64>,
}

/// A writer that is to be removed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Fencing {
    writer: u32,
    #[schema(inline)]
    state: Phase,
}

/// Where a writer is in its life.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Joined,
    FenceIntended,
    Fenced,
    Left,
}

impl From<WriterPhase> for Phase {
    fn from(phase: WriterPhase) -> Self {
        match phase {
            WriterPhase::Joined => Self::Joined,
            WriterPhase::FenceIntended => Self::FenceIntended,
            WriterPhase::Fenced => Self::Fenced,
            WriterPhase::Left => Self::Left,
        }
    }
}

/// Show the partitions of a stream
///
/// Newest commit, offsets, lag, watermark, and how many rows are sealed, unsealed, duplicate and
/// rejected.
#[utoipa::path(
    get,
    path = "/v1/streams/{stream}/partitions",
    tag = "state",
    params(StreamName),
    responses((status = 200, description = "The partitions.", body = PartitionList), StreamProblems)
)]
pub(super) async fn partitions(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<PartitionList>, QueryError> {
    no_parameters(&pairs)?;
    let def = service.find(&stream).await?;
    let complete = service.complete_through(&def).ok();
    let mut partitions = Vec::new();
    for partition in service.partitions(&def)? {
        let end = service.log.range(&partition.at).await?.end;
        partitions.push(PartitionState::of(&partition, end.0));
    }
    Ok(Json(PartitionList {
        stream: def.name.as_str().to_owned(),
        complete_through: complete.map(|t| format_time_ns(t.0)),
        partitions,
    }))
}

impl PartitionState {
    fn of(partition: &Partition, log_end: u64) -> Self {
        let summary = partition.summary();
        Self {
            partition: partition.number.0,
            commit: summary.commits.checked_sub(1),
            segments: summary.segments,
            next_offset: summary.next_offset.0,
            log_end,
            lag: log_end.saturating_sub(summary.next_offset.0),
            watermark: format_time_ns(summary.watermark.0),
            unsealed_rows: summary.tail_rows,
            sealed_rows: summary.sealed_rows,
            accepted_rows: summary.counts.accepted,
            duplicate_rows: summary.counts.duplicate,
            rejected_rows: summary.counts.rejected,
            writers: summary.members.iter().map(|(writer, _)| writer.0).collect(),
            caught_up: summary.caught_up,
            stopped: summary.stopped,
        }
    }
}

/// List the Parquet files of a stream
///
/// They hold the sealed rows, each row in one of them. With `start` and `end`, those alone that reach
/// into that range of stamps.
#[utoipa::path(
    get,
    path = "/v1/streams/{stream}/files",
    tag = "state",
    params(StreamName, FilesQuery),
    responses((status = 200, description = "The files.", body = FileList), StreamProblems)
)]
pub(super) async fn files(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<FileList>, QueryError> {
    let range = range_of(&pairs)?;
    let def = service.find(&stream).await?;
    let mut files = Vec::new();
    for partition in service.partitions(&def)? {
        for file in partition.view(&stream, &range, None)?.segments {
            files.push(FileState {
                partition: partition.number.0,
                path: format!("{stream}/{}", file.name),
                rows: file.rows,
                bytes: file.bytes,
                first_hlc: file.first_key.hlc.0,
                last_hlc: file.last_key.hlc.0,
                file_hash: file.file_hash,
                rows_root: file.rows_root,
            });
        }
    }
    let store = service.lake.url().to_owned();
    Ok(Json(FileList { store, files }))
}

/// The stamps between which files are wanted.
fn range_of(pairs: &[(String, String)]) -> Result<Range<Hlc>, QueryError> {
    let mut range = Hlc(i64::MIN)..Hlc(i64::MAX);
    for (at, (name, value)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(wrong(name, "is given twice"));
        }
        let time = |name| parse_time_ns(value).map_err(|source| QueryError::Time { name, source });
        match name.as_str() {
            "start" => range.start = Hlc(time("start")?),
            "end" => range.end = Hlc(time("end")?),
            _ => return Err(wrong(name, "unknown parameter: there are start and end")),
        }
    }
    match range.end < range.start {
        true => Err(wrong("end", "lies before start")),
        false => Ok(range),
    }
}

/// List frames that broke the protocol
///
/// By partition and offset: where they lie, why they were refused, what they were.
#[utoipa::path(
    get,
    path = "/v1/streams/{stream}/rejects",
    tag = "state",
    params(StreamName, RejectsQuery),
    responses((status = 200, description = "The frames.", body = RejectList), StreamProblems)
)]
pub(super) async fn rejects(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<RejectList>, QueryError> {
    let def = service.find(&stream).await?;
    let params = RejectsParams::parse(&pairs)?;
    Ok(Json(service.rejects(&def, &params).await?))
}

/// List writers
///
/// Each is one incarnation of a gateway, with its state, its last stamp, and how far its clock
/// drifts from the log's.
#[utoipa::path(
    get,
    path = "/v1/writers",
    tag = "state",
    responses((status = 200, description = "The writers.", body = WriterList), WriterProblems)
)]
pub(super) async fn writers(
    State(service): State<QueryService>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<WriterList>, QueryError> {
    no_parameters(&pairs)?;
    let view = service.control_view();
    let writers = view.writers.iter().map(WriterState::of).collect();
    Ok(Json(WriterList { writers }))
}

impl WriterState {
    fn of((id, info): (&WriterId, &WriterInfo)) -> Self {
        // a writer tells its clock with its first ALIVE
        let told = (info.last_hlc > Hlc::MIN).then_some(info.last_hlc.0);
        Self {
            writer: id.0,
            gateway: info.gateway.clone(),
            state: info.phase.into(),
            last_hlc: told.map(format_time_ns),
            last_seen: format_time_ns(info.last_append_ns),
            lease_ms: info.lease_ns / 1_000_000,
            drift_ms: told.map(|hlc| (hlc - info.last_append_ns) / 1_000_000),
        }
    }
}

/// Remove a writer
///
/// For administrators. Announces that the writer is to be removed; a worker finishes it after
/// twice its lease.
#[utoipa::path(
    post,
    path = "/v1/writers/{writer}/fence",
    tag = "state",
    params(("writer" = u32, Path, description = "Its id.")),
    responses(
        (status = 202, description = "It is announced, or done already.", body = Fencing),
        WriterProblems,
    )
)]
pub(super) async fn fence(
    State(service): State<QueryService>,
    Path(writer): Path<u32>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<(StatusCode, Json<Fencing>), QueryError> {
    no_parameters(&pairs)?;
    let state = service.fence(WriterId(writer)).await?.into();
    Ok((StatusCode::ACCEPTED, Json(Fencing { writer, state })))
}

/// List streams
#[utoipa::path(
    get,
    path = "/v1/streams",
    tag = "streams",
    responses((status = 200, description = "All streams.", body = StreamList), StreamProblems)
)]
pub(super) async fn streams(
    State(service): State<QueryService>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<StreamList>, QueryError> {
    no_parameters(&pairs)?;
    let view = service.control_view();
    let streams = view.streams.values().map(|def| def.describe()).collect();
    Ok(Json(StreamList { streams }))
}

/// Show a stream
#[utoipa::path(
    get,
    path = "/v1/streams/{stream}",
    tag = "streams",
    params(StreamName),
    responses((status = 200, description = "The stream.", body = StreamDescription), StreamProblems)
)]
pub(super) async fn stream_of(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<StreamDescription>, QueryError> {
    no_parameters(&pairs)?;
    Ok(Json(service.find(&stream).await?.describe()))
}

fn no_parameters(pairs: &[(String, String)]) -> Result<(), QueryError> {
    match pairs.first() {
        Some((name, _)) => Err(wrong(name, "unknown parameter: there are none")),
        None => Ok(()),
    }
}
