//! Errors of the query service, as its clients see them.

use thiserror::Error;
use tourbillon_core::asof::AsOfError;
use tourbillon_core::bars::BarError;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::filter::FilterError;
use tourbillon_core::merge::MergeError;
use tourbillon_core::time::{DurationError, TimeError, format_time_ns};
use tourbillon_lake::LakeError;
use tourbillon_log::LogError;

/// A partition that keeps a window from being complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The partition.
    pub partition: u32,
    /// How far it is complete, HLC.
    pub watermark: i64,
    /// The open writers that have not spoken since.
    pub writers: Vec<u32>,
}

/// Why a query failed.
#[derive(Debug, Error)]
pub enum QueryError {
    /// A parameter.
    #[error("{name}: {reason}")]
    Parameter {
        /// Which.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A time.
    #[error("{name}")]
    Time {
        /// Which parameter.
        name: &'static str,
        /// What is wrong with it.
        source: TimeError,
    },
    /// A duration.
    #[error("wait: {0}")]
    Wait(DurationError),
    /// A key filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// No such stream.
    #[error("stream `{0}` does not exist")]
    UnknownStream(String),
    /// No such writer.
    #[error("there is no writer {0}")]
    UnknownWriter(u32),
    /// No such answer format.
    #[error(
        "`{0}` cannot be answered: accept application/x-ndjson, application/json, text/csv, \
         application/vnd.apache.arrow.stream or application/vnd.apache.parquet"
    )]
    Format(String),
    /// No such format of a subscription.
    #[error(
        "`{0}` cannot be sent: accept text/event-stream or application/vnd.apache.arrow.stream, or \
         ask for a WebSocket"
    )]
    EventFormat(String),
    /// The window reaches beyond what is complete.
    #[error(
        "the stream is complete through {} and the window ends at {}: wait longer, or ask with \
         consistency=latest",
        format_time_ns(*complete_through),
        format_time_ns(*end)
    )]
    Incomplete {
        /// T, HLC.
        complete_through: i64,
        /// End of the window, HLC.
        end: i64,
        /// Who holds T back.
        holders: Vec<Holder>,
    },
    /// The window reaches beyond what was complete in its snapshot.
    #[error(
        "the snapshot is complete through {} only: ask for less of it, or with consistency=latest",
        complete_through.map_or_else(|| "nothing that it tells".into(), format_time_ns)
    )]
    BeyondSnapshot {
        /// T of the snapshot, HLC.
        complete_through: Option<i64>,
    },
    /// The service has not followed as far as the client wants.
    #[error(
        "partition {partition} of `{stream}` is followed up to offset {position} and {wanted} is \
         asked for: wait longer, or see whether the token is one of this stream's"
    )]
    Behind {
        /// The stream.
        stream: String,
        /// The partition.
        partition: u32,
        /// Offset after the last that was read.
        position: u64,
        /// The offset to be reached.
        wanted: u64,
    },
    /// As many subscribers as a node takes.
    #[error("this node has {0} subscribers already: ask another one, or later")]
    TooManySubscribers(usize),
    /// The service still reads the log.
    #[error("partition {partition} of `{stream}` is still catching up with the log")]
    CatchingUp {
        /// The stream.
        stream: String,
        /// The partition.
        partition: u32,
    },
    /// A partition cannot be followed any more.
    #[error("partition {partition} of `{stream}` stopped: {reason}")]
    Stopped {
        /// The stream.
        stream: String,
        /// The partition.
        partition: u32,
        /// Why.
        reason: String,
    },
    /// A file was compacted or let go after the answer was planned.
    #[error("{0} has been replaced since this answer was planned: ask again")]
    Moved(String),
    /// The window begins before what is left.
    #[error(
        "rows before {} are past the stream's retention: begin there, or leave `start` out",
        format_time_ns(*from)
    )]
    Gone {
        /// The first stamp that is left, HLC.
        from: i64,
    },
    /// Bars.
    #[error(transparent)]
    Bars(#[from] BarError),
    /// An as-of join.
    #[error(transparent)]
    AsOf(#[from] AsOfError),
    /// Rows of the snapshot are gone, and a window by event time cannot leave them out.
    #[error(
        "rows of the snapshot are past the stream's retention, with stamps before {}: leave the \
         snapshot out, or ask with time=hlc from there",
        format_time_ns(*from)
    )]
    SnapshotGone {
        /// The first stamp that is left, HLC.
        from: i64,
    },
    /// The store.
    #[error("cannot read a segment")]
    Lake(#[from] LakeError),
    /// The log.
    #[error("cannot read the log")]
    Log(#[from] LogError),
    /// The rows.
    #[error("cannot merge rows")]
    Merge(#[from] MergeError),
    /// The rows.
    #[error("cannot arrange rows")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The answer.
    #[error("cannot write Parquet")]
    Parquet(#[from] parquet::errors::ParquetError),
}

impl QueryError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parameter { .. }
            | Self::Time { .. }
            | Self::Wait(_)
            | Self::Filter(_)
            | Self::UnknownStream(_)
            | Self::UnknownWriter(_)
            | Self::Format(_)
            | Self::EventFormat(_)
            | Self::BeyondSnapshot { .. }
            | Self::SnapshotGone { .. }
            | Self::Gone { .. } => ErrorKind::Invalid,
            Self::Incomplete { .. }
            | Self::Behind { .. }
            | Self::TooManySubscribers(_)
            | Self::CatchingUp { .. }
            | Self::Moved(_) => ErrorKind::Unavailable,
            Self::Stopped { .. } => ErrorKind::Data,
            Self::Bars(error) => error.kind(),
            Self::AsOf(error) => error.kind(),
            Self::Lake(error) => error.kind(),
            Self::Log(error) => error.kind(),
            Self::Merge(_) | Self::Arrow(_) | Self::Parquet(_) => ErrorKind::Internal,
        }
    }

    /// HTTP status of the answer.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::UnknownStream(_) | Self::UnknownWriter(_) => 404,
            Self::Format(_) | Self::EventFormat(_) => 406,
            Self::Gone { .. } | Self::SnapshotGone { .. } => 410,
            _ => self.kind().http_status(),
        }
    }
}
