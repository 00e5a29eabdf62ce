//! What a process serves: routes, the document that describes them, and the layers around them.

use axum::Router;
use axum::http::Uri;
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::problem::Problem;
use utoipa::openapi::OpenApi;

use super::cors::{self, Origin};
use super::{compression, openapi, problems, request_id};

/// Routes and their document.
pub(crate) struct Site {
    routes: Router,
    api: OpenApi,
    origins: Vec<Origin>,
}

impl Site {
    /// Nothing yet; pages of these origins may use it.
    pub(crate) fn new(origins: &[Origin]) -> Self {
        Self {
            routes: Router::new(),
            api: openapi::empty(),
            origins: origins.to_vec(),
        }
    }

    /// Adds routes and their document: every crate with an HTTP interface has a function for each.
    #[must_use]
    pub(crate) fn with(mut self, routes: Router, api: OpenApi) -> Self {
        self.routes = self.routes.merge(routes);
        self.api.merge(api);
        self
    }

    /// The whole interface, with the pages that describe it.
    pub(crate) fn into_router(self) -> anyhow::Result<Router> {
        let (routes, api) = openapi::pages(self.routes, self.api)?;
        tracing::debug!(operations = api.paths.paths.len(), "interface described");
        Ok(layered(routes, &self.origins))
    }

    /// Routes and document, for a test that compares them.
    #[cfg(test)]
    pub(super) fn described(self) -> anyhow::Result<(Router, OpenApi)> {
        openapi::pages(self.routes, self.api)
    }
}

/// Routes with everything that they need not know of.
pub(super) fn layered(routes: Router, origins: &[Origin]) -> Router {
    // the last layer is the first that a request passes
    let mut app = routes
        .fallback(unknown_path)
        .layer(from_fn(problems::as_problem))
        .layer(map_response(compression::ended_once))
        .layer(compression::layer());
    if let Some(cors) = cors::layer(origins) {
        app = app.layer(cors);
    }
    app.layer(from_fn(request_id::identify))
}

async fn unknown_path(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(256).collect();
    let detail = format!("nothing is served at {path}: see /docs");
    problems::response(&Problem::new(404, ErrorKind::Invalid, detail))
}
