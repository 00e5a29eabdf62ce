//! The HTTP server of a process: its roles' routes, health, metrics, and an orderly end.
//!
//! ```text
//! request -> request id, span -> CORS -> compression -> problems -> routes of the roles
//! ```
//!
//! Handlers know nothing of these layers.

mod compression;
mod cors;
mod health;
mod lobby;
mod openapi;
mod problems;
mod request_id;
mod site;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::serve::{Listener, ListenerExt};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use cors::Origin;
pub(crate) use health::{Drain, Health};
pub(crate) use lobby::Lobby;
pub(crate) use site::Site;

/// How long answers under way may take once the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Serves a site besides health and metrics.
    pub(crate) fn start(
        listener: TcpListener,
        site: Site,
        health: Health,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let site = site.with(health::router(health, metrics), health::api());
        let app = site.into_router()?;
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            axum::serve(prompt(listener), app)
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

/// Connections send each piece of an answer at once. By default a piece waits until the client has
/// acknowledged the one before, which takes clients up to 40 ms.
fn prompt(listener: TcpListener) -> impl Listener<Addr = SocketAddr> {
    listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection is slower than it could be");
        }
    })
}

/// Takes an address, before anything else is begun.
pub(crate) async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(listen).await;
    bound.with_context(|| format!("cannot listen on {listen}"))
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
