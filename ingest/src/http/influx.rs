//! InfluxDB line protocol, as the clients of InfluxDB and QuestDB send it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tourbillon_core::control::{ColumnSpec, ControlView};
use tourbillon_core::ids::StreamName;
use tourbillon_core::schema::{Column, StreamSchema};
use tourbillon_log::control::StreamRequest;

use super::body::Upload;
use super::docs::{BodyProblems, ContentEncoding, SourceHeaders};
use super::events::source;
use super::problem::Problem;
use super::query;
use crate::error::IngestError;
use crate::gateway::{Gateway, REQUEST_BYTES, Source};
use crate::parse::ilp::{Outcome, Precision, Proposal, parse_lines};
use crate::parse::{OnError, ParseError};
use crate::submission::Submission;

/// Rounds of "parse, create what is missing" before a request that keeps needing more fails.
const MAX_ROUNDS: usize = 4;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Parameters {
    /// Unit of the timestamps: `ns`, `us`, `ms`, `s`, `m`, `h` or `auto`, or as the clients of
    /// InfluxDB spell them. By default `ns`, with `/api/v3/write_lp` `auto`.
    #[param(
        pattern = "^(n|ns|nanosecond|u|us|µ|microsecond|ms|millisecond|s|second|m|h|auto)$",
        example = "ns"
    )]
    precision: Option<String>,
}

