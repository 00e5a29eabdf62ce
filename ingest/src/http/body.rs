//! Request bodies: bounded, paid for from the budget, decompressed.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use tokio::time::timeout;

use super::header;
use crate::budget::Reservation;
use crate::error::IngestError;
use crate::gateway::{Gateway, REQUEST_BYTES};
use crate::settings::Limits;

/// How long the next bytes of a body may take.
const CHUNK_PATIENCE: Duration = Duration::from_secs(30);

/// Bytes decompressed between two looks at the limits.
const STEP_BYTES: u64 = 1 << 20;

/// Largest zstd window, as a power of two: RFC 9659 allows 8 MB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// A body as sent.
#[derive(Debug)]
pub(super) struct Upload {
    bytes: Bytes,
    encoding: Encoding,
    limits: Limits,
    held: Reservation,
}

impl Upload {
    /// Reads a body. One that announces too many bytes is refused unread; one that announces
    /// none is cut off at the limit.
    pub(super) async fn read(
        gateway: &Gateway,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, IngestError> {
        let limits = gateway.settings().limits;
        let encoding = encoding(headers)?;
        let limit_bytes = limits.body_bytes;
        let check = |bytes: usize| match bytes <= limit_bytes {
            true => Ok(()),
            false => Err(IngestError::TooLarge {
                what: "body",
                limit_bytes,
            }),
        };
        if let Some(announced) = header(headers, CONTENT_LENGTH.as_str())? {
            check(announced.parse().unwrap_or(usize::MAX))?;
        }
        let mut held = gateway.reserve(REQUEST_BYTES)?;
        let mut bytes = BytesMut::new();
        let mut chunks = body.into_data_stream();
        loop {
            let chunk = timeout(CHUNK_PATIENCE, chunks.next()).await;
            let Some(chunk) = chunk.map_err(|_| IngestError::SlowBody)? else {
                break;
            };
            let chunk = chunk.map_err(IngestError::Body)?;
            check(bytes.len() + chunk.len())?;
            bytes.extend_from_slice(&chunk);
            held.resize(bytes.capacity() + REQUEST_BYTES)?;
        }
        Ok(Self {
            bytes: bytes.freeze(),
            encoding,
            limits,
            held,
        })
    }

    /// The content. CPU-bound.
    pub(super) fn decompress(mut self) -> Result<(Bytes, Reservation), IngestError> {
        let bytes = match self.encoding {
            Encoding::Identity => self.bytes,
            Encoding::Gzip => self.inflate(MultiGzDecoder::new(&*self.bytes.clone()))?,
            Encoding::Zstd => {
                let compressed = self.bytes.clone();
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&*compressed)
                    .map_err(IngestError::Decompress)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG)
                    .map_err(IngestError::Decompress)?;
                self.inflate(decoder)?
            }
        };
        Ok((bytes, self.held))
    }

    fn inflate(&mut self, mut reader: impl Read) -> Result<Bytes, IngestError> {
        let limit_bytes = self.limits.decompressed_bytes;
        let mut content = Vec::new();
        loop {
            let read = reader.by_ref().take(STEP_BYTES).read_to_end(&mut content);
            if read.map_err(IngestError::Decompress)? == 0 {
                return Ok(content.into());
            }
            if content.len() > limit_bytes {
                return Err(IngestError::TooLarge {
                    what: "decompressed body",
                    limit_bytes,
                });
            }
            self.held
                .resize(self.bytes.len() + content.capacity() + REQUEST_BYTES)?;
        }
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, IngestError> {
    let text = header(headers, CONTENT_ENCODING.as_str())?
        .unwrap_or("identity")
        .trim();
    match text.to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "zstd" => Ok(Encoding::Zstd),
        _ => Err(IngestError::Encoding(text.chars().take(40).collect())),
    }
}
