//! Proof that a segment's bytes are those its commit names.

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tourbillon_core::digest::Digest;
use tourbillon_core::manifest::SegmentMeta;
use tourbillon_core::rows_root::rows_root;
use tourbillon_core::sealer::SLICE_ROWS;

use super::write::strict_range;
use crate::error::LakeError;

/// Recomputes both digests, the row count and the key range.
pub fn verify_segment(path: &str, bytes: &Bytes, meta: &SegmentMeta) -> Result<(), LakeError> {
    let damaged = |reason: &str| LakeError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if Digest::of(bytes) != meta.file_hash {
        return Err(damaged("its bytes do not have the file_hash of its commit"));
    }
    let (schema, rows) = read_all(path, bytes)?;
    let root = rows_root(&schema, &rows).map_err(|error| damaged(&error.to_string()))?;
    if root != meta.rows_root {
        return Err(damaged("its rows do not have the rows_root of its commit"));
    }
    let range = strict_range(&rows).map_err(|reason| damaged(&reason))?;
    let count: u64 = rows.iter().map(|batch| batch.num_rows() as u64).sum();
    if range != (meta.first_key, meta.last_key) || count != meta.rows {
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
