//! Finishing a fence: the last word on a writer, in every partition.
//!
//! Call it only once nobody can acknowledge in the writer's name any more. Doing it twice, or by
//! several at once, changes nothing.

use thiserror::Error;
use tourbillon_core::control::ControlRecord;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::frame::{FrameError, FrameHeader, FrameKind};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{PartitionId, WriterId};

use crate::control::ControlTopic;
use crate::{Log, LogError, TopicPartition};

/// Why a fence was not finished.
#[derive(Debug, Error)]
pub enum FenceError {
    /// The control topic cannot be read or written.
    #[error("cannot use the control topic to fence writer {writer}")]
    Control {
        /// The writer.
        writer: WriterId,
        /// Why.
        #[source]
        source: LogError,
    },
    /// A partition did not take the frame.
    #[error("cannot fence writer {writer} in {} partition {}", at.topic, at.partition)]
    Append {
        /// The writer.
        writer: WriterId,
        /// Where.
        at: TopicPartition,
        /// Why.
        #[source]
        source: LogError,
    },
    /// The frame cannot be made.
    #[error("cannot make a FENCE frame")]
    Frame(#[from] FrameError),
}

impl FenceError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Control { source, .. } | Self::Append { source, .. } => source.kind(),
            Self::Frame(_) => ErrorKind::Internal,
        }
    }
}

/// Writes FENCE into every partition of every stream, then says so in the control topic.
pub async fn fence_everywhere(
    log: &dyn Log,
    control: &ControlTopic,
    writer: WriterId,
) -> Result<(), FenceError> {
    let failed = |source| FenceError::Control { writer, source };
    control.catch_up().await.map_err(failed)?;
    for def in control.view().streams.values() {
        let topic = control.stream_topic(&def.name);
        for partition in (0..def.partitions).map(PartitionId) {
            let at = TopicPartition {
                topic: topic.clone(),
                partition,
            };
            let frame = FrameHeader::bare(FrameKind::Fence, writer, 0, Hlc::MIN).encode(&[])?;
            let failed = |source| FenceError::Append {
                writer,
                at: at.clone(),
                source,
            };
            let delivery = log.enqueue(&at, frame).await.map_err(failed)?;
            delivery.await.map_err(failed)?;
        }
    }
    let fenced = ControlRecord::Fenced { writer };
    control.append(&fenced).await.map_err(failed)?;
    Ok(())
}
