//! Proof that a segment's bytes are those its commit names, in memory that does not grow with it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use tourbillon_core::digest::file_digest;
use tourbillon_core::manifest::SegmentMeta;
use tourbillon_core::rows_root::RootHasher;
use tourbillon_core::sealer::SLICE_ROWS;

use super::write::Facts;
use crate::error::LakeError;

/// Recomputes both digests, the size, the row count and the ranges of keys and offsets.
pub fn verify_segment(path: &str, bytes: &Bytes, meta: &SegmentMeta) -> Result<(), LakeError> {
    check_bytes(path, bytes, meta)?;
    verify_rows(path, bytes, &[&[meta]])
}

/// Proves that a file holds the rows of `parts`, which follow one another, and no others.
pub(crate) fn verify_compacted(
    path: &str,
    bytes: &Bytes,
    meta: &SegmentMeta,
    parts: &[SegmentMeta],
) -> Result<(), LakeError> {
    check_bytes(path, bytes, meta)?;
    let parts: Vec<_> = parts.iter().collect();
    verify_rows(path, bytes, &[&[meta], &parts])
}

/// Fails unless the size and the digest are those of `meta`.
pub(crate) fn check_bytes(path: &str, bytes: &Bytes, meta: &SegmentMeta) -> Result<(), LakeError> {
    if bytes.len() as u64 != meta.bytes {
        return Err(damaged(path, "it does not have the size of its commit"));
    }
    let (file_hash, pieces) = file_digest(bytes);
    if file_hash != meta.file_hash {
        let reason = "its bytes do not have the file_hash of its commit";
        return Err(damaged(path, reason));
    }
    if pieces != meta.pieces {
        let reason = "its bytes do not have the pieces of its commit";
        return Err(damaged(path, reason));
    }
    Ok(())
}

fn damaged(path: &str, reason: &str) -> LakeError {
    LakeError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Holds the rows, read once, against each of several ways to say in parts what they are.
fn verify_rows(path: &str, bytes: &Bytes, said: &[&[&SegmentMeta]]) -> Result<(), LakeError> {
    catch_unwind(AssertUnwindSafe(|| {
        let rows = read_rows(path, bytes)?;
        let schema = rows.schema();
        let proofs = said
            .iter()
            .map(|parts| Proof::new(path, SchemaRef::clone(&schema), parts));
        let mut proofs: Vec<_> = proofs.collect();
        for batch in rows {
            let batch = batch.map_err(|error| not_read(path, error.into()))?;
            for proof in &mut proofs {
                proof.push(batch.clone())?;
            }
        }
        proofs.into_iter().try_for_each(Proof::finish)
    }))
    // the Parquet reader may panic over bytes that no writer made
    .unwrap_or_else(|_| Err(damaged(path, "the Parquet reader gave up on it")))
}

/// The rows of a file, in batches of [`SLICE_ROWS`].
pub(crate) fn read_rows(path: &str, bytes: &Bytes) -> Result<ParquetRecordBatchReader, LakeError> {
    let failed = |source| not_read(path, source);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(failed)?;
    reader.with_batch_size(SLICE_ROWS).build().map_err(failed)
}

pub(crate) fn not_read(path: &str, source: parquet::errors::ParquetError) -> LakeError {
    LakeError::Parquet {
        action: "read",
        path: path.to_owned(),
        source,
    }
}

/// Rows held against what commits say of them, part by part.
struct Proof<'a> {
    path: &'a str,
    schema: SchemaRef,
    parts: std::slice::Iter<'a, &'a SegmentMeta>,
    part: Option<(&'a SegmentMeta, RootHasher, Facts)>,
}

impl<'a> Proof<'a> {
    fn new(path: &'a str, schema: SchemaRef, parts: &'a [&'a SegmentMeta]) -> Self {
        let mut proof = Self {
            path,
            schema,
            parts: parts.iter(),
            part: None,
        };
        proof.next_part();
        proof
    }

    fn next_part(&mut self) {
        let begin =
            |meta: &&'a SegmentMeta| (*meta, RootHasher::new(&self.schema), Facts::default());
        self.part = self.parts.next().map(begin);
    }

    fn push(&mut self, mut rows: RecordBatch) -> Result<(), LakeError> {
        while rows.num_rows() > 0 {
            let Some((meta, root, facts)) = &mut self.part else {
                return Err(damaged(self.path, "it has more rows than its commit says"));
            };
            let room = meta.rows.saturating_sub(facts.rows);
            let count = usize::try_from(room).map_or(rows.num_rows(), |r| r.min(rows.num_rows()));
            let head = rows.slice(0, count);
            rows = rows.slice(count, rows.num_rows() - count);
            facts
                .note(&head)
                .map_err(|reason| damaged(self.path, &reason))?;
            let hashed = root.push(&head);
            hashed.map_err(|error| damaged(self.path, &error.to_string()))?;
            if facts.rows == meta.rows {
                self.end_part()?;
            }
        }
        Ok(())
    }

    fn end_part(&mut self) -> Result<(), LakeError> {
        let Some((meta, root, facts)) = self.part.take() else {
            return Ok(());
        };
        let root = root.finish();
        let root = root.map_err(|error| damaged(self.path, &error.to_string()))?;
        if root != meta.rows_root {
            let reason = "its rows do not have the rows_root of its commit";
            return Err(damaged(self.path, reason));
        }
        let range = facts
            .range()
            .map_err(|reason| damaged(self.path, &reason))?;
        let described = (meta.first_key, meta.last_key) == range
            && facts.offsets == Some(meta.offsets)
            && facts.rows == meta.rows;
        if !described {
            let reason = "its rows are not those that its commit describes";
            return Err(damaged(self.path, reason));
        }
        self.next_part();
        Ok(())
    }

    fn finish(self) -> Result<(), LakeError> {
        match self.part {
            None => Ok(()),
            Some((meta, _, facts)) => {
                let (found, said) = (facts.rows, meta.rows);
                let reason = format!("it has {found} rows where its commit says {said}");
                Err(damaged(self.path, &reason))
            }
        }
    }
}
