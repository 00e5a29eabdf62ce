//! Reading one partition, with a client of its own.
//!
//! The client retries what it can. What it cannot ends the reader: an offset that the log does not
//! hold, a topic that is gone, a refusal. While brokers do not answer, the reader waits and now
//! and then asks the cluster; if it gets no answer either, it says so and can be called again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tourbillon_core::ids::Offset;

use super::Partition;
use super::cluster::{Cluster, drop_elsewhere, is_outage, is_unknown};
use super::events::Events;
use super::producer::{Missing, append_time_ns};
use crate::batch::ReadBatch;
use crate::{LogError, LogReader, LogRecord};

/// Times in a row that a reader starts anew, before it says so, because its client does not know a
/// partition that the cluster knows: as happens right after it was made, and without a leader.
const MAX_RESTARTS: u32 = 20;

/// Wait before such a start.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct KafkaReader {
    cluster: Arc<Cluster>,
    partition: Arc<Partition>,
    position: Offset,
    client: Option<StreamConsumer<Events>>,
    /// A record that did not fit into the last batch.
    left_over: Option<LogRecord>,
    /// An error of the client that is not judged yet.
    trouble: Option<KafkaError>,
    /// When to ask whether the cluster is there.
    doubt: Option<Instant>,
    restarts: u32,
    /// Why the reader can go on no further.
    ended: Option<LogError>,
    closed: watch::Receiver<bool>,
}

impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaReader")
            .field("at", &self.partition.at)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        drop_elsewhere(self.client.take());
    }
}

impl KafkaReader {
    pub(super) async fn open(
        cluster: Arc<Cluster>,
        partition: Arc<Partition>,
        position: Offset,
        closed: watch::Receiver<bool>,
    ) -> Result<Self, LogError> {
        let client = start(&cluster, &partition, position).await?;
        Ok(Self {
            cluster,
            partition,
            position,
            client: Some(client),
            left_over: None,
            trouble: None,
            doubt: None,
            restarts: 0,
            ended: None,
            closed,
        })
    }

    /// Waits for the first record of a batch. Whatever it takes from the client it either returns
    /// or keeps before it waits again.
    async fn wait(&mut self) -> Result<LogRecord, LogError> {
        if let Some(record) = self.left_over.take() {
            return Ok(record);
        }
        loop {
            if let Some(error) = self.trouble.clone() {
                self.judge(error).await?;
                self.trouble = None;
            }
            let Some(client) = &self.client else {
                self.restart().await?;
                continue;
            };
            let doubt = self.doubt;
            let event = tokio::select! {
                biased;
                _ = self.closed.wait_for(|closed| *closed) => return Err(LogError::Closed),
                event = client.recv() => Some(event),
                () = sleep_until(doubt.unwrap_or_else(Instant::now)), if doubt.is_some() => None,
            };
            match event {
                None => self.ask_whether_there().await?,
                Some(Ok(message)) => match record(&self.partition, self.position, &message) {
                    Ok(Some(record)) => {
                        self.doubt = None;
                        self.restarts = 0;
                        return Ok(record);
                    }
                    Ok(None) => {}
                    Err(error) => return Err(self.ended.insert(error).clone()),
                },
                Some(Err(error)) => self.trouble = Some(error),
            }
        }
    }

