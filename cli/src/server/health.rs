//! Health and metrics of a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use utoipa::openapi::OpenApi;

/// Media type of the metrics, as Prometheus wants it.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

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

/// A process that is about to stop: it says so and serves on for a while, so that a load balancer
/// sends it nothing more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain(Arc<AtomicBool>);

impl Drain {
    /// Health that also tells of this.
    pub(crate) fn tell(&self, health: Health) -> Health {
        let (begun, ready) = (Arc::clone(&self.0), health.ready);
        Health {
            live: health.live,
            ready: Arc::new(move || !begun.load(Ordering::Relaxed) && ready()),
        }
    }

    /// Is not ready from now on, and waits.
    pub(crate) async fn wait(&self, time: Duration) {
        self.0.store(true, Ordering::Relaxed);
        if !time.is_zero() {
            tracing::info!(seconds = time.as_secs_f64(), "stopping: not ready any more");
            tokio::time::sleep(time).await;
        }
    }
}

/// How a process is.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Health)]
struct HealthState {
    /// `ok` or `unavailable`.
    status: &'static str,
}

pub(super) fn router(health: Health, metrics: PrometheusHandle) -> Router {
    let metrics = Router::new()
        .route("/metrics", get(self::metrics))
        .with_state(metrics);
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(metrics)
}

/// The document of [`router`].
pub(super) fn api() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        paths(healthz, readyz, metrics),
        tags((name = "process", description = "Health and metrics of a process."))
    )]
    struct Api;
    <Api as utoipa::OpenApi>::openapi()
}

/// Tell whether the process works
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "process",
    responses(
        (status = 200, description = "It does its work, or will without help.", body = HealthState),
        (status = 503, description = "It needs help.", body = HealthState),
    )
)]
async fn healthz(State(health): State<Health>) -> Response {
    state((health.live)())
}

/// Tell whether the process takes requests
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "process",
    responses(
        (status = 200, description = "It does.", body = HealthState),
        (status = 503, description = "Not now.", body = HealthState),
    )
)]
async fn readyz(State(health): State<Health>) -> Response {
    state((health.ready)())
}

fn state(good: bool) -> Response {
    let (code, status) = match good {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (code, Json(HealthState { status })).into_response()
}

/// Show metrics, for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "process",
    responses((status = 200, description = "Metrics.", body = String, content_type = "text/plain"))
)]
async fn metrics(State(metrics): State<PrometheusHandle>) -> Response {
    ([(CONTENT_TYPE, METRICS_TEXT)], metrics.render()).into_response()
}
