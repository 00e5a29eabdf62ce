//! The HTTP server of a process: its roles' routes, health, metrics, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::problem::{PROBLEM_JSON, Problem};

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
    /// Serves `routes` besides health and metrics.
    pub(crate) fn start(
        listener: TcpListener,
        routes: Router,
        health: Health,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let page = Router::new()
            .route("/metrics", get(move || async move { metrics.render() }))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(health);
        let app = routes.merge(page).fallback(unknown_path);
        let app = app.layer(map_response(as_problem));
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

/// Takes an address, before anything else is begun.
pub(crate) async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(listen).await;
    bound.with_context(|| format!("cannot listen on {listen}"))
}

/// Refusals that the router itself made, of methods and of paths that are not UTF-8, become
/// problem documents too.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE);
    if !status.is_client_error() || kind.is_some_and(|kind| kind == PROBLEM_JSON) {
        return response;
    }
    let (mut head, _) = response.into_parts();
    let detail = match status {
        StatusCode::METHOD_NOT_ALLOWED => "this path does not take this method",
        _ => "the path or query cannot be read",
    };
    let problem = Problem::new(status.as_u16(), ErrorKind::Invalid, detail);
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    head.headers.remove(CONTENT_LENGTH);
    let text = serde_json::to_vec(&problem).unwrap_or_default();
    Response::from_parts(head, text.into())
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
    let problem = Problem::new(404, ErrorKind::Invalid, detail);
    let kind = [(CONTENT_TYPE, PROBLEM_JSON)];
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
