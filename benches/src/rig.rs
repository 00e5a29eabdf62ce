//! A pipeline in this process, on the embedded log or on Kafka.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::serve::ListenerExt;
use bytes::Bytes;
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::ids::StreamName;
use tourbillon_ingest::{Environment, Gateway, GatewaySettings};
use tourbillon_lake::Lake;
use tourbillon_log::control::{ControlTopic, StreamRequest};
use tourbillon_log::{EmbeddedLog, Log, SystemClock};
use tourbillon_query::QueryService;
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
        let trades = StreamRequest::builtin("trades").context("trades is built in")?;
        Self::with(below, &[trades]).await
    }

    /// One with these streams.
    pub(crate) async fn with(below: &Path, streams: &[StreamRequest]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(below).context("cannot make a folder")?;
        let log = EmbeddedLog::open(&folder.path().join("log"), Arc::new(SystemClock::new()))?;
        Self::on(Arc::new(log), "bench", folder, streams).await
    }

    /// One on this log, with topics of this prefix.
    pub(crate) async fn on(
        log: Arc<dyn Log>,
        prefix: &str,
        folder: TempDir,
        streams: &[StreamRequest],
    ) -> anyhow::Result<Self> {
        let control = ControlTopic::open(Arc::clone(&log), prefix).await?;
        for stream in streams {
            control
                .ensure_stream(&StreamRequest {
                    window_ns: Some(WINDOW_NS),
                    ..stream.clone()
                })
                .await?;
        }
        let lake = folder.path().join("lake");
        let lake = Lake::open(lake.to_str().context("a UTF-8 folder")?)?;
        let clock: Arc<dyn PhysicalClock> = Arc::new(SystemClock::new());
        let env = Environment {
            log: Arc::clone(&log),
            control: control.clone(),
            commits: Arc::new(lake.clone()),
            clock,
        };
        let gateway = Gateway::start(GatewaySettings::new("bench", "bench"), env);
        timeout(Duration::from_secs(30), gateway.until_ready()).await?;
        let first = streams.first().context("a stream")?;
        Ok(Self {
            log,
            control,
            lake,
            gateway,
            stream: StreamName::new(&first.name)?,
            folder,
        })
    }

    pub(crate) fn router(&self) -> Router {
        tourbillon_ingest::http::router(self.gateway.clone())
    }

    /// Where the lake lies.
    pub(crate) fn lake_folder(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    /// The same lake as a process finds it that has just begun.
    pub(crate) fn fresh_lake(&self) -> anyhow::Result<Lake> {
        let lake = self.lake_folder();
        Ok(Lake::open(lake.to_str().context("a UTF-8 folder")?)?)
    }

    /// A query service on a lake, once it has caught up.
    pub(crate) async fn follow(&self, lake: Lake) -> QueryService {
        let service = QueryService::start(Arc::clone(&self.log), lake, self.control.clone());
        while !service.is_ready() {
            sleep(Duration::from_millis(5)).await;
        }
        service
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

/// What this process has used of processors, ms; nothing where the kernel does not say.
pub(crate) fn processor_ms() -> f64 {
    // user and system time in hundredths of a second, behind the name, which may hold anything
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let times = behind.split_whitespace().skip(11).take(2);
    times.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() * 10.0
}

/// Serves requests on a port of this machine.
pub(crate) async fn serve(router: Router) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // as the services do
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
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
