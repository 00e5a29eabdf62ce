//! Answers on the address of a service that is still starting, so that nobody waits in silence.
//!
//! It shares the socket with the server that follows: what comes in between waits in it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::problem::Problem;

use super::{health, problems};

/// How long answers under way may take once the service has started.
const DRAIN: Duration = Duration::from_secs(1);

/// What the service is doing.
type Notice = Arc<Mutex<String>>;

/// A service that is starting.
#[derive(Debug)]
pub(crate) struct Lobby {
    notice: Notice,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Lobby {
    /// Answers on this listener until it is closed; the listener is for the server then.
    pub(crate) fn open(listener: TcpListener) -> anyhow::Result<(Self, TcpListener)> {
        let listener = listener.into_std()?;
        let own = TcpListener::from_std(listener.try_clone()?)?;
        let notice = Notice::default();
        let app = Router::new()
            .route("/healthz", get(async || health::state(true, None)))
            .route("/readyz", get(readyz))
            .fallback(not_yet)
            .with_state(Arc::clone(&notice));
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let task =
            tokio::spawn(async move { axum::serve(own, app).with_graceful_shutdown(until).await });
        let lobby = Self { notice, stop, task };
        Ok((lobby, TcpListener::from_std(listener)?))
    }

    /// Says what the service is doing, or waiting for.
    pub(crate) fn says(&self, text: impl Into<String>) {
        *self.notice.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// Leaves the socket to the server.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if timeout(DRAIN, self.task).await.is_err() {
            abort.abort();
        }
    }
}

fn detail(notice: &Notice) -> String {
    let notice = notice.lock().unwrap_or_else(PoisonError::into_inner);
    format!("the service starts: {notice}")
}

async fn readyz(State(notice): State<Notice>) -> Response {
    health::state(false, Some(detail(&notice)))
}

async fn not_yet(State(notice): State<Notice>) -> Response {
    let problem = Problem::new(503, ErrorKind::Unavailable, detail(&notice));
    let mut response = problems::response(&problem);
    if let Some(seconds) = problem.retry_after_s() {
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::server::bind;

    async fn asked(address: SocketAddr, path: &str) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("http://{address}{path}")).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn a_service_that_starts_says_what_it_waits_for() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (lobby, listener) = Lobby::open(bind(any).await.unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        lobby.says("it waits for Kafka");
        assert_eq!(asked(address, "/healthz").await.0, 200);
        for path in ["/readyz", "/v1/streams"] {
            let (status, body) = asked(address, path).await;
            assert_eq!(status, 503, "{path}");
            assert!(body.contains("it waits for Kafka"), "{body}");
        }
        lobby.close().await;
        // what asks in between is answered by the server
        let asking = tokio::spawn(asked(address, "/"));
        let app = Router::new().route("/", get(async || "served"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        assert_eq!(asking.await.unwrap(), (200, "served".to_owned()));
    }
}
