//! Batches to the bytes of an answer.
//!
//! The bytes depend on the rows alone: batches come in with exactly the same cuts wherever the
//! rows lay, and strings leave the columnar formats without a dictionary.

mod json;
mod times;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, RecordBatch,
    StringArray, downcast_primitive_array,
};
use arrow::compute::cast;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited, Writer as JsonWriter};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::QueryError;

/// Rows of a row group in a Parquet answer.
const ROW_GROUP_ROWS: usize = 131_072;

/// RFC 3339 to the nanosecond, always as long, so that times sort as text.
const TEXT_TIME: &str = "%Y-%m-%dT%H:%M:%S%.9fZ";

/// Format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// One JSON object a line.
    NdJson,
    /// One JSON array.
    Json,
    /// RFC 4180 with a header row.
    Csv,
    /// Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl OutputFormat {
    /// All of them, the default first.
    pub(crate) const ALL: [Self; 5] = [
        Self::NdJson,
        Self::Json,
        Self::Csv,
        Self::Arrow,
        Self::Parquet,
    ];

    /// The first supported type of an `Accept` header; NDJSON if it accepts anything.
    pub fn from_accept(accept: Option<&str>) -> Result<Self, QueryError> {
        let Some(accept) = accept else {
            return Ok(Self::NdJson);
        };
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            if weight.is_some_and(|weight| weight.parse() == Ok(0.0)) {
                continue;
            }
            match media.as_str() {
                "*/*" | "application/*" | "" => return Ok(Self::NdJson),
                "text/*" => return Ok(Self::Csv),
                _ => {}
            }
            if let Some(format) = Self::ALL.into_iter().find(|f| f.content_type() == media) {
                return Ok(format);
            }
        }
        Err(QueryError::Format(accept.chars().take(80).collect()))
    }

    fn is_json(self) -> bool {
        matches!(self, Self::NdJson | Self::Json)
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::NdJson => "application/x-ndjson",
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

enum Writer {
    NdJson(JsonWriter<Vec<u8>, LineDelimited>),
    Json(JsonWriter<Vec<u8>, JsonArray>),
    Csv { header: bool },
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

/// Writes an answer piece by piece; holds at most a batch, or a Parquet row group.
pub struct Encoder {
    schema: SchemaRef,
    writer: Writer,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder for batches of `schema`.
    pub fn new(format: OutputFormat, schema: &SchemaRef) -> Result<Self, QueryError> {
        let plain = plain_schema(schema, format);
        let writer = match format {
            OutputFormat::NdJson => Writer::NdJson(json::builder().build(Vec::new())),
            OutputFormat::Json => Writer::Json(json::builder().build(Vec::new())),
            OutputFormat::Csv => Writer::Csv { header: true },
            OutputFormat::Arrow => {
                Writer::Arrow(Box::new(StreamWriter::try_new(Vec::new(), &plain)?))
            }
            OutputFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_created_by("tourbillon".into())
                    .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let plain = Arc::clone(&plain);
                Writer::Parquet(Box::new(ArrowWriter::try_new(
                    Vec::new(),
                    plain,
                    Some(properties),
                )?))
            }
        };
        Ok(Self {
            schema: plain,
            writer,
        })
    }

    /// What comes before the first batch and can be sent by itself: the schema of an Arrow stream.
    pub(crate) fn head(&mut self) -> Bytes {
        match &mut self.writer {
            Writer::Arrow(writer) => drain(writer.get_mut()),
            _ => Bytes::new(),
        }
    }

    /// Takes a batch and gives back what can be sent.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Bytes, QueryError> {
        let batch = plain_rows(&self.schema, batch)?;
        match &mut self.writer {
            Writer::NdJson(writer) => {
                writer.get_mut().reserve(text_bytes(&batch));
                writer.write(&batch)?;
                Ok(drain(writer.get_mut()))
            }
            Writer::Json(writer) => {
                writer.get_mut().reserve(text_bytes(&batch));
                writer.write(&batch)?;
                Ok(drain(writer.get_mut()))
            }
            Writer::Csv { header } => csv(&batch, std::mem::take(header)),
            Writer::Arrow(writer) => {
                writer.write(&canonical(&batch)?)?;
                Ok(drain(writer.get_mut()))
            }
            Writer::Parquet(writer) => {
                writer.write(&batch)?;
                Ok(drain(writer.inner_mut()))
            }
        }
    }

    /// What ends the answer.
    pub fn finish(self) -> Result<Bytes, QueryError> {
        match self.writer {
            Writer::NdJson(mut writer) => {
                writer.finish()?;
                Ok(writer.into_inner().into())
            }
            Writer::Json(mut writer) => {
                writer.finish()?;
                Ok(writer.into_inner().into())
            }
            Writer::Csv { header: true } => csv(&RecordBatch::new_empty(self.schema), true),
            Writer::Csv { header: false } => Ok(Bytes::new()),
            Writer::Arrow(mut writer) => {
                writer.finish()?;
                Ok(drain(writer.get_mut()))
            }
            Writer::Parquet(writer) => Ok(writer.into_inner()?.into()),
        }
    }
}