/// Write line protocol, as clients of InfluxDB 1 and QuestDB do
///
/// Measurement = stream, tags = key columns, fields = columns, timestamp = event time. Unknown
/// streams and columns are made, unless the service was told not to. Other parameters are ignored.
#[utoipa::path(
    post,
    path = "/write",
    tag = "line protocol",
    params(Parameters, SourceHeaders, ContentEncoding),
    request_body(content = Option<String>, content_type = "text/plain", example = "fx,symbol=EURUSD bid=1.0851,ask=1.0853"),
    responses((status = 204, description = "The rows are stored."), BodyProblems)
)]
pub(super) async fn write(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<StatusCode, Problem> {
    take(gateway, request, Precision::Ns).await
}

/// Write line protocol, as clients of InfluxDB 2 do
#[utoipa::path(
    post,
    path = "/api/v2/write",
    tag = "line protocol",
    params(Parameters, SourceHeaders, ContentEncoding),
    request_body(content = Option<String>, content_type = "text/plain", example = "fx,symbol=EURUSD bid=1.0851,ask=1.0853"),
    responses((status = 204, description = "The rows are stored."), BodyProblems)
)]
pub(super) async fn write_v2(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<StatusCode, Problem> {
    take(gateway, request, Precision::Ns).await
}

/// Write line protocol, as clients of InfluxDB 3 do
///
/// Timestamps are of any unit unless told.
#[utoipa::path(
    post,
    path = "/api/v3/write_lp",
    tag = "line protocol",
    params(Parameters, SourceHeaders, ContentEncoding),
    request_body(content = Option<String>, content_type = "text/plain", example = "fx,symbol=EURUSD bid=1.0851,ask=1.0853"),
    responses((status = 204, description = "The rows are stored."), BodyProblems)
)]
pub(super) async fn write_v3(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<StatusCode, Problem> {
    take(gateway, request, Precision::Auto).await
}

async fn take(
    gateway: Gateway,
    request: Request,
    default: Precision,
) -> Result<StatusCode, Problem> {
    let (head, body) = request.into_parts();
    let parameters: Parameters = query(&head.uri)?;
    let precision = parameters
        .precision
        .as_deref()
        .map(Precision::from_query)
        .transpose()?;
    let precision = precision.unwrap_or(default);
    let source = source(&head.headers)?;
    let upload = Upload::read(&gateway, &head.headers, body).await?;
    let (content, mut held) = gateway.in_turn(move || upload.decompress()).await?;
    // lines and the rows they become
    held.resize(2 * content.len() + REQUEST_BYTES)?;
    let lines = Lines {
        content,
        precision,
        now_ns: gateway.wall_ns(),
        source,
    };
    let lines = Arc::new(lines);
    for round in 0..MAX_ROUNDS {
        let (gateway_, lines) = (gateway.clone(), Arc::clone(&lines));
        match gateway.in_turn(move || lines.parse(&gateway_)).await? {
            Parsed::Rows(submissions) => {
                let submitting = submissions.into_iter().map(|rows| gateway.submit(rows));
                try_join_all(submitting).await?;
                return Ok(StatusCode::NO_CONTENT);
            }
            // perhaps somebody made them a moment ago
            Parsed::Needs(_) if round == 0 => catch_up(&gateway).await?,
            Parsed::Needs(proposals) => create(&gateway, proposals).await?,
        }
    }
    Err(IngestError::request("body", "needs streams or columns that others keep changing").into())
}

enum Parsed {
    Rows(Vec<Submission>),
    Needs(Vec<Proposal>),
}

/// A body of lines.
struct Lines {
    content: Bytes,
    precision: Precision,
    now_ns: i64,
    source: Option<Source>,
}

impl Lines {
    /// Parses with the streams as known now. CPU-bound.
    fn parse(&self, gateway: &Gateway) -> Result<Parsed, IngestError> {
        let view = gateway.control().view();
        let lines = match self.outcome(&|name| schema_of(&view, name))? {
            Outcome::Rows(lines) => lines,
            Outcome::Needs(proposals) => {
                self.try_with(&view, &proposals)?;
                return Ok(Parsed::Needs(proposals));
            }
        };
        let submission = |(name, rows): (String, _)| {
            let known = StreamName::new(name.as_str()).ok();
            let def = known.and_then(|name| view.streams.get(&name).map(Arc::clone));
            let def = def.ok_or(IngestError::UnknownStream(name))?;
            let held = gateway.reserve(REQUEST_BYTES)?;
            Submission::new(def, &rows, self.source.clone(), held)
        };
        let submissions: Result<_, _> = lines.streams.into_iter().map(submission).collect();
        Ok(Parsed::Rows(submissions?))
    }

    fn outcome(
        &self,
        schemas: &dyn Fn(&str) -> Option<Arc<StreamSchema>>,
    ) -> Result<Outcome, ParseError> {
        let (precision, now_ns) = (self.precision, self.now_ns);
        parse_lines(&self.content, precision, now_ns, &schemas, OnError::Refuse)
    }

    /// Fails if the lines would be refused even with what they propose, so that a refused request
    /// leaves no stream behind.
    fn try_with(&self, view: &ControlView, proposals: &[Proposal]) -> Result<(), IngestError> {
        let mut proposed = BTreeMap::new();
        for proposal in proposals {
            let schema = match schema_of(view, &proposal.measurement) {
                Some(known) => known.evolve(&proposal.columns),
                None => StreamSchema::new(
                    proposal.columns.clone(),
                    &proposal.key,
                    proposal.event_time.as_deref(),
                ),
            };
            let what = || format!("stream `{}`", proposal.measurement);
            let schema = schema.map_err(|e| IngestError::request(what(), e.to_string()))?;
            proposed.insert(proposal.measurement.as_str(), Arc::new(schema));
        }
        let schema = |name: &str| {
            let proposed = proposed.get(name).map(Arc::clone);
            proposed.or_else(|| schema_of(view, name))
        };
        self.outcome(&schema)?;
        Ok(())
    }
}

fn schema_of(view: &ControlView, name: &str) -> Option<Arc<StreamSchema>> {
    let name = StreamName::new(name).ok()?;
    let def = view.streams.get(&name)?;
    Some(Arc::new(def.schema().clone()))
}

async fn catch_up(gateway: &Gateway) -> Result<(), IngestError> {
    gateway
        .control()
        .catch_up()
        .await
        .map_err(IngestError::ControlTopic)
}

/// Makes the streams and columns that lines need.
async fn create(gateway: &Gateway, proposals: Vec<Proposal>) -> Result<(), IngestError> {
    let control = gateway.control();
    for proposal in proposals {
        if !gateway.settings().auto_create {
            let names: Vec<_> = proposal.columns.iter().map(|c| c.name.as_str()).collect();
            let reason = format!("lacks {} and is not grown automatically", names.join(", "));
            return Err(IngestError::request(
                format!("stream `{}`", proposal.measurement),
                reason,
            ));
        }
        let column = |column: &Column| ColumnSpec {
            name: column.name.clone(),
            ty: column.ty.to_string(),
            nullable: column.nullable,
        };
        let request = StreamRequest {
            name: proposal.measurement,
            columns: proposal.columns.iter().map(column).collect(),
            key: proposal.new_stream.then_some(proposal.key),
            event_time: proposal.event_time,
            ..StreamRequest::default()
        };
        control.ensure_stream(&request).await?;
    }
    Ok(())
}

/// Tell clients of QuestDB what is spoken
///
/// Text line protocol only, so that they send no binary values.
#[utoipa::path(
    get,
    path = "/settings",
    tag = "line protocol",
    responses((status = 200, description = "Settings.", body = Object))
)]
pub(super) async fn settings() -> Json<Value> {
    Json(json!({ "config": { "line.proto.support.versions": [1] } }))
}

/// Tell clients of InfluxDB that somebody is here
#[utoipa::path(
    get,
    path = "/ping",
    tag = "line protocol",
    responses((status = 204, description = "Somebody is."))
)]
pub(super) async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether rows are taken, in InfluxDB's form.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = InfluxHealth)]
pub(super) struct Health {
    name: &'static str,
    /// `pass` or `fail`.
    status: &'static str,
}

/// Tell clients of InfluxDB whether rows are taken
#[utoipa::path(
    get,
    path = "/health",
    tag = "line protocol",
    responses(
        (status = 200, description = "They are.", body = Health),
        (status = 503, description = "They are not.", body = Health),
    )
)]
pub(super) async fn health(State(gateway): State<Gateway>) -> (StatusCode, Json<Health>) {
    let (code, status) = match gateway.is_ready() {
        true => (StatusCode::OK, "pass"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "fail"),
    };
    let name = "tourbillon";
    (code, Json(Health { name, status }))
}
