//! Errors of ingest.

use arrow::error::ArrowError;
use thiserror::Error;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::frame::FrameError;
use tourbillon_core::hlc::{Hlc, HlcError};
use tourbillon_core::ids::{Offset, PartitionId, StreamName, WriterId};
use tourbillon_core::machine::SOURCE_WINDOW;
use tourbillon_lake::LakeError;
use tourbillon_log::control::ControlError;
use tourbillon_log::fence::FenceError;
use tourbillon_log::{LogError, TopicPartition};

use crate::parse::ParseError;

/// Why rows were not taken, or a writer ended.
#[derive(Debug, Error)]
pub enum IngestError {
    /// A header, parameter or document of the request.
    #[error("{what}: {reason}")]
    Request {
        /// Which one.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The body cannot be read as rows.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The body is in an encoding that this build does not read.
    #[error("content encoding `{0}` is not supported: send gzip, zstd or none")]
    Encoding(String),
    /// The body is larger than allowed.
    #[error("the {what} exceeds {limit_bytes} bytes: split it")]
    TooLarge {
        /// Body, decompressed body or row.
        what: &'static str,
        /// The limit.
        limit_bytes: usize,
    },
    /// The connection broke while the body was read.
    #[error("cannot read the body")]
    Body(#[source] axum::Error),
    /// The client stopped sending its body.
    #[error("the body stopped coming")]
    SlowBody,
    /// The compressed body is damaged.
    #[error("cannot decompress the body")]
    Decompress(#[source] std::io::Error),
    /// No such stream.
    #[error("stream `{0}` does not exist: create it with PUT /v1/streams/{0}")]
    UnknownStream(String),
    /// The stream's definition was not read or changed.
    #[error(transparent)]
    Control(#[from] Box<ControlError>),
    /// Too much is in flight.
    #[error("more than {limit_bytes} bytes are in flight: send less at a time")]
    Overloaded {
        /// The limit.
        limit_bytes: usize,
    },
    /// The gateway has no writer now.
    #[error("the gateway is joining or leaving: try again")]
    NotReady,
    /// The gateway has no writer now, and not for want of time.
    #[error("the gateway cannot join: {0}")]
    CannotJoin(String),
    /// The writer has not opened the stream yet.
    #[error("stream `{0}` is being opened, or has just grown: try again")]
    Opening(StreamName),
    /// It is not known whether the rows are stored.
    #[error("indeterminate: repeat with the same source and sequence")]
    Indeterminate,
    /// Nobody knows any more whether the request was stored before the stream grew.
    #[error(
        "sequence {sequence} of source `{name}` lies too far below newer ones to tell whether it \
         is stored: at most {SOURCE_WINDOW} of them may be in flight"
    )]
    SequenceForgotten {
        /// The source.
        name: String,
        /// Its number.
        sequence: u64,
    },
    /// The clock gives or takes no stamp.
    #[error("the clock refuses")]
    Clock(#[from] HlcError),
    /// The rows cannot be regrouped.
    #[error("cannot sort the rows into partitions")]
    Cut(#[source] ArrowError),
    /// The control topic cannot be read or written.
    #[error("cannot use the control topic")]
    ControlTopic(#[source] LogError),
    /// The log did not do what it was asked.
    #[error("cannot {step} {} partition {}", at.topic, at.partition)]
    Log {
        /// What was asked.
        step: &'static str,
        /// Of which partition.
        at: TopicPartition,
        /// Why.
        #[source]
        source: Box<LogError>,
    },
    /// Records between the newest commit and the log's start are gone.
    #[error(
        "{} partition {} starts at offset {start}, but {wanted} comes next after the newest commit",
        at.topic, at.partition
    )]
    Lost {
        /// Where.
        at: TopicPartition,
        /// The offset that is needed.
        wanted: Offset,
        /// Lowest offset held.
        start: Offset,
    },
    /// The log ends before the records that the newest commit was made from.
    #[error(
        "{} partition {} ends at offset {end}, but the store holds commits of the records below \
         {wanted}: the log was truncated or restored from an older copy, or the store is another \
         log's. See Restore in docs/OPERATIONS.md",
        at.topic, at.partition
    )]
    Truncated {
        /// Where.
        at: TopicPartition,
        /// The offset at which the log must end, at least.
        wanted: Offset,
        /// Where it ends.
        end: Offset,
    },
    /// The newest commit cannot be read.
    #[error("cannot find the newest commit of {stream} partition {partition}")]
    Commits {
        /// The stream.
        stream: StreamName,
        /// The partition.
        partition: PartitionId,
        /// Why.
        #[source]
        source: Box<LakeError>,
    },
    /// A frame cannot be made.
    #[error("cannot make a frame for {} partition {}", at.topic, at.partition)]
    Frame {
        /// For where.
        at: TopicPartition,
        /// Why.
        #[source]
        source: FrameError,
    },
    /// The own OPEN was not accepted: somebody fenced this writer, or the stream has more
    /// partitions than it knew.
    #[error("writer {writer} could not open {} partition {}", at.topic, at.partition)]
    NotOpened {
        /// The writer.
        writer: WriterId,
        /// Where.
        at: TopicPartition,
    },
    /// Rows of a source were queued for a partition that does not take them.
    #[error("rows cut by {found} partitions for {} partition {}, where {cut} hold", at.topic, at.partition)]
    OtherCut {
        /// Where.
        at: TopicPartition,
        /// The count declared there.
        cut: u32,
        /// The count of the rows.
        found: u32,
    },
    /// The broker's clock lags so far behind that every reader rejects the frame.
    #[error("stamp {hlc} lies too far above append time {append_time_ns} of {}", at.topic)]
    AheadOfAppendTime {
        /// Where.
        at: TopicPartition,
        /// The stamp.
        hlc: Hlc,
        /// The log's time, ns since the epoch.
        append_time_ns: i64,
    },
    /// An earlier writer of this gateway could not be fenced.
    #[error(transparent)]
    Fence(Box<FenceError>),
    /// Somebody is fencing this writer.
    #[error("writer {0} is being fenced")]
    Fenced(WriterId),
    /// More than 2^32 records in the control topic.
    #[error("the control topic is full: offset {0} is no writer id")]
    WriterIds(Offset),
    /// A task of this process died.
    #[error("a task died")]
    Task(#[from] tokio::task::JoinError),
}

impl IngestError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Request { .. }
            | Self::Encoding(_)
            | Self::TooLarge { .. }
            | Self::Body(_)
            | Self::SlowBody
            | Self::Decompress(_)
            | Self::SequenceForgotten { .. }
            | Self::UnknownStream(_) => ErrorKind::Invalid,
            Self::Parse(error) => error.kind(),
            Self::Control(error) => error.kind(),
            Self::Clock(error) => error.kind(),
            Self::Overloaded { .. }
            | Self::NotReady
            | Self::CannotJoin(_)
            | Self::Opening(_)
            | Self::Indeterminate
            | Self::AheadOfAppendTime { .. } => ErrorKind::Unavailable,
            Self::ControlTopic(source) => source.kind(),
            Self::Log { source, .. } => source.kind(),
            Self::Commits { source, .. } => source.kind(),
            Self::Fence(error) => error.kind(),
            Self::Lost { .. } | Self::Truncated { .. } => ErrorKind::Data,
            Self::NotOpened { .. } | Self::Fenced(_) => ErrorKind::Fenced,
            Self::Cut(_)
            | Self::Frame { .. }
            | Self::OtherCut { .. }
            | Self::WriterIds(_)
            | Self::Task(_) => ErrorKind::Internal,
        }
    }

    /// HTTP status that tells a client the same thing.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::UnknownStream(_) => 404,
            Self::SlowBody => 408,
            Self::TooLarge { .. } | Self::Parse(ParseError::TooManyRows { .. }) => 413,
            Self::Encoding(_) | Self::Parse(ParseError::ContentType(_)) => 415,
            Self::Overloaded { .. } => 429,
            _ => self.kind().http_status(),
        }
    }

    pub(crate) fn request(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Request {
            what: what.into(),
            reason: reason.into(),
        }
    }
}

impl From<FenceError> for IngestError {
    fn from(error: FenceError) -> Self {
        Self::Fence(Box::new(error))
    }
}

impl From<ControlError> for IngestError {
    fn from(error: ControlError) -> Self {
        Self::Control(Box::new(error))
    }
}
