//! Why a body, or a row of it, was refused.

use std::fmt;

use arrow::error::ArrowError;
use thiserror::Error;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::schema::ColumnType;

/// One row that cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Place in the body, from 1: the n-th object, CSV record after the header, or Arrow row; the
    /// line number in line protocol.
    pub row: u64,
    /// The column at fault, if it is one.
    pub column: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: ", self.row)?;
        if let Some(column) = &self.column {
            write!(f, "column `{column}` ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Why a body was refused as a whole.
#[derive(Debug, Error)]
pub enum ParseError {
    /// No parser for this Content-Type.
    #[error(
        "content type `{0}` is not supported: send application/x-ndjson, application/json, \
         text/csv or application/vnd.apache.arrow.stream"
    )]
    ContentType(String),
    /// An unknown `precision` parameter.
    #[error("precision `{0}` is not known: use ns, us, ms, s, m, h or auto")]
    Precision(String),
    /// Text formats are UTF-8.
    #[error("the body is not UTF-8 at byte {offset}")]
    Utf8 {
        /// Place in the body, from 0.
        offset: usize,
    },
    /// Rows that cannot be stored, and the caller did not ask to skip them.
    #[error("{total} row(s) refused, the first: {}", first(errors))]
    Rows {
        /// The first [`MAX_ROW_ERRORS`](super::MAX_ROW_ERRORS), in order.
        errors: Vec<RowError>,
        /// How many there are.
        total: u64,
    },
    /// More rows than one request may carry.
    #[error("the body has more than {limit} rows: split it")]
    TooManyRows {
        /// Rows allowed for this many columns.
        limit: usize,
    },
    /// Text so broken that the rows behind it cannot be told apart.
    #[error("row {row}, byte {offset}: {reason}")]
    Syntax {
        /// Place in the body, from 1.
        row: u64,
        /// Place in the body, from 0.
        offset: usize,
        /// What was found or expected.
        reason: String,
    },
    /// A CSV header or Arrow schema that does not fit the stream.
    #[error("column `{column}` {reason}")]
    Column {
        /// The column at fault.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An Arrow column of a type that does not convert without loss.
    #[error("column `{column}` is {wanted} in the stream and cannot come from {found}{hint}")]
    Convert {
        /// The column at fault.
        column: String,
        /// Arrow type in the body.
        found: String,
        /// Type in the stream.
        wanted: ColumnType,
        /// What to do instead, or empty.
        hint: &'static str,
    },
    /// The Arrow stream is truncated or damaged.
    #[error("the Arrow stream is damaged after {rows} row(s)")]
    ArrowStream {
        /// Rows read before the damage.
        rows: usize,
        /// What the decoder met.
        #[source]
        source: ArrowError,
    },
    /// The Arrow stream is damaged in a way that the decoder does not check for.
    #[error("the Arrow stream is damaged")]
    ArrowDecoder,
    /// Columns that do not form a batch, such as more distinct text than 2 GiB.
    #[error("cannot assemble the rows")]
    Assemble(#[source] ArrowError),
}

impl ParseError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

fn first(errors: &[RowError]) -> String {
    errors.first().map_or_else(String::new, RowError::to_string)
}
