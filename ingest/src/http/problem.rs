//! Errors as problem documents.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tourbillon_core::error::error_chain;
use tourbillon_core::problem::{PROBLEM_JSON, Problem as Document, ProblemRow};

use crate::error::IngestError;
use crate::metrics;
use crate::parse::{ParseError, RowError};

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
        let kind = error.kind();
        metrics::refused(kind.as_str());
        let mut document = Document::new(error.http_status(), kind, error_chain(&error));
        if let IngestError::Parse(ParseError::Rows { errors, total }) = &error {
            document.rows = rows(errors);
            document.more.insert("refused".into(), json!(total));
        }
        let status = StatusCode::from_u16(document.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = document.retry_after_s();
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Refused rows as clients see them.
pub(super) fn rows(errors: &[RowError]) -> Vec<ProblemRow> {
    let row = |error: &RowError| ProblemRow {
        row: error.row,
        column: error.column.clone(),
        reason: error.reason.clone(),
    };
    errors.iter().map(row).collect()
}
