//! Arrow Flight SQL: the same statements for ADBC, JDBC and DBeaver, on a port of their own.
//!
//! Nothing is kept between calls. A ticket holds its statement and the snapshot under which it was
//! described, so fetching it twice, or from another node, gives the same rows; the handle of a
//! prepared statement holds the statement.

mod answer;
mod handle;
mod keys;
mod metadata;
mod sql;

use std::net::SocketAddr;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::flight::sql::FlightSql;
use crate::service::SqlService;
use crate::statement::MAX_TEXT_BYTES;

/// Largest message that is taken, bytes: a statement with a snapshot.
const MAX_MESSAGE_BYTES: usize = MAX_TEXT_BYTES * 4;

/// Calls at once on a connection.
const MAX_STREAMS: u32 = 64;

/// Pause after which a silent client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long answers under way may take once the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A running Flight SQL server.
#[derive(Debug)]
pub struct FlightServer {
    /// Where it listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl FlightServer {
    /// Serves statements on `listener`.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start(listener: TcpListener, service: SqlService) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let flight = FlightServiceServer::new(FlightSql::new(service))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut server = Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .http2_keepalive_interval(Some(KEEPALIVE));
        let router = server.add_service(flight);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let task = tokio::spawn(router.serve_with_incoming_shutdown(incoming, until));
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    /// Takes no more calls and lets those under way finish, within bounds.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if timeout(DRAIN, self.task).await.is_err() {
            tracing::warn!("Flight SQL answers under way were cut off");
            abort.abort();
        }
    }
}
