//! Errors as problem documents.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tourbillon_core::error::error_chain;

use crate::error::IngestError;
use crate::metrics;
use crate::parse::{ParseError, RowError};

/// Seconds after which a client may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Problem(IngestError);

impl<E: Into<IngestError>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let status = StatusCode::from_u16(error.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = error.kind().as_str();
        metrics::refused(kind);
        let mut document = json!({
            "type": format!("urn:tourbillon:problem:{kind}"),
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": error_chain(&error),
        });
        if let IngestError::Parse(ParseError::Rows { errors, total }) = &error {
            document["rows"] = rows(errors);
            document["refused"] = json!(total);
        }
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// Refused rows as JSON.
pub(super) fn rows(errors: &[RowError]) -> Value {
    let row = |error: &RowError| json!({ "row": error.row, "column": error.column, "reason": error.reason });
    errors.iter().map(row).collect()
}