/// About as long as a batch is as JSON.
fn text_bytes(batch: &RecordBatch) -> usize {
    const VALUE: usize = 24;
    batch.num_rows() * batch.num_columns() * VALUE
}

fn drain(buffer: &mut Vec<u8>) -> Bytes {
    std::mem::take(buffer).into()
}

fn csv(batch: &RecordBatch, header: bool) -> Result<Bytes, QueryError> {
    let mut out = Vec::new();
    let builder = CsvBuilder::new().with_header(header);
    let builder = builder.with_timestamp_format(TEXT_TIME.to_owned());
    let mut writer = builder.build(&mut out);
    writer.write(batch)?;
    drop(writer);
    Ok(out.into())
}

/// The schema without dictionaries; for text, times as text, or without the zone that [`TEXT_TIME`]
/// writes. JSON has its own way with most of these.
fn plain_schema(schema: &SchemaRef, format: OutputFormat) -> SchemaRef {
    let text = format.is_json() || format == OutputFormat::Csv;
    let plain = |field: &Arc<Field>| {
        let ty = match field.data_type() {
            ty if format.is_json() && json::takes(ty) => ty.clone(),
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            DataType::Timestamp(TimeUnit::Nanosecond, _) if text => DataType::Utf8,
            DataType::Timestamp(unit, _) if text => DataType::Timestamp(*unit, None),
            other => other.clone(),
        };
        Field::new(field.name(), ty, field.is_nullable())
    };
    Arc::new(Schema::new(
        schema.fields().iter().map(plain).collect::<Vec<_>>(),
    ))
}

fn plain_rows(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| {
        let times = column.as_primitive_opt::<TimestampNanosecondType>();
        match (times, field.data_type()) {
            (Some(times), DataType::Utf8) => Ok(Arc::new(times::as_text(times)) as ArrayRef),
            (_, plain) => cast(column, plain),
        }
    });
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// The same rows without traces of where they come from: IPC writes what lies under nulls, and
/// the bits after the last row of a bitmap, as they are.
fn canonical(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| {
        if column.null_count() == 0 && column.data_type() != &DataType::Boolean {
            return Arc::clone(column);
        }
        downcast_primitive_array! {
            column => cleared(column),
            DataType::Boolean => Arc::new(column.as_boolean().iter().collect::<BooleanArray>()),
            DataType::Utf8 => Arc::new(column.as_string::<i32>().iter().collect::<StringArray>()),
            _ => Arc::clone(column)
        }
    });
    RecordBatch::try_new(batch.schema(), columns.collect())
}

fn cleared<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> ArrayRef {
    let fresh: PrimitiveArray<T> = array.iter().collect();
    Arc::new(fresh.with_data_type(array.data_type().clone()))
}
