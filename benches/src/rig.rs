//! A pipeline on the embedded log, in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::ids::StreamName;
use tourbillon_ingest::{Environment, Gateway, GatewaySettings};
use tourbillon_lake::Lake;
use tourbillon_log::control::{ControlTopic, StreamRequest};
use tourbillon_log::{EmbeddedLog, Log, SystemClock};
use tower::ServiceExt;

/// Event window of the measured stream, ns: short, so that everything gets sealed soon.
pub(crate) const WINDOW_NS: i64 = 1_000_000_000;

/// A gateway on a new log.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) control: ControlTopic,
    pub(crate) lake: Lake,
    pub(crate) gateway: Gateway,
    pub(crate) stream: StreamName,
    folder: TempDir,
}

impl Rig {
    pub(crate) async fn new(below: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(below).context("cannot make a folder")?;
        let clock: Arc<dyn PhysicalClock> = Arc::new(SystemClock::new());
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(
            &folder.path().join("log"),
            Arc::clone(&clock),
        )?);
        let control = ControlTopic::open(Arc::clone(&log), "bench").await?;
        let trades = StreamRequest::builtin("trades").context("trades is built in")?;
        control
            .ensure_stream(&StreamRequest {
                window_ns: Some(WINDOW_NS),
                ..trades
            })
            .await?;
        let lake = folder.path().join("lake");
        let lake = Lake::open(lake.to_str().context("a UTF-8 folder")?)?;
        let env = Environment {
            log: Arc::clone(&log),
            control: control.clone(),
            commits: Arc::new(lake.clone()),
            clock,
        };
        let gateway = Gateway::start(GatewaySettings::new("bench", "bench"), env);
        timeout(Duration::from_secs(10), gateway.until_ready()).await?;
        Ok(Self {
            log,
            control,
            lake,
            gateway,
            stream: StreamName::new("trades")?,
            folder,
        })
    }

    pub(crate) fn router(&self) -> Router {
        tourbillon_ingest::http::router(self.gateway.clone())
    }

    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.gateway.shutdown().await;
        self.log.close().await?;
        drop((self.log, self.control, self.gateway));
        // the log's threads may still flush as they end
        let folder = self.folder.keep();
        for _ in 0..50 {
            if std::fs::remove_dir_all(&folder).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("cannot remove {}", folder.display())
    }
}

/// Sends a request and expects a success; the body of the answer.
pub(crate) async fn call(
    router: &Router,
    path: &str,
    content_type: &str,
    body: Option<Bytes>,
) -> anyhow::Result<Bytes> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type);
    let request = request.body(body.map_or_else(Body::empty, Body::from))?;
    let answer = router.clone().oneshot(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(
        status == StatusCode::OK || status == StatusCode::NO_CONTENT,
        "{path}: {status} {}",
        String::from_utf8_lossy(&body)
    );
    Ok(body)
}
