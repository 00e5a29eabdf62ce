//! Every error is a problem document with the request's id, whoever made it.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::response::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tourbillon_core::error::ErrorKind;
use tourbillon_core::problem::{PROBLEM_JSON, Problem};

use super::request_id::RequestId;

/// Largest document of an error that is looked into, bytes; larger ones go as they are.
const MAX_DOCUMENT: usize = 1 << 20;

/// Longest text of the router that is repeated to the client, bytes.
const MAX_TEXT: usize = 1000;

/// Makes problems of the refusals of the router and its extractors, and puts the request's id into
/// all of them.
pub(super) async fn as_problem(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let media = response.headers().get(CONTENT_TYPE);
    let media = media.and_then(|value| value.to_str().ok()).unwrap_or("");
    // health is told in a form of its own
    if media.starts_with("application/json") {
        return response;
    }
    let ours = media == PROBLEM_JSON;
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_DOCUMENT).await else {
        tracing::error!(%status, "the answer to a failed request is too long");
        return (status, Body::empty()).into_response();
    };
    let problem = match ours {
        true => serde_json::from_slice(&bytes).ok(),
        false => Some(refusal(&method, head.status, &bytes)),
    };
    // the answer to HEAD has lost its document
    let Some(mut problem): Option<Problem> = problem else {
        return Response::from_parts(head, bytes.into());
    };
    log(status, &problem);
    if let Some(id) = id {
        let id = id.as_str().into();
        problem.more.insert("request_id".into(), id);
    }
    let written = response_with(&mut head, &problem);
    Response::from_parts(head, written)
}

/// What the router meant.
fn refusal(method: &Method, status: StatusCode, text: &[u8]) -> Problem {
    let kind = match status.is_client_error() {
        true => ErrorKind::Invalid,
        false => ErrorKind::Internal,
    };
    let text = std::str::from_utf8(&text[..text.len().min(MAX_TEXT)]).unwrap_or("");
    let detail = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            format!("this path does not take {method}: `Allow` lists what it takes")
        }
        _ if !text.is_empty() => text.to_owned(),
        StatusCode::NOT_FOUND => "nothing is served at this path: see /docs".into(),
        _ if status.is_client_error() => "the path or query cannot be read".into(),
        _ => "the service failed: its log says why".into(),
    };
    Problem::new(status.as_u16(), kind, detail)
}

/// A failure is logged here, once, in the span of its request; refusals only if asked for.
fn log(status: StatusCode, problem: &Problem) {
    let detail = &problem.detail;
    match status {
        StatusCode::SERVICE_UNAVAILABLE => tracing::debug!(%status, detail, "not now"),
        _ if status.is_server_error() => tracing::error!(%status, detail, "request failed"),
        _ => tracing::debug!(%status, detail, "request refused"),
    }
}

fn response_with(head: &mut Parts, problem: &Problem) -> Body {
    let kind = HeaderValue::from_static(PROBLEM_JSON);
    head.headers.insert(CONTENT_TYPE, kind);
    head.headers.remove(CONTENT_LENGTH);
    serde_json::to_vec(problem).unwrap_or_default().into()
}

/// A problem as an answer.
pub(super) fn response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status);
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (mut head, _) = status.into_response().into_parts();
    let body = response_with(&mut head, problem);
    Response::from_parts(head, body)
}
