//! SQL in a process that has a query service: over HTTP, and over Flight where an address is given.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tourbillon_query::QueryService;
use tourbillon_sql::{FlightServer, SqlService, SqlSettings};

use crate::args::SqlArgs;
use crate::server::bind;

/// A running SQL service.
#[derive(Debug)]
pub(crate) struct SqlFront {
    service: SqlService,
    flight: Option<FlightServer>,
}

/// Takes the address of Flight SQL, if there is one, before anything else is begun.
pub(crate) async fn bind_flight(listen: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    match listen {
        Some(listen) => Ok(Some(bind(listen).await?)),
        None => Ok(None),
    }
}

impl SqlFront {
    /// Starts the threads for operators, and the Flight SQL server on `flight`.
    pub(crate) fn start(
        query: &QueryService,
        settings: SqlSettings,
        flight: Option<TcpListener>,
    ) -> anyhow::Result<Self> {
        let service = SqlService::start(query.clone(), settings)?;
        let serve = |listener| FlightServer::start(listener, service.clone());
        let flight = flight.map(serve).transpose()?;
        if let Some(flight) = &flight {
            tracing::info!(address = %flight.address, "Flight SQL is served");
        }
        Ok(Self { service, flight })
    }

    /// Routes for HTTP.
    pub(crate) fn routes(&self) -> Router {
        tourbillon_sql::router(self.service.clone())
    }

    /// Takes no more statements over Flight, and ends the threads once the last answer is done.
    pub(crate) async fn shutdown(self) {
        if let Some(flight) = self.flight {
            flight.shutdown().await;
        }
    }
}

impl SqlArgs {
    /// What statements may use.
    pub(crate) fn settings(&self) -> SqlSettings {
        SqlSettings {
            memory_bytes: (self.sql_memory_mib as usize) << 20,
            max_rows: self.sql_max_rows,
            timeout: self.sql_timeout,
            concurrency: usize::from(self.sql_concurrency),
            ..SqlSettings::default()
        }
    }
}
