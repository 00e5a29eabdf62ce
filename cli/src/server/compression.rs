//! Answers compressed as `Accept-Encoding` allows.
//!
//! The encoders give out what they have whenever the answer pauses, so a compressed answer streams
//! as a plain one does.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, Predicate, SizeAbove};

/// Answers shorter than this are not worth it, bytes.
const MIN_BYTES: u16 = 1024;

/// Media types that are compressed already, or whose events must not wait for one another.
const NOT: [&str; 4] = [
    "text/event-stream",
    "application/vnd.apache.parquet",
    "application/grpc",
    "image/png",
];

type Worth = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

/// gzip or zstd, at the speed of the rows.
pub(super) fn layer() -> CompressionLayer<And<SizeAbove, Worth>> {
    let worth: Worth = |_, _, headers, _| is_worth(headers);
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_BYTES).and(worth))
}

fn is_worth(headers: &HeaderMap) -> bool {
    let media = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    media.is_some_and(|media| !NOT.iter().any(|not| media.starts_with(not)))
}

/// The encoders ask a body again that has ended, which not every body takes.
pub(super) async fn ended_once(response: Response) -> Response {
    response.map(|body| {
        let ended = false;
        Body::new(EndedOnce { body, ended })
    })
}

/// A body that may be asked again after its end.
struct EndedOnce {
    body: Body,
    ended: bool,
}

impl HttpBody for EndedOnce {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.ended = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
