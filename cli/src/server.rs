//! The HTTP server of a process: its roles' routes, health, metrics, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long answers under way may take once the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Answers a health question.
pub(crate) type Check = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a process says of its health.
#[derive(Clone)]
pub(crate) struct Health {
    /// Whether it does its work, or will without help.
    pub(crate) live: Check,
    /// Whether it takes requests now.
    pub(crate) ready: Check,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Listens and serves `routes` besides health and metrics.
    pub(crate) async fn start(
        listen: SocketAddr,
        routes: Router,
        health: Health,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let page = Router::new()
            .route("/metrics", get(move || async move { metrics.render() }))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(health);
        let app = routes.merge(page).fallback(unknown_path);
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            axum::serve(listener, app)
                .with_graceful_shutdown(until)
                .await
        });
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    /// Takes no more requests and lets those under way finish, within bounds.
    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if timeout(DRAIN, self.task).await.is_err() {
            tracing::warn!("answers under way were cut off");
            abort.abort();
        }
    }
}

async fn healthz(State(health): State<Health>) -> Response {
    state((health.live)())
}

async fn readyz(State(health): State<Health>) -> Response {
    state((health.ready)())
}

fn state(good: bool) -> Response {
    let (code, status) = match good {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (code, Json(json!({ "status": status }))).into_response()
}

async fn unknown_path(uri: axum::http::Uri) -> Response {
    let detail = format!("nothing is served at {}", uri.path());
    let problem = tourbillon_core::problem::Problem::new(404, "Not Found", detail);
    let kind = [("content-type", tourbillon_core::problem::PROBLEM_JSON)];
    (StatusCode::NOT_FOUND, kind, Json(problem)).into_response()
}

/// Resolves at the first signal to stop; the second ends the process at once.
pub(crate) async fn signalled() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::warn!("second signal: ending at once");
        std::process::exit(130);
    });
    Ok(())
}
