//! Errors of the log, each naming the topic, partition, offset or path.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::report::Finding;

use crate::{LogRange, MAX_RECORD_BYTES, TopicPartition};

/// What lies below an error; shared, because one failed commit fails many deliveries.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

/// What went wrong with the log.
#[derive(Clone, Debug, Error)]
pub enum LogError {
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// A setting is wrong.
    #[error("log setting `{name}`: {reason}")]
    Setting {
        /// Name of the setting.
        name: String,
        /// What is wrong with it; never the value of a secret.
        reason: String,
    },
    /// The topic was never created.
    #[error("topic `{topic}` does not exist")]
    UnknownTopic {
        /// Topic name.
        topic: String,
    },
    /// The topic has fewer partitions.
    #[error("topic `{topic}` has no partition {partition}")]
    UnknownPartition {
        /// Topic name.
        topic: String,
        /// Partition asked for.
        partition: PartitionId,
    },
    /// The record is larger than [`MAX_RECORD_BYTES`].
    #[error("record of {bytes} bytes for `{topic}`/{partition} exceeds {MAX_RECORD_BYTES} bytes")]
    RecordTooLarge {
        /// Topic name.
        topic: String,
        /// Partition number.
        partition: PartitionId,
        /// Size of the payload.
        bytes: usize,
    },
    /// The offset was removed by retention or never written.
    #[error(
        "offset {offset} of `{topic}`/{partition} is outside the log, which holds {start} up to but not including {end}",
        start = range.start,
        end = range.end
    )]
    OffsetOutOfRange {
        /// Topic name.
        topic: String,
        /// Partition number.
        partition: PartitionId,
        /// Offset asked for.
        offset: Offset,
        /// What the log held at that moment.
        range: LogRange,
    },
    /// It is not known whether the record was stored.
    #[error("append to `{topic}`/{partition}")]
    Append {
        /// Topic name.
        topic: String,
        /// Partition number.
        partition: PartitionId,
        /// The cause.
        source: Cause,
    },
    /// Records could not be read.
    #[error("read `{topic}`/{partition} at offset {offset}")]
    Read {
        /// Topic name.
        topic: String,
        /// Partition number.
        partition: PartitionId,
        /// First offset that was wanted.
        offset: Offset,
        /// The cause.
        source: Cause,
    },
    /// A topic could not be created or grown.
    #[error("create topic `{topic}`")]
    CreateTopic {
        /// Topic name.
        topic: String,
        /// The cause.
        source: Cause,
    },
    /// A topic exists in a way that breaks the log's promises.
    #[error("{}", .0.text())]
    UnfitTopic(Box<Finding>),
    /// The cluster does not tell about a topic.
    #[error("look up topic `{topic}`")]
    Topic {
        /// Topic name.
        topic: String,
        /// The cause.
        source: Cause,
    },
    /// The membership of a consumer group failed.
    #[error("consumer group `{group}`")]
    Group {
        /// Name of the group.
        group: String,
        /// The cause.
        source: Cause,
    },
    /// The brokers do not answer.
    #[error("Kafka brokers `{brokers}` cannot be reached")]
    Unreachable {
        /// Bootstrap list.
        brokers: String,
        /// The cause.
        source: Cause,
    },
    /// The brokers do not let this client in.
    #[error("Kafka brokers `{brokers}` refuse this client: check {check}")]
    Refused {
        /// Bootstrap list.
        brokers: String,
        /// The settings to look at.
        check: &'static str,
        /// What they, or the client, said.
        source: Cause,
    },
    /// A data folder could not be opened or created.
    #[error("open log folder {}", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// Another process holds the data folder.
    #[error(
        "another process uses the log folder {}; stop it or use another --data",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder was written by another version.
    #[error("log folder {} has format `{found}`, this version reads `{expected}`", path.display())]
    Format {
        /// The folder.
        path: PathBuf,
        /// What the format marker says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// The data folder contradicts itself.
    #[error("log folder {} is damaged", path.display())]
    Damaged {
        /// The folder or file.
        path: PathBuf,
        /// What was found.
        source: Cause,
    },
    /// A stored record contradicts its checksum or is missing.
    #[error("record {offset} of `{topic}`/{partition} in {} is damaged", path.display())]
    DamagedRecord {
        /// The data folder.
        path: PathBuf,
        /// Topic name.
        topic: String,
        /// Partition number.
        partition: PartitionId,
        /// Offset of the record.
        offset: Offset,
        /// What was found.
        source: Cause,
    },
    /// An earlier commit failed, so nobody knows what is durable; reopening the folder finds out.
    #[error("log folder {} takes no more records because a commit failed; restart", path.display())]
    Poisoned {
        /// The folder.
        path: PathBuf,
        /// Why the commit failed.
        source: Cause,
    },
    /// A thread of the log ended early.
    #[error("{what} of the log ended early")]
    Broken {
        /// Which part.
        what: &'static str,
        /// The cause.
        source: Cause,
    },
}

impl LogError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Setting { .. }
            | Self::UnknownTopic { .. }
            | Self::UnknownPartition { .. }
            | Self::RecordTooLarge { .. }
            | Self::OffsetOutOfRange { .. }
            | Self::UnfitTopic(_)
            | Self::Format { .. } => ErrorKind::Invalid,
            Self::Closed
            | Self::Append { .. }
            | Self::Read { .. }
            | Self::CreateTopic { .. }
            | Self::Topic { .. }
            | Self::Group { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Open { .. }
            | Self::Locked { .. }
            | Self::Poisoned { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } | Self::DamagedRecord { .. } => ErrorKind::Data,
            Self::Broken { .. } => ErrorKind::Internal,
        }
    }

    /// The topic does not exist.
    pub(crate) fn unknown_topic(topic: &str) -> Self {
        Self::UnknownTopic {
            topic: topic.to_owned(),
        }
    }

    /// The topic lacks this partition.
    pub(crate) fn unknown_partition(of: &TopicPartition) -> Self {
        Self::UnknownPartition {
            topic: of.topic.clone(),
            partition: of.partition,
        }
    }

    /// Fails if `payload_bytes` is more than a record may have.
    pub(crate) fn check_size(to: &TopicPartition, payload_bytes: usize) -> Result<(), Self> {
        if payload_bytes <= MAX_RECORD_BYTES {
            return Ok(());
        }
        Err(Self::RecordTooLarge {
            topic: to.topic.clone(),
            partition: to.partition,
            bytes: payload_bytes,
        })
    }

    /// Fails if nothing can be read from `offset`, now or after the next append.
    pub(crate) fn check_offset(
        of: &TopicPartition,
        offset: Offset,
        range: LogRange,
    ) -> Result<(), Self> {
        if (range.start..=range.end).contains(&offset) {
            return Ok(());
        }
        Err(Self::OffsetOutOfRange {
            topic: of.topic.clone(),
            partition: of.partition,
            offset,
            range,
        })
    }

    /// An append failed.
    pub(crate) fn append(to: &TopicPartition, source: Cause) -> Self {
        Self::Append {
            topic: to.topic.clone(),
            partition: to.partition,
            source,
        }
    }

    /// A read failed.
    pub(crate) fn read(of: &TopicPartition, offset: Offset, source: Cause) -> Self {
        Self::Read {
            topic: of.topic.clone(),
            partition: of.partition,
            offset,
            source,
        }
    }
}
