//! Request bodies to record batches.
//!
//! One body (decompressed, bounded in memory by the caller) becomes one batch in the stream's
//! [`data`](StreamSchema::data) schema. Text goes column by column into typed builders; decimals
//! go from their text to scaled integers, never through a float. Bad rows are numbered; what
//! breaks the body as a whole is a typed error. No input makes a parser panic, and memory is
//! bounded by the body and by [`MAX_CELLS`].

mod arrow_stream;
mod column;
mod convert;
mod csv;
mod error;
pub mod ilp;
mod json;
mod rows;
mod scan;
mod text;
mod words;

#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use bytes::Bytes;
use tourbillon_core::schema::{Column, ColumnType, StreamSchema};

pub use error::{ParseError, RowError};

/// Most rows of one body.
pub const MAX_ROWS: usize = 4_194_304;

/// Most cells (rows times columns of the stream) of one body: rows that leave out nullable
/// columns cost memory without costing bytes on the wire.
pub const MAX_CELLS: usize = 8 * MAX_ROWS;

/// Most refused rows listed one by one.
pub const MAX_ROW_ERRORS: usize = 100;

/// Encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    NdJson,
    /// One JSON array of objects.
    Json,
    /// RFC 4180 with a header row.
    Csv,
    /// Arrow IPC stream.
    ArrowStream,
}

impl Format {
    /// Format of a `Content-Type`, parameters ignored.
    pub fn from_content_type(value: &str) -> Result<Self, ParseError> {
        let essence = value.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Self::NdJson),
            "application/json" => Ok(Self::Json),
            "text/csv" => Ok(Self::Csv),
            "application/vnd.apache.arrow.stream" => Ok(Self::ArrowStream),
            _ => Err(ParseError::ContentType(essence.chars().take(80).collect())),
        }
    }
}

/// What to do with a body that has bad rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Refuse all of it.
    Refuse,
    /// Keep the good rows.
    Skip,
}

/// Rows of a body.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The good rows in body order, in the stream's data schema.
    pub rows: RecordBatch,
    /// The first [`MAX_ROW_ERRORS`] refused rows; empty unless [`OnError::Skip`].
    pub refused: Vec<RowError>,
    /// How many rows were refused.
    pub refused_count: u64,
}

/// Parses `body` into rows of `schema`.
pub fn parse_rows(
    format: Format,
    schema: &StreamSchema,
    body: &Bytes,
    on_error: OnError,
) -> Result<Parsed, ParseError> {
    let mut refusals = Refusals::default();
    let rows = match format {
        Format::NdJson => json::parse_lines(schema, utf8(body)?, &mut refusals)?,
        Format::Json => json::parse_array(schema, utf8(body)?, &mut refusals)?,
        Format::Csv => csv::parse(schema, utf8(body)?, &mut refusals)?,
        Format::ArrowStream => arrow_stream::parse(schema, body, &mut refusals)?,
    };
    let (refused, refused_count) = refusals.settle(on_error)?;
    Ok(Parsed {
        rows,
        refused,
        refused_count,
    })
}

/// What the rows of `content` may need of memory, before they are parsed.
pub fn estimate_bytes(format: Format, schema: &StreamSchema, content: &[u8]) -> usize {
    let rows = match format {
        Format::NdJson | Format::Csv => memchr::memchr_iter(b'\n', content).count() + 1,
        Format::Json => memchr::memchr_iter(b'{', content).count(),
        // columns are used as they stand in the body
        Format::ArrowStream => return content.len(),
    };
    rows.min(MAX_ROWS) * row_bytes(schema)
}

fn row_bytes(schema: &StreamSchema) -> usize {
    let width = |column: &Column| match column.ty {
        ColumnType::Decimal { .. } => 16,
        ColumnType::String => 4,
        ColumnType::Bool => 1,
        ColumnType::Timestamp | ColumnType::Int64 | ColumnType::UInt64 | ColumnType::Float64 => 8,
    };
    schema.columns().iter().map(width).sum()
}

/// Rows refused so far: the first few by name, the others by count.
#[derive(Debug, Default)]
struct Refusals {
    listed: Vec<RowError>,
    total: u64,
}

impl Refusals {
    fn add(&mut self, error: impl FnOnce() -> RowError) {
        self.total += 1;
        if self.listed.len() < MAX_ROW_ERRORS {
            self.listed.push(error());
        }
    }

    fn settle(self, on_error: OnError) -> Result<(Vec<RowError>, u64), ParseError> {
        if self.total > 0 && on_error == OnError::Refuse {
            return Err(ParseError::Rows {
                errors: self.listed,
                total: self.total,
            });
        }
        Ok((self.listed, self.total))
    }
}

fn utf8(body: &[u8]) -> Result<&[u8], ParseError> {
    match std::str::from_utf8(body) {
        Ok(_) => Ok(body),
        Err(error) => Err(ParseError::Utf8 {
            offset: error.valid_up_to(),
        }),
    }
}

/// Most rows of a body for a stream of this many columns.
fn row_limit(columns: usize) -> usize {
    MAX_ROWS.min(MAX_CELLS / columns.max(1))
}
