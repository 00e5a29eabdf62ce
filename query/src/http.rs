//! The query service's HTTP interface.
//!
//! A new request has a handler with `#[utoipa::path]`, a route in [`router`] and a line in
//! [`api`]; a test of the command line's crate fails if one of them is missing.

pub(crate) mod docs;
mod problem;
mod state;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;
use tourbillon_core::control::StreamDef;
use tourbillon_core::error::error_chain;
use tourbillon_core::time::format_time_ns;

use crate::encode::{Encoder, OutputFormat};
use crate::error::QueryError;
use crate::params::WindowParams;
use crate::service::QueryService;
use crate::subscribe;
use crate::token::Token;
use crate::window::Window;
use docs::{RowProblems, StreamName, WindowAnswer, WindowQuery};

pub use docs::{api, catalog_api};

/// Times that an answer is planned whose files are replaced before its first row is read.
const MAX_PLANS: u32 = 5;

/// Pause before it is planned again: the partition is looking at its chains meanwhile.
const REPLAN_PAUSE: Duration = Duration::from_millis(200);

/// Routes for clients that read.
pub fn router(service: QueryService) -> Router {
    Router::new()
        .route("/v1/streams/{stream}/window", get(window))
        .route("/v1/streams/{stream}/subscribe", get(subscribe::answer))
        .route("/v1/streams/{stream}/partitions", get(state::partitions))
        .route("/v1/streams/{stream}/files", get(state::files))
        .route("/v1/streams/{stream}/rejects", get(state::rejects))
        .route("/v1/writers", get(state::writers))
        .route("/v1/writers/{writer}/fence", post(state::fence))
        .with_state(service)
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
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = OutputFormat::from_accept(accept)?;
    let def = service.find(&stream).await?;
    let def = service.as_new_as(def, &pairs).await?;
    let params = WindowParams::parse(&pairs, def.schema())?;
    let mut planned = 1;
    loop {
        match page(&service, &def, &params, &pairs, format).await {
            Err(QueryError::Moved(_)) if planned < MAX_PLANS => sleep(REPLAN_PAUSE).await,
            answered => return answered,
        }
        planned += 1;
    }
}

/// Plans an answer, and sends it once its first rows were read.
async fn page(
    service: &QueryService,
    def: &Arc<StreamDef>,
    params: &WindowParams,
    pairs: &[(String, String)],
    format: OutputFormat,
) -> Result<Response, QueryError> {
    let window = service.window(def, params).await?;
    let next = window
        .next
        .as_ref()
        .map(|cursor| next_page(def.name.as_str(), pairs, cursor));
    let mut response = answer(window, format).await?;
    if let Some(next) = next {
        response
            .headers_mut()
            .insert(header::LINK, header_value(&next));
    }
    Ok(response)
}

/// The same request again, from where this answer stopped. The cursor has the snapshot.
fn next_page(stream: &str, pairs: &[(String, String)], cursor: &Token) -> String {
    let mut link = format!("</v1/streams/{stream}/window?");
    let replaced = ["cursor", "snapshot", "at_least"];
    for (name, value) in pairs {
        if !replaced.contains(&name.as_str()) {
            link += &format!("{}={}&", percent_encoded(name), percent_encoded(value));
        }
    }
    link + &format!("cursor={cursor}>; rel=\"next\"")
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
async fn answer(window: Window, format: OutputFormat) -> Result<Response, QueryError> {
    let headers = [
        ("content-type", format.content_type().to_owned()),
        ("tourbillon-snapshot", window.token.to_string()),
        (
            "tourbillon-complete-through",
            format_time_ns(window.complete_through.0),
        ),
        ("tourbillon-final", window.is_final.to_string()),
    ];
    let mut encoder = Encoder::new(format, &window.schema)?;
    let mut batches = window.batches;
    let first = match batches.try_next().await? {
        Some(batch) => encoder.encode(&batch)?,
        None => Bytes::new(),
    };
    let rest = stream::try_unfold(Some((batches, encoder)), |state| async move {
        let Some((mut batches, mut encoder)) = state else {
            return Ok(None);
        };
        match batches.try_next().await? {
            Some(batch) => {
                let bytes = encoder.encode(&batch)?;
                Ok(Some((bytes, Some((batches, encoder)))))
            }
            None => Ok(Some((encoder.finish()?, None))),
        }
    });
    let rest = rest.inspect_err(|error: &QueryError| {
        tracing::error!(error = error_chain(error), "answer broken off");
    });
    let body = stream::once(async { Ok(first) }).chain(rest);
    let mut response = Body::from_stream(body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, header_value(&value));
    }
    Ok(response)
}
