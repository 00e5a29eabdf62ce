//! Every request has an id: in its answer, in problem documents and in the log.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::time::Instant;
use tracing::{Instrument, Span};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client, bytes.
const MAX_BYTES: usize = 128;

/// Longest path in the log, bytes.
const MAX_PATH: usize = 256;

/// The id of a request: the client's, or one of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId(Arc<str>);

impl RequestId {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The client's, if it is short and visible ASCII, so that it can neither forge lines of the
    /// log nor fill it.
    fn given(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(X_REQUEST_ID)?.to_str().ok()?;
        let sane = (1..=MAX_BYTES).contains(&text.len());
        let sane = sane && text.bytes().all(|byte| byte.is_ascii_graphic());
        sane.then(|| Self(text.into()))
    }

    /// 128 random bits in hexadecimal.
    fn fresh() -> Self {
        let mut bits = [0; 16];
        if OsRng.try_fill_bytes(&mut bits).is_err() {
            tracing::warn!("the system has no random numbers: a request goes by id 0");
        }
        Self(format!("{:032x}", u128::from_be_bytes(bits)).into())
    }
}

/// Gives a request its id, and runs it in a span that has it.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId::given(request.headers()).unwrap_or_else(RequestId::fresh);
    let path = request.uri().path();
    // at the level of errors, so that those have it whatever is logged
    let span = tracing::error_span!(
        "request",
        method = %request.method(),
        path = path.get(..MAX_PATH).unwrap_or(path),
        request_id = id.as_str(),
    );
    request.extensions_mut().insert(id.clone());
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let took_ms = began.elapsed().as_millis();
    span.in_scope(|| tracing::debug!(status, took_ms, "answered"));
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response.map(|body| Body::new(InSpan { body, span }))
}

/// A body that is made in the span of its request: an answer may fail long after it began.
struct InSpan {
    body: Body,
    span: Span,
}

impl HttpBody for InSpan {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.span
            .in_scope(|| Pin::new(&mut this.body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_taken_if_they_are_sane() {
        let given = |text: &[u8]| {
            let value = HeaderValue::from_bytes(text).unwrap();
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, value)]);
            RequestId::given(&headers).map(|id| id.as_str().to_owned())
        };
        let longest = "x".repeat(MAX_BYTES);
        for good in ["7", "a-b_c.d:e/f", &longest] {
            assert_eq!(given(good.as_bytes()).as_deref(), Some(good));
        }
        for bad in [
            "",
            "two words",
            "\u{fc}",
            "tab\there",
            &format!("{longest}x"),
        ] {
            assert_eq!(given(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(RequestId::given(&HeaderMap::new()), None);
    }

    #[test]
    fn fresh_ids_differ() {
        let (one, other) = (RequestId::fresh(), RequestId::fresh());
        assert_ne!(one, other);
        assert!(one.as_str().len() == 32 && one.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
