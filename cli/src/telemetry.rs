//! Logs to standard error, metrics to a page for Prometheus.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Bounds of the latency histograms, seconds.
const SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// How often the exporter drops what it no longer needs.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts logging; `RUST_LOG` changes what is logged. Services log what they do, other commands
/// only what goes wrong.
pub(crate) fn start_logs(service: bool) {
    let default = if service {
        "info,fjall=warn,lsm_tree=warn"
    } else {
        "warn,fjall=error,lsm_tree=error"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(crate::out::is_watched());
    // a second start in one process, as tests do, keeps the first
    drop(logs.try_init());
}

/// Starts collecting metrics. Call it before any role starts.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
