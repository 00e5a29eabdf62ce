//! Rows to the bytes of a segment. Pure and CPU-bound: call it off the async threads.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, SchemaRef, TimestampNanosecondType};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use tourbillon_core::digest::Digest;
use tourbillon_core::hlc::Key;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::manifest::SegmentMeta;
use tourbillon_core::open_rows::{key_at, offsets, stamps, writers};
use tourbillon_core::rows_root::{reslice, rows_root};
use tourbillon_core::schema::StreamSchema;
use tourbillon_core::sealer::SLICE_ROWS;

use crate::error::LakeError;

/// Rows of a row group.
const ROW_GROUP_ROWS: usize = 131_072;

/// What a segment's file is made for.
#[derive(Clone, Copy, Debug)]
pub struct SegmentSpec<'a> {
    /// The partition.
    pub partition: PartitionId,
    /// The schema of its rows.
    pub schema: &'a StreamSchema,
    /// The version of that schema.
    pub schema_version: u32,
}

/// A segment ready to be stored.
#[derive(Clone, Debug)]
pub struct EncodedSegment {
    /// What the commit says of it.
    pub meta: SegmentMeta,
    /// The file.
    pub bytes: Bytes,
}

/// Encodes rows, which have the schema's stored form and stand in strict key order. The bytes do
/// not depend on how the rows are batched.
pub fn encode_segment(
    spec: &SegmentSpec<'_>,
    rows: &[RecordBatch],
) -> Result<EncodedSegment, LakeError> {
    let path = || format!("a new segment of partition {}", spec.partition);
    let failed = |source| LakeError::Parquet {
        action: "write",
        path: path(),
        source,
    };
    let damaged = |reason: String| LakeError::Damaged {
        path: path(),
        reason,
    };
    let schema = spec.schema.stored();
    let slices = reslice(schema, rows, SLICE_ROWS).map_err(|e| failed(e.into()))?;
    let (first_key, last_key) = strict_range(&slices).map_err(damaged)?;
    let rows_root = rows_root(schema, &slices).map_err(|e| failed(e.into()))?;
    let bytes = write(schema, &slices).map_err(failed)?;
    let meta = SegmentMeta {
        name: segment_name(spec.partition, first_key, rows_root).map_err(damaged)?,
        rows: slices.iter().map(|slice| slice.num_rows() as u64).sum(),
        rows_root,
        file_hash: Digest::of(&bytes),
        bytes: bytes.len() as u64,
        first_key,
        last_key,
        offsets: offset_range(&slices),
        event_time: event_time_range(spec.schema, &slices),
        schema_version: spec.schema_version,
    };
    Ok(EncodedSegment {
        meta,
        bytes: bytes.into(),
    })
}

/// INV-ORDER: keys strictly increase. Returns the first and the last.
pub(super) fn strict_range(slices: &[RecordBatch]) -> Result<(Key, Key), String> {
    let (Some(first), Some(last)) = (slices.first(), slices.last()) else {
        return Err("it has no rows".into());
    };
    let mut above: Option<(i64, u32)> = None;
    for slice in slices {
        for key in stamps(slice)
            .iter()
            .copied()
            .zip(writers(slice).iter().copied())
        {
            if above.is_some_and(|above| above >= key) {
                return Err(format!("key {key:?} does not lie above {above:?}"));
            }
            above = Some(key);
        }
    }
    Ok((key_at(first, 0), key_at(last, last.num_rows() - 1)))
}

fn segment_name(partition: PartitionId, first: Key, root: Digest) -> Result<String, String> {
    let hlc = first.hlc.0;
    let time: DateTime<Utc> = DateTime::from_timestamp_nanos(hlc);
    let (date, hour) = (time.format("%Y-%m-%d"), time.format("%H"));
    Ok(format!(
        "data/date={date}/hour={hour}/p{partition}-{hlc:020}-{root}.parquet"
    ))
}

pub(super) fn offset_range(slices: &[RecordBatch]) -> (Offset, Offset) {
    let all = || {
        slices
            .iter()
            .flat_map(|slice| offsets(slice).iter().copied())
    };
    (
        Offset(all().min().unwrap_or(0)),
        Offset(all().max().unwrap_or(0)),
    )
}

fn event_time_range(schema: &StreamSchema, slices: &[RecordBatch]) -> Option<(i64, i64)> {
    let name = &schema.columns()[schema.event_time()?].name;
    let columns = slices.iter().filter_map(|slice| slice.column_by_name(name));
    let bounds = columns.filter_map(|column| {
        let times = column.as_primitive_opt::<TimestampNanosecondType>()?;
        Some((min(times)?, max(times)?))
    });
    bounds.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
}

fn write(schema: &SchemaRef, slices: &[RecordBatch]) -> Result<Vec<u8>, ParquetError> {
    let properties = properties(schema)?;
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties))?;
    for slice in slices {
        writer.write(slice)?;
    }
    writer.into_inner()
}

/// Everything that decides a file's bytes besides its rows.
fn properties(schema: &SchemaRef) -> Result<WriterProperties, ParquetError> {
    let ascending = |column_idx| SortingColumn {
        column_idx,
        descending: false,
        nulls_first: false,
    };
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by("tourbillon".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(SLICE_ROWS)
        .set_write_batch_size(SLICE_ROWS)
        .set_sorting_columns(Some(vec![ascending(0), ascending(1)]));
    for field in schema.fields() {
        let steps = match field.data_type() {
            DataType::Timestamp(..) | DataType::UInt64 | DataType::Int64 => true,
            // whole prices repeat; wider decimals are byte arrays, which have no deltas
            _ => false,
        };
        if steps {
            let column = ColumnPath::from(field.name().as_str());
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    Ok(properties.build())
}
