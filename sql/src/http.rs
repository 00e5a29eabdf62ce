//! `POST /v1/sql`.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, Schema};
use serde::Deserialize;
use tokio::time::timeout;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::time::{format_time_ns, parse_duration_ns};
use tourbillon_query::QueryError;
use tourbillon_query::encode::{Encoder, OutputFormat};
use tourbillon_query::http::{encoded, problem_response};
use tourbillon_query::params::Consistency;

use crate::docs::{SqlAnswer, SqlProblems};
use crate::error::SqlError;
use crate::service::{Answer, SqlService};
use crate::snapshots::Snapshots;
use crate::statement::{DEFAULT_WAIT, MAX_TEXT_BYTES, Statement};

/// Longest body, bytes: a statement and a snapshot, both escaped.
const MAX_BODY_BYTES: usize = MAX_TEXT_BYTES * 4;

/// Time for a body to come in.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Longest wait, ns.
const MAX_WAIT_NS: i64 = 60_000_000_000;

const JSON: &str = "application/json";

/// The route for SQL.
pub fn router(service: SqlService) -> Router {
    Router::new()
        .route("/v1/sql", post(sql))
        .with_state(service)
}

/// The body of a request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlRequest {
    /// One statement that only reads.
    #[schema(
        min_length = 1,
        example = "select symbol, count(*) from trades group by symbol"
    )]
    query: String,
    /// `stream=token;..` for every stream that the statement names, or the token alone where it
    /// names one.
    #[schema(example = "trades=1.12-40-7-0")]
    snapshot: Option<String>,
    /// `latest`: all there is; `final`: rows through T of each stream.
    #[schema(default = "latest", pattern = "^(latest|final)$")]
    consistency: Option<String>,
    /// How long to wait until the node has followed as far as the snapshot; at most 60s.
    #[schema(default = "2s", pattern = "^([1-5]?[0-9]|60)s$|^[0-9]{1,4}ms$")]
    wait: Option<String>,
}

impl TryFrom<SqlRequest> for Statement {
    type Error = SqlError;

    fn try_from(request: SqlRequest) -> Result<Self, SqlError> {
        let wrong = |name, reason: String| SqlError::Request { name, reason };
        let snapshots = request.snapshot.as_deref().map(Snapshots::parse);
        let consistency = match request.consistency.as_deref() {
            None | Some("latest") => Consistency::Latest,
            Some("final") => Consistency::Final,
            Some(_) => return Err(wrong("consistency", "use `final` or `latest`".into())),
        };
        let wait = match request.wait.as_deref() {
            None => DEFAULT_WAIT,
            Some(text) => {
                let ns = parse_duration_ns(text);
                let ns = ns.map_err(|error| wrong("wait", error.to_string()))?;
                if ns > MAX_WAIT_NS {
                    return Err(wrong("wait", "at most 60s".into()));
                }
                Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
            }
        };
        Ok(Self {
            query: request.query,
            snapshots: snapshots.transpose()?.unwrap_or_default(),
            consistency,
            wait,
        })
    }
}

/// Ask in SQL
///
/// One statement over every stream, tails included, under one snapshot.
#[utoipa::path(
    post,
    path = "/v1/sql",
    tag = "rows",
    request_body = SqlRequest,
    responses(SqlAnswer, SqlProblems)
)]
pub(crate) async fn sql(
    State(service): State<SqlService>,
    request: Request,
) -> Result<Response, SqlError> {
    if let Some(query) = request.uri().query().filter(|query| !query.is_empty()) {
        let shown = query.chars().take(40).collect::<String>();
        return Err(SqlError::Request {
            name: "parameters",
            reason: format!("`{shown}`: there are none, all goes into the body"),
        });
    }
    let (parts, body) = request.into_parts();
    let header = |name| {
        let value: Option<&HeaderValue> = parts.headers.get(name);
        value.map(|value| value.to_str().unwrap_or("?"))
    };
    check_type(header(header::CONTENT_TYPE).unwrap_or("nothing"))?;
    let format = OutputFormat::from_accept(header(header::ACCEPT))?;
    let body = read(&parts.headers, body).await?;
    let request: SqlRequest = serde_json::from_slice(&body).map_err(|error| SqlError::Request {
        name: "body",
        reason: error.to_string(),
    })?;
    let statement = Statement::try_from(request)?;
    let is_final = statement.consistency == Consistency::Final;
    let answer = service.run(statement).await?;
    send(answer, format, is_final).await
}

fn check_type(given: &str) -> Result<(), SqlError> {
    let media = given.split(';').next().unwrap_or_default().trim();
    match media.eq_ignore_ascii_case(JSON) {
        true => Ok(()),
        false => Err(SqlError::MediaType(given.chars().take(80).collect())),
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, SqlError> {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(SqlError::TooLong(MAX_BODY_BYTES));
    }
    let read = timeout(BODY_TIME, to_bytes(body, MAX_BODY_BYTES)).await;
    let read = read.map_err(|_| SqlError::Stalled(BODY_TIME))?;
    read.map_err(|error| match error.source() {
        Some(source) if source.to_string().contains("length limit") => {
            SqlError::TooLong(MAX_BODY_BYTES)
        }
        _ => SqlError::Request {
            name: "body",
            reason: error.to_string(),
        },
    })
}

/// Sends the first bytes only once they are made, so that early errors have a status.
async fn send(answer: Answer, format: OutputFormat, is_final: bool) -> Result<Response, SqlError> {
    check_columns(&answer.schema, format)?;
    let unfit = move |error: QueryError| SqlError::Format {
        format: format.content_type(),
        reason: error_chain(&error),
    };
    let encoder = Encoder::new(format, &answer.schema).map_err(unfit)?;
    let body = encoded(encoder, answer.batches, unfit).await?;
    let mut response = body.into_response();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set("content-type", format.content_type());
    if !answer.snapshots.is_empty() {
        set("tourbillon-snapshot", &answer.snapshots.to_string());
        set("tourbillon-final", if is_final { "true" } else { "false" });
    }
    if let Some(complete) = answer.complete_through {
        set("tourbillon-complete-through", &format_time_ns(complete.0));
    }
    Ok(response)
}

/// Refuses columns that a format has no way to write, before the first byte.
fn check_columns(schema: &Schema, format: OutputFormat) -> Result<(), SqlError> {
    let flat = format == OutputFormat::Csv;
    let unfit = |ty: &DataType| match ty {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => flat,
        DataType::Struct(_) | DataType::Map(..) => flat,
        DataType::Interval(_) | DataType::Duration(_) => format == OutputFormat::Parquet,
        _ => false,
    };
    let found = schema
        .fields()
        .iter()
        .find(|field| unfit(field.data_type()));
    found.map_or(Ok(()), |field| {
        Err(SqlError::Format {
            format: format.content_type(),
            reason: format!("column `{}` is {}", field.name(), field.data_type()),
        })
    })
}

impl IntoResponse for SqlError {
    fn into_response(self) -> Response {
        if matches!(self.kind(), ErrorKind::Internal | ErrorKind::Data) {
            tracing::error!(error = error_chain(&self), "statement failed");
        }
        problem_response(&self.problem())
    }
}
