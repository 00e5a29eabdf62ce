//! The worker's HTTP interface: which partitions it runs, and how far it is with them.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tourbillon_log::kafka::{KafkaGroup, Standing};
use utoipa::openapi::OpenApi;

use crate::Worker;

/// A worker, and the member of its group that assigns its partitions, if one does.
#[derive(Clone, Debug)]
struct Served {
    worker: Arc<Worker>,
    group: Option<Arc<KafkaGroup>>,
}

/// What a worker runs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Worker)]
struct WorkerState {
    /// Its membership; null if it has a fixed share.
    group: Option<Membership>,
    /// The partitions that it runs.
    partitions: Vec<RunState>,
}

/// Membership of a consumer group.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Membership {
    group: String,
    /// The worker's name; null if it leaves the group when it stops.
    name: Option<String>,
    /// `joining`, `member` or `name_taken`: another process joined under its name.
    standing: &'static str,
}

/// A partition that a worker runs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Run)]
struct RunState {
    stream: String,
    partition: u32,
    /// Offset of the record read next.
    next_offset: u64,
    /// Rows accepted and not sealed yet.
    open_rows: u64,
    /// Commits made sure of since it was given the partition.
    commits: u64,
    /// Why it has halted; null as it should be.
    halted: Option<String>,
}

/// Routes of a worker.
pub fn router(worker: Arc<Worker>, group: Option<Arc<KafkaGroup>>) -> Router {
    Router::new()
        .route("/v1/worker", get(worker_state))
        .with_state(Served { worker, group })
}

/// The document of [`router`].
pub fn api() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        paths(worker_state),
        tags((name = "worker", description = "Which partitions a worker runs."))
    )]
    struct Api;
    <Api as utoipa::OpenApi>::openapi()
}

/// Show which partitions the worker runs
#[utoipa::path(
    get,
    path = "/v1/worker",
    tag = "worker",
    responses((status = 200, description = "Its membership and its partitions.", body = WorkerState))
)]
async fn worker_state(State(served): State<Served>) -> Json<WorkerState> {
    let runs = served.worker.progress().into_iter();
    let runs = runs.map(|((stream, partition), progress)| RunState {
        stream: stream.as_str().to_owned(),
        partition: partition.0,
        next_offset: progress.next_offset(),
        open_rows: progress.open_rows(),
        commits: progress.commits(),
        halted: progress.halted().map(str::to_owned),
    });
    Json(WorkerState {
        group: served.group.as_deref().map(membership),
        partitions: runs.collect(),
    })
}

fn membership(group: &KafkaGroup) -> Membership {
    let settings = group.settings();
    Membership {
        group: settings.group.clone(),
        name: settings.member.clone(),
        standing: match group.standing() {
            Standing::Joining => "joining",
            Standing::Member => "member",
            Standing::NameTaken => "name_taken",
        },
    }
}
