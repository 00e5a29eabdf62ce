//! The OpenAPI document of SQL over HTTP.

#![allow(
    unused_qualifications,
    reason = "the macros of utoipa qualify everything"
)]

use std::collections::BTreeMap;

use tourbillon_core::problem::{Problem, problem_responses};
use tourbillon_query::http::rows_answer;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Response};

use crate::http;

/// The document of [`crate::router`].
pub fn api() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(http::sql), components(schemas(Problem)))]
    struct Api;
    <Api as utoipa::OpenApi>::openapi()
}

/// Rows in any of the formats of a window.
pub(crate) struct SqlAnswer;

impl utoipa::IntoResponses for SqlAnswer {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let header = |meaning: &str| {
            let text = ObjectBuilder::new().schema_type(Type::String);
            HeaderBuilder::new()
                .schema(Some(text))
                .description(Some(meaning))
                .build()
        };
        let answer = rows_answer("The rows.")
            .header(
                "Tourbillon-Snapshot",
                header("A token for each stream, as `snapshot` takes them."),
            )
            .header(
                "Tourbillon-Complete-Through",
                header("How far the stream is complete, where the statement names one."),
            );
        [("200".to_owned(), answer.build().into())].into()
    }
}

/// What a statement can be answered with instead.
pub(crate) struct SqlProblems;

impl utoipa::IntoResponses for SqlProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problem_responses(&[
            (
                400,
                "The body or the statement is wrong, does more than read, or needs more than the limits: `detail` says what.",
            ),
            (406, "None of the formats of `Accept` can be given."),
            (408, "The body, or the statement, took too long."),
            (
                410,
                "The snapshot begins before what retention has left: `kept_from` says where that begins.",
            ),
            (413, "The body is too long."),
            (415, "The body is not `application/json`."),
            (429, "Too many statements at once: ask again."),
            (
                500,
                "Stored data is damaged, or a bug: see the service's log.",
            ),
            (
                503,
                "Not complete or not followed far enough in time, or no memory left: ask again.",
            ),
        ])
    }
}
