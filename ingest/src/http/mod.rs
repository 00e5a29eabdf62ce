//! The HTTP interface of a gateway.
//!
//! Errors are problem documents (RFC 9457). Unknown query parameters are errors, except for the
//! line protocol endpoints, whose clients send many.
//!
//! A new request has a handler with `#[utoipa::path]`, a route in [`router`] and a line in
//! [`api`]; a test of the command line's crate fails if one of them is missing.

mod body;
mod docs;
mod events;
mod influx;
mod problem;
mod streams;

use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, Uri};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;

use crate::error::IngestError;
use crate::gateway::Gateway;

pub use docs::api;

/// Routes of ingest and of stream definitions.
pub fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/v1/streams", get(streams::list))
        .route("/v1/streams/{stream}", get(streams::show).put(streams::put))
        .route("/v1/streams/{stream}/events", post(events::post))
        .route("/write", post(influx::write))
        .route("/api/v2/write", post(influx::write_v2))
        .route("/api/v3/write_lp", post(influx::write_v3))
        .route("/settings", get(influx::settings))
        .route("/ping", get(influx::ping))
        .route("/health", get(influx::health))
        .with_state(gateway)
}

/// The query of `uri` as `T`.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, IngestError> {
    match Query::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(IngestError::request("query", rejection.body_text())),
    }
}

/// The text of a header, if it is there.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, IngestError> {
    let text = headers.get(name).map(|value| value.to_str());
    text.transpose()
        .map_err(|_| IngestError::request(name, "is not plain ASCII"))
}

#[cfg(test)]
mod tests;
