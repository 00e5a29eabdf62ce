//! The ordered log, the only shared truth: one trait, three implementations (`kafka`, `embedded`,
//! `memory`) and one conformance suite that all three pass.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tourbillon_core::ids::{Offset, PartitionId};

mod batch;
mod clock;
#[cfg(test)]
mod conformance;
pub mod control;
pub mod embedded;
mod error;
pub mod fence;
pub mod follow;
pub mod kafka;
pub mod memory;
mod metrics;
mod needs;
pub mod watch;

pub use clock::SystemClock;
pub use embedded::EmbeddedLog;
pub use error::LogError;
pub use kafka::{CheckPlan, KafkaLog, KafkaSettings, Probe, is_secret_option};
pub use memory::MemoryLog;
pub use needs::{TopicNeed, read_control, topic_needs};

pub(crate) type DeliverySender = oneshot::Sender<Result<Appended, LogError>>;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic name, prefix included.
    pub topic: String,
    /// Partition number.
    pub partition: PartitionId,
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Position in the partition.
    pub offset: Offset,
    /// When the log took it, nanoseconds since the epoch by the log's own clock.
    pub append_time_ns: i64,
    /// The bytes as enqueued.
    pub payload: Bytes,
}

/// Proof that a record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position in the partition.
    pub offset: Offset,
    /// When the log took it, nanoseconds since the epoch by the log's own clock.
    pub append_time_ns: i64,
}

/// First offset still held and the offset the next record will get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// Lowest offset that can be read.
    pub start: Offset,
    /// One past the highest offset.
    pub end: Offset,
}

/// Resolves when the record is durable, or with the reason why that is not known.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<Appended, LogError>>);

impl Delivery {
    /// A delivery and the handle that resolves it.
    pub fn channel() -> (oneshot::Sender<Result<Appended, LogError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Delivery {
    type Output = Result<Appended, LogError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|r| r.unwrap_or(Err(LogError::Closed)))
    }
}

/// The log. Every method may be called from many tasks at once.
#[async_trait]
pub trait Log: Send + Sync + Debug {
    /// Creates a topic, or grows it. One that is already as large is left alone, unless it breaks
    /// a promise: then it is refused.
    async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError>;

    /// Number of partitions, `None` if the topic does not exist.
    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError>;

    /// Hands a record over. Waits (never drops) while the producer's queue is full. Per partition
    /// and caller, records stand in the log in the order in which `enqueue` returned.
    async fn enqueue(&self, to: &TopicPartition, payload: Bytes) -> Result<Delivery, LogError>;

    /// What can be read now.
    async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError>;

    /// Reads from `from` onwards. An offset outside the range is an error, not a silent jump.
    async fn read(&self, of: &TopicPartition, from: Offset)
    -> Result<Box<dyn LogReader>, LogError>;

    /// True if no other process can be writing to this log: then every writer that did not leave
    /// is dead, and fencing it needs no waiting.
    fn exclusive(&self) -> bool;

    /// True if records carry the log's own append time.
    fn has_append_time(&self) -> bool;

    /// Flushes and stops. Later calls fail with [`LogError::Closed`].
    async fn close(&self) -> Result<(), LogError>;
}

/// A position in one partition. `next` is cancel safe: dropping its future loses no record.
#[async_trait]
pub trait LogReader: Send + Debug {
    /// Waits until at least one record is there, then returns it with what follows and is already
    /// at hand, in offset order without a gap, at most [`MAX_READ_BYTES`] of payload (one larger
    /// record comes alone).
    async fn next(&mut self) -> Result<Vec<LogRecord>, LogError>;
}

/// Payload bytes that one [`LogReader::next`] returns at most.
pub const MAX_READ_BYTES: usize = 8 << 20;

/// Largest record a log takes, bytes.
pub const MAX_RECORD_BYTES: usize = 16 << 20;
