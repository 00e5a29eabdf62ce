//! Reading ranges of a segment, whose bytes leave only after the pieces under them were found sound.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::sound::{Pieces, other_size};
use crate::blocking::off_thread;
use crate::error::LakeError;
use crate::store::store_error;

/// Bytes at the end of a file that are read at once for its footer, which is seldom larger.
const FOOTER_BYTES: usize = 64 << 10;

/// Bytes at least this many are hashed off the async thread.
const LARGE_BYTES: usize = 128 << 10;

/// Reads a segment for the Parquet reader. Errors are [`LakeError`]s within its own.
#[derive(Clone, Debug)]
pub(crate) struct SoundReader {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) pieces: Arc<Pieces>,
}

impl SoundReader {
    async fn read(&self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, LakeError> {
        let size = self.pieces.bytes();
        if ranges.iter().any(|at| at.start > at.end || at.end > size) {
            return Err(self.damaged("its footer points to bytes that it does not have"));
        }
        if ranges.iter().all(|range| self.pieces.are_sound(range)) {
            return self.fetch(&ranges).await;
        }
        let wide = self.pieces.widened(&ranges);
        let found = self.fetch(&wide).await?;
        let total = found.iter().map(Bytes::len).sum::<usize>();
        let (pieces, starts) = (Arc::clone(&self.pieces), wide.clone());
        let (proven, found) = {
            let prove = move || {
                let mut parts = starts.iter().zip(&found);
                (parts.all(|(at, part)| pieces.prove(at.start, part)), found)
            };
            match total < LARGE_BYTES {
                true => prove(),
                false => off_thread(prove).await.map_err(LakeError::Task)?,
            }
        };
        if !proven {
            return Err(self.damaged("its bytes do not have the digests of its commit"));
        }
        let cut = ranges.iter().map(|range| cut(range, &wide, &found));
        Ok(cut.collect())
    }

    async fn fetch(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, LakeError> {
        let found = self.store.get_ranges(&self.path, ranges).await;
        let found = match found {
            Ok(found) => found,
            Err(source) => return Err(self.failed(source).await),
        };
        let asked = ranges.iter().map(|range| range.end - range.start);
        let whole = found.iter().map(|part| part.len() as u64).eq(asked);
        whole
            .then_some(found)
            .ok_or_else(|| self.damaged("it is shorter than its commit says"))
    }

    /// Tells a file that was cut off from a store that does not answer.
    async fn failed(&self, source: object_store::Error) -> LakeError {
        let said = self.pieces.bytes();
        match self.store.head(&self.path).await {
            Ok(head) if head.size != said => self.damaged(&other_size(head.size, said)),
            _ => store_error("read", &self.path, source),
        }
    }

    fn damaged(&self, reason: &str) -> LakeError {
        LakeError::Damaged {
            path: self.path.to_string(),
            reason: reason.to_owned(),
        }
    }
}

/// A range of the parts that lie where `wide` says, one of which holds it.
fn cut(range: &Range<u64>, wide: &[Range<u64>], found: &[Bytes]) -> Bytes {
    let part = wide.partition_point(|part| part.start <= range.start);
    let Some(part) = part.checked_sub(1).filter(|_| range.start < range.end) else {
        return Bytes::new();
    };
    let within = |at: u64| usize::try_from(at - wide[part].start).unwrap_or(usize::MAX);
    found[part].slice(within(range.start)..within(range.end))
}

fn external(error: LakeError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for SoundReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let found = async { self.read(vec![range]).await.map_err(external) };
        let one = found.map(|found| Ok(found?.into_iter().next().unwrap_or_default()));
        one.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async { self.read(ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let bytes = self.pieces.bytes();
        let reader = ParquetMetaDataReader::new()
            .with_arrow_reader_options(options)
            .with_prefetch_hint(Some(FOOTER_BYTES));
        async move { Ok(Arc::new(reader.load_and_finish(self, bytes).await?)) }.boxed()
    }
}
