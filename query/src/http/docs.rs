//! The OpenAPI document of the query service.

#![allow(
    unused_qualifications,
    reason = "the macros of utoipa qualify everything"
)]

mod answers;
mod params;

use tourbillon_core::problem::Problem;
use utoipa::openapi::OpenApi;

use super::state;
use crate::{asof, bars, subscribe};

pub(crate) use answers::{RowProblems, SubscribeAnswer, WindowAnswer, WriterProblems};
pub(crate) use params::{
    AsOfQuery, BarsQuery, FilesQuery, LastEventId, StreamName, SubscribeQuery, WindowQuery,
};

pub use answers::rows;

/// The document of [`super::router`].
pub fn api() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        paths(
            super::window,
            bars::answer,
            asof::answer,
            subscribe::answer,
            state::partitions,
            state::files,
            state::rejects,
            state::writers,
            state::fence,
        ),
        components(schemas(Problem)),
        tags(
            (name = "rows", description = "Rows in the order of the stream: windows and subscriptions."),
            (name = "state", description = "Partitions, files and writers."),
        )
    )]
    struct Api;
    <Api as utoipa::OpenApi>::openapi()
}

/// The document of [`super::catalog`].
pub fn catalog_api() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(state::streams, state::stream_of), components(schemas(Problem)))]
    struct Api;
    <Api as utoipa::OpenApi>::openapi()
}
