//! A segment that is being read.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use tourbillon_core::digest::Digest;
use tourbillon_core::ids::StreamName;
use tourbillon_core::manifest::SegmentMeta;

use super::reader::SoundReader;
use crate::error::LakeError;
use crate::store::{Lake, object_path};

/// A segment whose footer is known. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) name: Arc<str>,
    /// What identifies its bytes in this process.
    pub(crate) bytes: Digest,
    pub(crate) footer: ArrowReaderMetadata,
    pub(crate) reader: SoundReader,
}

impl Lake {
    /// Opens a segment: looks whether a local file has changed, and reads the footer if it is not
    /// in memory.
    pub(crate) async fn open_segment(
        &self,
        stream: &StreamName,
        meta: &SegmentMeta,
    ) -> Result<Segment, LakeError> {
        let path = object_path(stream, &meta.name);
        let (bytes, pieces) = self.pieces(&path, meta).await?;
        let name: Arc<str> = path.as_ref().into();
        let mut reader = SoundReader {
            store: Arc::clone(&self.store),
            path,
            pieces,
        };
        let footer = match self.footers.get(&bytes) {
            Some(footer) => footer,
            None => self.read_footer(bytes, &name, &mut reader).await?,
        };
        Ok(Segment {
            name,
            bytes,
            footer,
            reader,
        })
    }

    async fn read_footer(
        &self,
        bytes: Digest,
        name: &str,
        reader: &mut SoundReader,
    ) -> Result<ArrowReaderMetadata, LakeError> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let footer = ArrowReaderMetadata::load_async(reader, options);
        let footer = checked(name, AssertUnwindSafe(footer).catch_unwind().await)?;
        self.footers.put(bytes, footer.clone());
        Ok(footer)
    }
}

/// What went wrong, taken out of the Parquet reader's error if it happened below it.
pub(super) fn failed(path: &str, source: ParquetError) -> LakeError {
    let source = match source {
        ParquetError::External(cause) => match cause.downcast() {
            Ok(below) => return *below,
            Err(cause) => ParquetError::External(cause),
        },
        other => other,
    };
    LakeError::Parquet {
        action: "read",
        path: path.to_owned(),
        source,
    }
}

/// The Parquet reader may panic over bytes that no writer made.
pub(super) fn checked<T>(
    path: &str,
    outcome: std::thread::Result<Result<T, ParquetError>>,
) -> Result<T, LakeError> {
    match outcome {
        Ok(outcome) => outcome.map_err(|source| failed(path, source)),
        Err(_) => Err(LakeError::Damaged {
            path: path.to_owned(),
            reason: "the Parquet reader gave up on it".to_owned(),
        }),
    }
}
