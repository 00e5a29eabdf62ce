//! Proof that a segment's bytes are those its commit names.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tourbillon_core::digest::Digest;
use tourbillon_core::manifest::SegmentMeta;
use tourbillon_core::rows_root::rows_root;
use tourbillon_core::sealer::SLICE_ROWS;

use super::write::{offset_range, strict_range};
use crate::error::LakeError;

/// Recomputes both digests, the size, the row count and the ranges of keys and offsets.
pub fn verify_segment(path: &str, bytes: &Bytes, meta: &SegmentMeta) -> Result<(), LakeError> {
    let damaged = |reason: &str| LakeError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if bytes.len() as u64 != meta.bytes {
        return Err(damaged("it does not have the size of its commit"));
    }
    if Digest::of(bytes) != meta.file_hash {
        return Err(damaged("its bytes do not have the file_hash of its commit"));
    }
    let (schema, rows) = catch_unwind(AssertUnwindSafe(|| read_all(path, bytes)))
        // the Parquet reader may panic over bytes that no writer made
        .unwrap_or_else(|_| Err(damaged("the Parquet reader gave up on it")))?;
    let root = rows_root(&schema, &rows).map_err(|error| damaged(&error.to_string()))?;
    if root != meta.rows_root {
        return Err(damaged("its rows do not have the rows_root of its commit"));
    }
    let range = strict_range(&rows).map_err(|reason| damaged(&reason))?;
    let count: u64 = rows.iter().map(|batch| batch.num_rows() as u64).sum();
    let described = (meta.first_key, meta.last_key) == range
        && meta.offsets == offset_range(&rows)
        && meta.rows == count;
    if !described {
        return Err(damaged("its rows are not those that its commit describes"));
    }
    Ok(())
}

fn read_all(path: &str, bytes: &Bytes) -> Result<(SchemaRef, Vec<RecordBatch>), LakeError> {
    let failed = |source| LakeError::Parquet {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(failed)?;
    let reader = reader.with_batch_size(SLICE_ROWS).build().map_err(failed)?;
    let schema = reader.schema();
    let rows = reader
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.into()))?;
    Ok((schema, rows))
}
