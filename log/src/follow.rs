//! Following one partition: records in, accepted rows out.
//!
//! A frame whose schema version is not known yet makes the follower read the control topic to its
//! end. Gateways write a STREAM record before the first frame of its version, so a version that is
//! unknown even then never existed, and every follower refuses the frame alike.

use std::sync::Arc;

use thiserror::Error;
use tourbillon_core::control::StreamDef;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::ids::{Offset, StreamName};
use tourbillon_core::replica::{Applied, Record, Replica, ReplicaError};

use crate::control::ControlTopic;
use crate::{Log, LogError, LogReader, LogRecord, TopicPartition};

/// Why a partition can be followed no further.
#[derive(Debug, Error)]
pub enum FollowError {
    /// The log cannot be read.
    #[error("cannot read {} partition {} from offset {from}", at.topic, at.partition)]
    Read {
        /// Where.
        at: TopicPartition,
        /// From which offset.
        from: Offset,
        /// Why.
        #[source]
        source: LogError,
    },
    /// The log does not hold the offset that comes next: records were lost or the log replaced.
    #[error(
        "{} partition {} holds offsets {start} to {end} and not {wanted}, which comes next: \
         the log was truncated or is not the one that the commits were made from",
        at.topic,
        at.partition
    )]
    Lost {
        /// Where.
        at: TopicPartition,
        /// The offset that is needed.
        wanted: Offset,
        /// Lowest offset held.
        start: Offset,
        /// One past the highest.
        end: Offset,
    },
    /// A record contradicts what is known.
    #[error("cannot follow {} partition {}", at.topic, at.partition)]
    Replica {
        /// Where.
        at: TopicPartition,
        /// What is wrong.
        #[source]
        source: ReplicaError,
    },
    /// The control topic cannot be read.
    #[error("cannot read the control topic")]
    Control(#[source] LogError),
    /// The control topic does not know the stream.
    #[error("stream {0} is not in the control topic")]
    UnknownStream(StreamName),
}

impl FollowError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Control(source) => source.kind(),
            Self::Lost { .. } => ErrorKind::Data,
            Self::Replica { source, .. } => source.kind(),
            Self::UnknownStream(_) => ErrorKind::Unavailable,
        }
    }
}

/// A replica that is fed from the log.
#[derive(Debug)]
pub struct Follower {
    at: TopicPartition,
    stream: StreamName,
    control: ControlTopic,
    def: Arc<StreamDef>,
    reader: Box<dyn LogReader>,
    replica: Replica,
}

impl Follower {
    /// Starts reading where `replica` stands.
    pub async fn start(
        log: &dyn Log,
        at: TopicPartition,
        replica: Replica,
        control: ControlTopic,
        stream: StreamName,
    ) -> Result<Self, FollowError> {
        let from = replica.position();
        let failed = |source| FollowError::Read {
            at: at.clone(),
            from,
            source,
        };
        let range = log.range(&at).await.map_err(failed)?;
        let needed_end = replica.machine().next_offset();
        if from < range.start || needed_end > range.end {
            let wanted = if from < range.start { from } else { needed_end };
            return Err(FollowError::Lost {
                at,
                wanted,
                start: range.start,
                end: range.end,
            });
        }
        let reader = log.read(&at, from).await.map_err(failed)?;
        let def = lookup(&control, &stream)?;
        Ok(Self {
            at,
            stream,
            control,
            def,
            reader,
            replica,
        })
    }

    /// The partition's state after the last record applied.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The stream as known so far.
    pub fn def(&self) -> &Arc<StreamDef> {
        &self.def
    }

    /// Waits for records. Cancel safe; each record must then go to [`Follower::apply`].
    pub async fn read(&mut self) -> Result<Vec<LogRecord>, FollowError> {
        let from = self.replica.position();
        let at = &self.at;
        let failed = |source| FollowError::Read {
            at: at.clone(),
            from,
            source,
        };
        self.reader.next().await.map_err(failed)
    }

    /// Takes one record.
    pub async fn apply(&mut self, record: &LogRecord) -> Result<Applied, FollowError> {
        let record = as_record(record);
        match self.replica.apply(record, self.def.as_ref()) {
            Err(ReplicaError::UnknownSchema { .. }) => {}
            other => return other.map_err(|source| self.failed(source)),
        }
        self.control
            .catch_up()
            .await
            .map_err(FollowError::Control)?;
        self.def = lookup(&self.control, &self.stream)?;
        match self.replica.apply(record, self.def.as_ref()) {
            Err(ReplicaError::UnknownSchema { offset, version }) => {
                tracing::error!(
                    topic = self.at.topic,
                    partition = self.at.partition.0,
                    offset = offset.0,
                    version,
                    "a frame names a schema version that was never announced: rejected"
                );
                Ok(self.replica.apply_malformed(record))
            }
            other => other.map_err(|source| self.failed(source)),
        }
    }

    /// Waits for records and takes them all. Not cancel safe.
    pub async fn next(&mut self) -> Result<Vec<Applied>, FollowError> {
        let records = self.read().await?;
        let mut applied = Vec::with_capacity(records.len());
        for record in &records {
            applied.push(self.apply(record).await?);
        }
        Ok(applied)
    }

    fn failed(&self, source: ReplicaError) -> FollowError {
        FollowError::Replica {
            at: self.at.clone(),
            source,
        }
    }
}

/// A log record as the core sees it.
pub fn as_record(record: &LogRecord) -> Record<'_> {
    Record {
        offset: record.offset,
        append_time_ns: record.append_time_ns,
        payload: &record.payload,
    }
}

fn lookup(control: &ControlTopic, stream: &StreamName) -> Result<Arc<StreamDef>, FollowError> {
    let view = control.view();
    let def = view.streams.get(stream).map(Arc::clone);
    def.ok_or_else(|| FollowError::UnknownStream(stream.clone()))
}
