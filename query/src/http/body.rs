//! The body of an answer, encoded as its reader takes it.

use arrow::array::RecordBatch;
use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tourbillon_core::error::error_chain;

use crate::encode::Encoder;
use crate::error::QueryError;

/// The rows as bytes. Returns once the first are made, so that early errors have a status; later
/// ones break the body off. `unfit` says what it means if a batch cannot be encoded.
///
/// # Errors
/// Those of the rows before the first batch, and of encoding it.
pub async fn encoded<E>(
    mut encoder: Encoder,
    mut batches: BoxStream<'static, Result<RecordBatch, E>>,
    unfit: impl Fn(QueryError) -> E + Send + 'static,
) -> Result<Body, E>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let first = match batches.try_next().await? {
        Some(batch) => encoder.encode(&batch).map_err(&unfit)?,
        None => Bytes::new(),
    };
    let start = Some((batches, encoder, unfit));
    let rest = stream::try_unfold(start, |state| async move {
        let Some((mut batches, mut encoder, unfit)) = state else {
            return Ok(None);
        };
        match batches.try_next().await? {
            Some(batch) => {
                let bytes = encoder.encode(&batch).map_err(&unfit)?;
                Ok(Some((bytes, Some((batches, encoder, unfit)))))
            }
            None => Ok(Some((encoder.finish().map_err(&unfit)?, None))),
        }
    });
    let rest = rest.inspect_err(|error: &E| {
        tracing::warn!(error = error_chain(error), "answer broken off");
    });
    let body = stream::once(async { Ok(first) }).chain(rest);
    Ok(Body::from_stream(body))
}
