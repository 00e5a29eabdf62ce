//! The log on Apache Kafka.
//!
//! ```text
//! enqueue -> bounded queue -> one idempotent producer -> brokers (acks=all) -> deliveries
//! read    -> one client per reader, assigned at an offset, read ahead within a bound
//! ```
//!
//! Append times are the brokers' own (`LogAppendTime`). Nothing here drops or reorders: a full
//! queue makes `enqueue` wait, and a delivery that fails says that nobody knows whether the record
//! is stored. Questions to the cluster are bounded in time; deliveries are not, as the client goes
//! on trying until the log is closed.

mod admin;
mod check;
mod cluster;
mod events;
mod group;
mod judge;
mod producer;
mod reader;
mod secrets;
mod security;
mod settings;
mod topics;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tourbillon_core::ids::Offset;

use crate::metrics::PartitionMetrics;
use crate::{Delivery, Log, LogError, LogRange, LogReader, TopicNeed, TopicPartition};
use cluster::Cluster;
use producer::Sender;
use reader::KafkaReader;
use settings::Config;

pub use check::{CheckPlan, Probe};
pub use group::{GroupListener, GroupSettings, KafkaGroup, Standing};
pub use secrets::is_secret_option;
pub use settings::KafkaSettings;

/// How long the cluster may take to answer one question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A log on the topics of a Kafka cluster.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    sender: Sender,
    partitions: Mutex<HashMap<TopicPartition, Arc<Partition>>>,
    closed: watch::Sender<bool>,
}

/// A partition that is known to exist.
#[derive(Debug)]
struct Partition {
    at: TopicPartition,
    /// Kafka's number of the partition.
    number: i32,
    metrics: PartitionMetrics,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog")
            .field("settings", &self.cluster.config)
            .finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Checks the settings and that the cluster answers.
    pub async fn connect(settings: KafkaSettings) -> Result<Self, LogError> {
        Self::connect_within(settings, ANSWER_TIMEOUT).await
    }

    /// As [`connect`](Self::connect), with a bound on every question to the cluster.
    async fn connect_within(settings: KafkaSettings, timeout: Duration) -> Result<Self, LogError> {
        let closed = watch::Sender::new(false);
        let config = Config::new(settings)?;
        let cluster = Arc::new(Cluster::new(config, timeout, closed.subscribe())?);
        let brokers = cluster.connect().await?;
        crate::metrics::broker_errors(0);
        tracing::info!(settings = ?cluster.config, brokers, "connected to kafka");
        Ok(Self {
            sender: Sender::new(Arc::clone(&cluster))?,
            cluster,
            partitions: Mutex::default(),
            closed,
        })
    }

    /// What stands between this client and the brokers now, if anything does.
    pub fn trouble(&self) -> Option<String> {
        self.cluster.events.trouble()
    }

    fn check_open(&self) -> Result<(), LogError> {
        if *self.closed.borrow() {
            return Err(LogError::Closed);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TopicPartition, Arc<Partition>>> {
        let partitions = self.partitions.lock();
        partitions.unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition, if it exists; the cluster is asked the first time only.
    async fn partition(&self, of: &TopicPartition) -> Result<Arc<Partition>, LogError> {
        if let Some(partition) = self.known().get(of) {
            return Ok(Arc::clone(partition));
        }
        let topic = self.cluster.topic(&of.topic).await?;
        let topic = topic.ok_or_else(|| LogError::unknown_topic(&of.topic))?;
        let number = i32::try_from(of.partition.0).ok();
        let number = number.filter(|_| of.partition.0 < topic.partitions);
        let number = number.ok_or_else(|| LogError::unknown_partition(of))?;
        let mut known = self.known();
        let partition = known.entry(of.clone()).or_insert_with(|| {
            Arc::new(Partition {
                at: of.clone(),
                number,
                metrics: PartitionMetrics::new(of),
            })
        });
        Ok(Arc::clone(partition))
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError> {
        self.check_open()?;
        self.cluster.ensure_topic(need).await
    }

    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.check_open()?;
        let topic = self.cluster.topic(topic).await?;
        Ok(topic.map(|topic| topic.partitions))
    }

    async fn enqueue(&self, to: &TopicPartition, payload: Bytes) -> Result<Delivery, LogError> {
        self.check_open()?;
        LogError::check_size(to, payload.len())?;
        let partition = self.partition(to).await?;
        self.sender.enqueue(partition, payload).await
    }

    async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError> {
        self.check_open()?;
        let partition = self.partition(of).await?;
        self.cluster.range(&partition).await
    }

    async fn read(
        &self,
        of: &TopicPartition,
        from: Offset,
    ) -> Result<Box<dyn LogReader>, LogError> {
        self.check_open()?;
        let partition = self.partition(of).await?;
        LogError::check_offset(of, from, self.cluster.range(&partition).await?)?;
        let (cluster, closed) = (Arc::clone(&self.cluster), self.closed.subscribe());
        let reader = KafkaReader::open(cluster, partition, from, closed).await?;
        Ok(Box::new(reader))
    }

    fn exclusive(&self) -> bool {
        false
    }

    fn has_append_time(&self) -> bool {
        true
    }

    async fn close(&self) -> Result<(), LogError> {
        if self.closed.send_replace(true) {
            return Ok(());
        }
        self.sender.close().await
    }
}

#[cfg(test)]
mod tests;
