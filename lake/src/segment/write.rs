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
use tourbillon_core::digest::{Digest, file_digest};
use tourbillon_core::hlc::Key;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::manifest::SegmentMeta;
use tourbillon_core::open_rows::{key_at, offsets, stamps, writers};
use tourbillon_core::rows_root::{Reslicer, RootHasher};
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
    let mut builder = SegmentBuilder::new(spec)?;
    for batch in rows {
        builder.push(batch)?;
    }
    builder.finish()
}

/// Encodes a segment whose rows come batch by batch, in the memory that its bytes take.
pub(crate) struct SegmentBuilder {
    partition: PartitionId,
    schema_version: u32,
    slices: Reslicer,
    root: RootHasher,
    writer: ArrowWriter<Vec<u8>>,
    facts: Facts,
}

impl std::fmt::Debug for SegmentBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentBuilder")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl SegmentBuilder {
    /// Begins a segment.
    pub(crate) fn new(spec: &SegmentSpec<'_>) -> Result<Self, LakeError> {
        let (partition, schema) = (spec.partition, spec.schema.stored());
        let failed = |source| not_written(partition, source);
        let properties = properties(schema).map_err(failed)?;
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties));
        let event_time = spec.schema.event_time();
        Ok(Self {
            partition,
            schema_version: spec.schema_version,
            slices: Reslicer::new(schema, SLICE_ROWS),
            root: RootHasher::new(schema),
            writer: writer.map_err(failed)?,
            facts: Facts {
                event_time_column: event_time.map(|i| spec.schema.columns()[i].name.clone()),
                ..Facts::default()
            },
        })
    }

    /// Takes the next rows.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        let slices = self.slices.push(batch);
        let slices = slices.map_err(|e| not_written(self.partition, e.into()))?;
        slices.iter().try_for_each(|slice| self.write(slice))
    }

    /// The segment.
    pub(crate) fn finish(mut self) -> Result<EncodedSegment, LakeError> {
        let partition = self.partition;
        let failed = |source| not_written(partition, source);
        let last = self.slices.finish().map_err(|e| failed(e.into()))?;
        last.iter().try_for_each(|slice| self.write(slice))?;
        let damaged = |reason| LakeError::Damaged {
            path: new_path(partition),
            reason,
        };
        let (first_key, last_key) = self.facts.range().map_err(damaged)?;
        let rows_root = self.root.finish().map_err(|e| failed(e.into()))?;
        let bytes = self.writer.into_inner().map_err(failed)?;
        let (file_hash, pieces) = file_digest(&bytes);
        let meta = SegmentMeta {
            name: segment_name(partition, first_key, rows_root),
            rows: self.facts.rows,
            rows_root,
            file_hash,
            pieces,
            bytes: bytes.len() as u64,
            first_key,
            last_key,
            offsets: self.facts.offsets.unwrap_or_default(),
            event_time: self.facts.event_time,
            schema_version: self.schema_version,
        };
        Ok(EncodedSegment {
            meta,
            bytes: bytes.into(),
        })
    }

    fn write(&mut self, slice: &RecordBatch) -> Result<(), LakeError> {
        let partition = self.partition;
        let failed = |source| not_written(partition, source);
        self.facts
            .note(slice)
            .map_err(|reason| LakeError::Damaged {
                path: new_path(partition),
                reason,
            })?;
        self.root.push(slice).map_err(|e| failed(e.into()))?;
        self.writer.write(slice).map_err(failed)
    }
}

fn new_path(partition: PartitionId) -> String {
    format!("a new segment of partition {partition}")
}

fn not_written(partition: PartitionId, source: ParquetError) -> LakeError {
    LakeError::Parquet {
        action: "write",
        path: new_path(partition),
        source,
    }
}

/// What a commit says of rows, gathered batch by batch.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) rows: u64,
    pub(super) offsets: Option<(Offset, Offset)>,
    event_time_column: Option<String>,
    event_time: Option<(i64, i64)>,
    first: Option<Key>,
    last: Option<Key>,
}

impl Facts {
    /// INV-ORDER: keys strictly increase.
    pub(super) fn note(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let mut above = self.last.map(|key| (key.hlc.0, key.writer.0));
        let keys = stamps(batch)
            .iter()
            .copied()
            .zip(writers(batch).iter().copied());
        for key in keys {
            if above.is_some_and(|above| above >= key) {
                return Err(format!("key {key:?} does not lie above {above:?}"));
            }
            above = Some(key);
        }
        let Some(end) = batch.num_rows().checked_sub(1) else {
            return Ok(());
        };
        self.first.get_or_insert_with(|| key_at(batch, 0));
        self.last = Some(key_at(batch, end));
        self.rows += batch.num_rows() as u64;
        let lowest = offsets(batch).iter().copied().min().map(Offset);
        let highest = offsets(batch).iter().copied().max().map(Offset);
        self.offsets = union(self.offsets, lowest.zip(highest));
        self.event_time = union(self.event_time, self.event_times(batch));
        Ok(())
    }

    /// The first key and the last.
    pub(super) fn range(&self) -> Result<(Key, Key), String> {
        self.first
            .zip(self.last)
            .ok_or_else(|| "it has no rows".into())
    }

    fn event_times(&self, batch: &RecordBatch) -> Option<(i64, i64)> {
        let column = batch.column_by_name(self.event_time_column.as_ref()?)?;
        let times = column.as_primitive_opt::<TimestampNanosecondType>()?;
        Some((min(times)?, max(times)?))
    }
}

fn union<T: Ord>(one: Option<(T, T)>, other: Option<(T, T)>) -> Option<(T, T)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}

fn segment_name(partition: PartitionId, first: Key, root: Digest) -> String {
    let hlc = first.hlc.0;
    let time: DateTime<Utc> = DateTime::from_timestamp_nanos(hlc);
    let (date, hour) = (time.format("%Y-%m-%d"), time.format("%H"));
    format!("data/date={date}/hour={hour}/p{partition}-{hlc:020}-{root}.parquet")
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
