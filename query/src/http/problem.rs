//! Errors as problem documents.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tourbillon_core::error::error_chain;
use tourbillon_core::problem::{PROBLEM_JSON, Problem};
use tourbillon_core::time::format_time_ns;

use crate::error::QueryError;

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        let kind = self.kind();
        let mut problem = Problem::new(self.http_status(), kind, error_chain(&self));
        if let Self::Incomplete {
            complete_through,
            holders,
            ..
        } = &self
        {
            let holders = holders.iter().map(|holder| {
                json!({
                    "partition": holder.partition,
                    "watermark": format_time_ns(holder.watermark),
                    "writers": holder.writers,
                })
            });
            problem.more.insert(
                "complete_through".into(),
                format_time_ns(*complete_through).into(),
            );
            problem
                .more
                .insert("held_back_by".into(), holders.collect());
        }
        if let Self::Gone { from } | Self::SnapshotGone { from } = &self {
            let from = format_time_ns(*from);
            problem.more.insert("kept_from".into(), from.into());
        }
        let text = serde_json::to_vec(&problem).unwrap_or_default();
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
}
