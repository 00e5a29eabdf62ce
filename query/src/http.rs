//! The query service's HTTP interface.
//!
//! A new request has a handler with `#[utoipa::path]`, a route in [`router`] and a line in
//! [`api`]; a test of the command line's crate fails if one of them is missing.

mod body;
pub(crate) mod docs;
mod problem;
mod state;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::time::sleep;
use tourbillon_core::control::StreamDef;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::time::format_time_ns;

use crate::encode::{Encoder, OutputFormat};
use crate::error::QueryError;
use crate::order::Cut;
use crate::params::WindowParams;
use crate::plan::Batches;
use crate::service::QueryService;
use crate::{asof, bars, page, subscribe};
use docs::{RowProblems, StreamName, WindowAnswer, WindowQuery};

pub use body::encoded;
pub use docs::{api, catalog_api, rows as rows_answer};
pub use problem::problem_response;

/// Times that an answer is planned whose files are replaced before its first row is read.
const MAX_PLANS: u32 = 5;

/// Pause before it is planned again: the partition is looking at its chains meanwhile.
const REPLAN_PAUSE: Duration = Duration::from_millis(200);

/// Routes for clients that read.
pub fn router(service: QueryService) -> Router {
    Router::new()
        .route("/v1/streams/{stream}/window", get(window))
        .route("/v1/streams/{stream}/bars", get(bars::answer))
        .route("/v1/asof", get(asof::answer))
        .route("/v1/streams/{stream}/subscribe", get(subscribe::answer))
        .route("/v1/streams/{stream}/partitions", get(state::partitions))
        .route("/v1/streams/{stream}/files", get(state::files))
        .route("/v1/streams/{stream}/rejects", get(state::rejects))
        .route("/v1/writers", get(state::writers))
        .route("/v1/writers/{writer}/fence", post(state::fence))
        .with_state(service)
        .merge(page::router())
}

/// Routes that a gateway has too: mount them where there is none.
pub fn catalog(service: QueryService) -> Router {
    Router::new()
        .route("/v1/streams", get(state::streams))
        .route("/v1/streams/{stream}", get(state::stream_of))
        .with_state(service)
}

/// Read a window
///
/// The rows of a range of stamps, in the one order of the stream, from files and live tails. With
/// `snapshot` the same request gives the same bytes each time. An answer that cannot be finished
/// breaks the connection: it never ends as if it were whole.
#[utoipa::path(
    get,
    path = "/v1/streams/{stream}/window",
    tag = "rows",
    params(StreamName, WindowQuery),
    responses(WindowAnswer, RowProblems)
)]
pub(crate) async fn window(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let format = format_of(&headers)?;
    let def = service.find(&stream).await?;
    let def = service.as_new_as(def, &pairs).await?;
    let params = WindowParams::parse(&pairs, def.schema())?;
    planned(|| page(&service, &def, &params, &pairs, format)).await
}

/// The format that a client accepts.
pub(crate) fn format_of(headers: &HeaderMap) -> Result<OutputFormat, QueryError> {
    let accept = headers.get(header::ACCEPT);
    OutputFormat::from_accept(accept.and_then(|value| value.to_str().ok()))
}

/// An answer, planned again if files are replaced before its first rows are read.
pub(crate) async fn planned<F>(plan: impl Fn() -> F) -> Result<Response, QueryError>
where
    F: Future<Output = Result<Response, QueryError>>,
{
    for _ in 1..MAX_PLANS {
        match plan().await {
            Err(QueryError::Moved(_)) => sleep(REPLAN_PAUSE).await,
            answered => return answered,
        }
    }
    plan().await
}

/// Plans an answer, and sends it once its first rows were read.
async fn page(
    service: &QueryService,
    def: &Arc<StreamDef>,
    params: &WindowParams,
    pairs: &[(String, String)],
    format: OutputFormat,
) -> Result<Response, QueryError> {
    let cut = Cut::of(params.limit);
    let window = service.window_cut(def, params, cut).await?;
    let path = format!("/v1/streams/{}/window", def.name);
    let next = window.next.as_ref();
    let told = Told {
        token: window.token.to_string(),
        complete_through: window.complete_through,
        is_final: window.is_final,
        next: next.map(|cursor| next_page(&path, pairs, &cursor.to_string())),
    };
    send(told, &window.schema, window.batches, format).await
}

/// What the headers of an answer tell of its rows.
pub(crate) struct Told {
    /// What gives the same rows again.
    pub(crate) token: String,
    /// How far the stream, or each of several, is complete.
    pub(crate) complete_through: Hlc,
    /// Whether the same request will give the same rows for ever.
    pub(crate) is_final: bool,
    /// Link to the next page.
    pub(crate) next: Option<String>,
}

/// The same request again, from where this answer stopped. The cursor has the snapshot.
pub(crate) fn next_page(path: &str, pairs: &[(String, String)], cursor: &str) -> String {
    let mut link = format!("<{path}?");
    let replaced = ["cursor", "snapshot", "at_least"];
    for (name, value) in pairs {
        if !replaced.contains(&name.as_str()) {
            link += &format!("{}={}&", percent_encoded(name), percent_encoded(value));
        }
    }
    link + &format!("cursor={}>; rel=\"next\"", percent_encoded(cursor))
}

fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        _ if byte.is_ascii_alphanumeric() || b"-._~,:".contains(&byte) => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Sends the first bytes only once there is a first batch, so that early errors have a status.
pub(crate) async fn send(
    told: Told,
    schema: &SchemaRef,
    batches: Batches,
    format: OutputFormat,
) -> Result<Response, QueryError> {
    let complete = format_time_ns(told.complete_through.0);
    let headers = [
        ("content-type", Some(format.content_type().to_owned())),
        ("tourbillon-snapshot", Some(told.token)),
        ("tourbillon-complete-through", Some(complete)),
        ("tourbillon-final", Some(told.is_final.to_string())),
        ("link", told.next),
    ];
    let encoder = Encoder::new(format, schema)?;
    let body = encoded(encoder, batches, |error| error).await?;
    let mut response = body.into_response();
    for (name, value) in headers {
        let value = value.as_deref().map(header_value);
        value.and_then(|value| response.headers_mut().insert(name, value));
    }
    Ok(response)
}