    /// Fails if the reader cannot go on after this error.
    async fn judge(&mut self, error: KafkaError) -> Result<(), LogError> {
        let at = &self.partition.at;
        match error.rdkafka_error_code() {
            _ if is_outage(&error) => {
                let patience = self.cluster.timeout();
                self.doubt.get_or_insert_with(|| Instant::now() + patience);
                Ok(())
            }
            // readers need no group, only its name
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => Ok(()),
            // if the cluster does not know it either, `restart` says so
            Some(code) if is_unknown(code) => {
                drop_elsewhere(self.client.take());
                if self.restarts < MAX_RESTARTS {
                    return Ok(());
                }
                self.restarts = 0;
                Err(LogError::read(at, self.position, Arc::new(error)))
            }
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation,
            ) => {
                let range = self.cluster.range(&self.partition).await?;
                LogError::check_offset(at, self.position, range)?;
                Err(LogError::read(at, self.position, Arc::new(error)))
            }
            _ => Err(LogError::read(at, self.position, Arc::new(error))),
        }
    }

    /// Starts anew where the reader stands, if the cluster does know the partition.
    async fn restart(&mut self) -> Result<(), LogError> {
        sleep(RESTART_PAUSE).await;
        self.cluster.check_known(&self.partition.at).await?;
        self.restarts += 1;
        self.client = Some(start(&self.cluster, &self.partition, self.position).await?);
        Ok(())
    }

    async fn ask_whether_there(&mut self) -> Result<(), LogError> {
        let there = self.cluster.range(&self.partition).await;
        self.doubt = there
            .is_err()
            .then(|| Instant::now() + self.cluster.timeout());
        there.map(|_| ())
    }

    /// The batch that `first` begins, with what is at hand.
    fn gather(&mut self, first: LogRecord) -> Vec<LogRecord> {
        let mut batch = ReadBatch::default();
        self.position = first.offset.next();
        batch.push(first);
        let Some(client) = &self.client else {
            return batch.into_records();
        };
        let mut messages = client.stream();
        while let Some(Some(event)) = messages.next().now_or_never() {
            let message = match event {
                Ok(message) => message,
                Err(error) => {
                    self.trouble = Some(error);
                    break;
                }
            };
            match record(&self.partition, self.position, &message) {
                Ok(Some(record)) if batch.fits(record.payload.len()) => {
                    self.position = record.offset.next();
                    batch.push(record);
                }
                Ok(Some(record)) => {
                    self.left_over = Some(record);
                    break;
                }
                Ok(None) => {}
                Err(error) => {
                    self.ended = Some(error);
                    break;
                }
            }
        }
        batch.into_records()
    }
}

/// A client that reads one partition from `position`, assigned once and never moved.
pub(super) async fn start(
    cluster: &Arc<Cluster>,
    partition: &Arc<Partition>,
    position: Offset,
) -> Result<StreamConsumer<Events>, LogError> {
    let (cluster, partition) = (Arc::clone(cluster), Arc::clone(partition));
    let at = partition.at.clone();
    let started = tokio::task::spawn_blocking(move || {
        let (config, at) = (&cluster.config, &partition.at);
        let failed = |error| LogError::read(at, position, Arc::new(error));
        let client = config.reader().create_with_context(cluster.events.clone());
        let client: StreamConsumer<Events> = client.map_err(|e| config.config_error(e))?;
        let from = KafkaOffset::Offset(i64::try_from(position.0).unwrap_or(i64::MAX));
        let mut assignment = TopicPartitionList::new();
        let added = assignment.add_partition_offset(&at.topic, partition.number, from);
        added
            .and_then(|()| client.assign(&assignment))
            .map_err(failed)?;
        Ok(client)
    });
    let started = started.await;
    started.unwrap_or_else(|error| Err(LogError::read(&at, position, Arc::new(error))))
}

/// A message as a record, `None` if it lies before the position.
///
/// Offsets above the position are taken as they come: Kafka leaves gaps where transactions put
/// their markers. We use none, so no gap is expected, and those who follow a partition check it.
fn record(
    partition: &Partition,
    position: Offset,
    message: &BorrowedMessage<'_>,
) -> Result<Option<LogRecord>, LogError> {
    let missing = |what| LogError::read(&partition.at, position, Arc::new(Missing(what)));
    let offset = u64::try_from(message.offset()).map_err(|_| missing("the offset"))?;
    if offset < position.0 {
        return Ok(None);
    }
    let append_time_ns = append_time_ns(message.timestamp());
    Ok(Some(LogRecord {
        offset: Offset(offset),
        append_time_ns: append_time_ns.ok_or_else(|| missing("the append time"))?,
        payload: message
            .payload()
            .map_or_else(Bytes::new, Bytes::copy_from_slice),
    }))
}

#[async_trait]
impl LogReader for KafkaReader {
    async fn next(&mut self) -> Result<Vec<LogRecord>, LogError> {
        if *self.closed.borrow() {
            return Err(LogError::Closed);
        }
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let first = self.wait().await?;
        self.cluster.events.succeeded();
        let records = self.gather(first);
        self.partition.metrics.read(&records);
        Ok(records)
    }
}
