//! Errors as problem documents.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tourbillon_core::error::error_chain;
use tourbillon_core::problem::{PROBLEM_JSON, Problem};
use tourbillon_core::time::format_time_ns;

use crate::error::QueryError;

impl QueryError {
    /// The error as clients see it, with what helps them further.
    pub fn problem(&self) -> Problem {
        let mut problem = Problem::new(self.http_status(), self.kind(), error_chain(self));
        let mut more = |name: &str, value: Value| problem.more.insert(name.into(), value);
        match self {
            Self::Incomplete {
                complete_through,
                holders,
                ..
            } => {
                let holders = holders.iter().map(|holder| {
                    json!({
                        "partition": holder.partition,
                        "watermark": format_time_ns(holder.watermark),
                        "writers": holder.writers,
                    })
                });
                more("complete_through", format_time_ns(*complete_through).into());
                more("held_back_by", holders.collect());
            }
            Self::Gone { from } | Self::SnapshotGone { from } => {
                more("kept_from", format_time_ns(*from).into());
            }
            _ => {}
        }
        problem
    }
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        problem_response(&self.problem())
    }
}

/// A problem as an answer.
pub fn problem_response(problem: &Problem) -> Response {
    let text = serde_json::to_vec(problem).unwrap_or_default();
    let status = StatusCode::from_u16(problem.status);
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], text).into_response();
    if let Some(seconds) = problem.retry_after_s() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
