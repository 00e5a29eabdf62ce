//! Bodies of DATA frames: Arrow IPC messages of a known schema.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, RecordBatch, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::writer::{
    DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message,
};
use arrow::ipc::{MessageHeader, root_as_message};
use bytes::Bytes;

use super::{FrameError, FrameHeader};
use crate::schema::StreamSchema;

/// Bytes before an IPC message's metadata: a marker and the metadata's length.
const PREFIX_BYTES: usize = 8;

/// Column of stamps relative to the frame's first, where they are not contiguous.
const DELTA: &str = "hlc_delta";

/// Writes and reads bodies of one schema version.
#[derive(Debug)]
pub struct BodyCodec {
    schema: StreamSchema,
    plain: SchemaRef,
    with_delta: SchemaRef,
    dictionaries: usize,
}

impl BodyCodec {
    /// A codec for `schema`.
    pub fn new(schema: StreamSchema) -> Result<Self, FrameError> {
        let delta = Arc::new(Field::new(DELTA, DataType::UInt32, false));
        let own = schema.data().fields();
        let fields: Vec<_> = std::iter::once(delta).chain(own.iter().cloned()).collect();
        let dictionary = |f: &&Arc<Field>| matches!(f.data_type(), DataType::Dictionary(..));
        Ok(Self {
            dictionaries: own.iter().filter(dictionary).count(),
            plain: with_dictionary_ids(schema.data())?,
            with_delta: with_dictionary_ids(&Schema::new(fields))?,
            schema,
        })
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &StreamSchema {
        &self.schema
    }

    /// Encodes rows of the stream's data schema. `deltas` are the stamps relative to the frame's
    /// first, absent if they are 0, 1, 2…
    pub fn encode(
        &self,
        rows: &RecordBatch,
        deltas: Option<UInt32Array>,
    ) -> Result<Vec<u8>, FrameError> {
        let rows = match deltas {
            None => rows.clone(),
            Some(deltas) => {
                let first: ArrayRef = Arc::new(deltas);
                let columns = std::iter::once(first).chain(rows.columns().iter().cloned());
                RecordBatch::try_new(Arc::clone(&self.with_delta), columns.collect())
                    .map_err(FrameError::Body)?
            }
        };
        self.messages(&rows).map_err(FrameError::Body)
    }

    fn messages(&self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut tracker = DictionaryTracker::new(false);
        for _ in 0..self.dictionaries {
            tracker.next_dict_id();
        }
        let options = IpcWriteOptions::default();
        let mut context = IpcWriteContext::default();
        let (dictionaries, batch) =
            IpcDataGenerator::default().encode(rows, &mut tracker, &options, &mut context)?;
        let mut out = Vec::with_capacity(rows.get_array_memory_size() + 1024);
        for message in dictionaries.into_iter().chain([batch]) {
            write_message(&mut out, message, &options)?;
        }
        Ok(out)
    }

    /// The stored rows of a DATA frame that lies at `offset`: system columns, then its own.
    pub fn decode(
        &self,
        header: &FrameHeader,
        body: &Bytes,
        offset: u64,
    ) -> Result<RecordBatch, FrameError> {
        let schema = if header.contiguous {
            &self.plain
        } else {
            &self.with_delta
        };
        let batch = read_caught(body, schema).map_err(FrameError::Body)?;
        let rows = batch.num_rows();
        if u32::try_from(rows) != Ok(header.rows) {
            return Err(FrameError::Field { field: "row count" });
        }
        let own = usize::from(!header.contiguous);
        let stamps = if header.contiguous {
            TimestampNanosecondArray::from_iter_values(header.hlc_first.0..=header.hlc_last.0)
        } else {
            self.stamps(header, &batch)?
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns() + 3 - own);
        columns.push(Arc::new(stamps.with_timezone("UTC")));
        columns.push(Arc::new(UInt32Array::from_value(header.writer.0, rows)));
        columns.push(Arc::new(UInt64Array::from_value(offset, rows)));
        columns.extend(batch.columns()[own..].iter().cloned());
        RecordBatch::try_new(Arc::clone(self.schema.stored()), columns).map_err(FrameError::Body)
    }

    fn stamps(
        &self,
        header: &FrameHeader,
        batch: &RecordBatch,
    ) -> Result<TimestampNanosecondArray, FrameError> {
        let deltas = batch.column(0).as_primitive::<UInt32Type>().values();
        let last = header.hlc_last.0 - header.hlc_first.0;
        let ends = deltas.first() == Some(&0) && deltas.last().map(|d| i64::from(*d)) == Some(last);
        if !ends || !deltas.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(FrameError::Field { field: "stamps" });
        }
        let first = header.hlc_first.0;
        Ok(TimestampNanosecondArray::from_iter_values(
            deltas.iter().map(|delta| first + i64::from(*delta)),
        ))
    }
}

/// The schema as a reader of its IPC message would see it, which numbers the dictionaries.
fn with_dictionary_ids(schema: &Schema) -> Result<SchemaRef, FrameError> {
    let bytes = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut DictionaryTracker::new(false),
        &IpcWriteOptions::default(),
    );
    let message = root_as_message(&bytes.ipc_message)
        .map_err(|e| FrameError::Body(ArrowError::IpcError(e.to_string())))?;
    let schema = message
        .header_as_schema()
        .ok_or(FrameError::Field { field: "schema" })?;
    Ok(Arc::new(fb_to_schema(schema)))
}

/// Reads the messages of a body. The decoder checks most of what it is told, yet a crafted body can
/// make it panic; for a reader of the log that is damage like any other.
fn read_caught(body: &Bytes, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let attempt = AssertUnwindSafe(|| read_messages(body, schema));
    let panicked = || ArrowError::IpcError("the decoder gave up on a damaged body".to_owned());
    catch_unwind(attempt).unwrap_or_else(|_| Err(panicked()))
}

fn read_messages(body: &Bytes, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let damaged = |what: &str| ArrowError::IpcError(what.to_owned());
    let mut dictionaries = HashMap::new();
    let mut at = 0;
    while let Some(prefix) = body.get(at..at + PREFIX_BYTES) {
        let length = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
        let start = at + PREFIX_BYTES;
        let metadata = body
            .get(start..start + length)
            .ok_or_else(|| damaged("short message"))?;
        let message = root_as_message(metadata).map_err(|e| damaged(&e.to_string()))?;
        let version = message.version();
        let from = start + length;
        let to = usize::try_from(message.bodyLength())
            .ok()
            .and_then(|length| from.checked_add(length))
            .filter(|to| *to <= body.len())
            .ok_or_else(|| damaged("short body"))?;
        let data = Buffer::from(body.slice(from..to));
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                let batch = message
                    .header_as_dictionary_batch()
                    .ok_or_else(|| damaged("dictionary expected"))?;
                read_dictionary(&data, batch, schema, &mut dictionaries, &version)?;
            }
            MessageHeader::RecordBatch => {
                let batch = message
                    .header_as_record_batch()
                    .ok_or_else(|| damaged("record batch expected"))?;
                let schema = Arc::clone(schema);
                return read_record_batch(&data, batch, schema, &dictionaries, None, &version);
            }
            _ => return Err(damaged("unexpected message")),
        }
        at = to;
    }
    Err(damaged("no record batch"))
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
