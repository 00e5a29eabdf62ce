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

/// Whether a process does its work, or will without help.
pub(crate) type Live = Arc<dyn Fn() -> bool + Send + Sync>;

/// What is in its way, if anything is.
pub(crate) type Hindrance = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What a process says of its health.
#[derive(Clone)]
pub(crate) struct Health {
    /// Whether it does its work, or will without help.
    pub(crate) live: Live,
    /// Why it takes no requests now.
    pub(crate) unready: Hindrance,
    /// What stands between it and its log.
    pub(crate) trouble: Hindrance,
}

impl Health {
    /// Of a process that has a log of its own, which nothing can stand before.
    pub(crate) fn alone(
        live: impl Fn() -> bool + Send + Sync + 'static,
        unready: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self::new(live, unready, || None)
    }

    /// Of a process whose log is elsewhere.
    pub(crate) fn new(
        live: impl Fn() -> bool + Send + Sync + 'static,
        unready: impl Fn() -> Option<String> + Send + Sync + 'static,
        trouble: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            live: Arc::new(live),
            unready: Arc::new(unready),
            trouble: Arc::new(trouble),
        }
    }
}

/// A process that is about to stop: it says so and serves on for a while, so that a load balancer
/// sends it nothing more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain(Arc<AtomicBool>);

impl Drain {
    /// Health that also tells of this.
    pub(crate) fn tell(&self, health: Health) -> Health {
        let (begun, unready) = (Arc::clone(&self.0), health.unready);
        let stopping = move || begun.load(Ordering::Relaxed).then(|| "it stops".to_owned());
        Health {
            unready: Arc::new(move || stopping().or_else(|| unready())),
            ..health
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
    /// What is wrong, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
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
    state((health.live)(), None)
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
    let (unready, trouble) = ((health.unready)(), (health.trouble)());
    let ready = unready.is_none();
    let wrong: Vec<String> = unready.into_iter().chain(trouble).collect();
    state(ready, (!wrong.is_empty()).then(|| wrong.join("; ")))
}

/// A state as an answer.
pub(super) fn state(good: bool, detail: Option<String>) -> Response {
    let (code, status) = match good {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (code, Json(HealthState { status, detail })).into_response()
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
