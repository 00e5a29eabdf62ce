//! InfluxDB line protocol on the paths that existing clients use.

use std::sync::Arc;

use arrow::array::RecordBatch;
use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use tourbillon_core::control::{ColumnSpec, ControlView};
use tourbillon_core::ids::StreamName;
use tourbillon_log::control::StreamRequest;

use super::body;
use crate::error::IngestError;
use crate::gateway::Gateway;
use crate::metrics;
use crate::parse::OnError;
use crate::parse::ilp::{LineProtocol, Outcome, Precision, Proposal, parse_lines};

/// Rounds of "parse, add what is missing" for one body.
const MAX_ROUNDS: usize = 4;

/// Takes lines; parameters other than `precision` are those of other databases and mean nothing.
pub(super) async fn write(
    State(gateway): State<Gateway>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = match take(&gateway, query.as_deref(), &headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.into_response(),
    };
    metrics::answered("lines", answer.status().as_u16());
    answer
}

async fn take(
    gateway: &Gateway,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), IngestError> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let precision = pairs.into_iter().find(|(name, _)| *name == "precision");
    let precision = precision.map(|(_, value)| Precision::from_query(value)).transpose()?;
    let precision = precision.unwrap_or_default();
    let body = body::read(headers, body, &gateway.settings).await?;
    let _room = gateway.admit(body.len())?;
    for _ in 0..MAX_ROUNDS {
        let view = gateway.control.view();
        let lines = match parse(gateway, precision, body.clone(), Arc::clone(&view)).await? {
            Outcome::Rows(lines) => lines,
            Outcome::Needs(proposals) => {
                add(gateway, proposals).await?;
                continue;
            }
        };
        return store(gateway, &view, lines).await;
    }
    Err(IngestError::NotReady)
}

async fn parse(
    gateway: &Gateway,
    precision: Precision,
    body: Bytes,
    view: Arc<ControlView>,
) -> Result<Outcome, IngestError> {
    let now = gateway.clock.wall_ns();
    let parsing = tokio::task::spawn_blocking(move || {
        let lookup = |name: &str| {
            let name = StreamName::new(name).ok()?;
            view.streams.get(&name).map(|def| Arc::new(def.schema().clone()))
        };
        parse_lines(&body, precision, now, &lookup, OnError::Refuse)
    });
    Ok(parsing.await.map_err(|error| IngestError::Body(error.to_string()))??)
}

async fn add(gateway: &Gateway, proposals: Vec<Proposal>) -> Result<(), IngestError> {
    for proposal in proposals {
        if !gateway.settings.auto_create {
            return Err(IngestError::UnknownStream(proposal.measurement));
        }
        let column = |c: &tourbillon_core::schema::Column| ColumnSpec {
            name: c.name.clone(),
            ty: c.ty.to_string(),
            nullable: c.nullable,
        };
        let request = StreamRequest {
            name: proposal.measurement,
            columns: proposal.columns.iter().map(column).collect(),
            key: proposal.new_stream.then_some(proposal.key),
            event_time: proposal.event_time.filter(|_| proposal.new_stream),
            ..StreamRequest::default()
        };
        gateway.control.ensure_stream(&request).await?;
    }
    Ok(())
}

async fn store(
    gateway: &Gateway,
    view: &ControlView,
    lines: LineProtocol,
) -> Result<(), IngestError> {
    for (measurement, rows) in lines.streams {
        let unknown = || IngestError::UnknownStream(measurement.clone());
        let name = StreamName::new(measurement.clone()).map_err(|_| unknown())?;
        let def = view.streams.get(&name).ok_or_else(unknown)?;
        let rows: RecordBatch = rows;
        gateway.submit(def, &rows, None).await?;
    }
    Ok(())
}

/// Tells QuestDB's clients to send plain line protocol.
pub(super) async fn settings() -> Json<Value> {
    Json(json!({
        "config": { "line.proto.support.versions": [1], "cairo.max.file.name.length": 127 }
    }))
}

pub(super) async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}
