//! Records on their way to the brokers.
//!
//! ```text
//! enqueue -> room in our queue -> client's queue -> broker -> report -> delivery, room again
//! ```
//!
//! A record is handed to the client in the same step in which `enqueue` returns, so nothing that a
//! caller enqueues later can overtake it; from there on the client keeps the order per partition.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Timestamp};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tourbillon_core::ids::Offset;

use super::Partition;
use super::cluster::{Cluster, drop_elsewhere, is_unknown};
use super::events::Events;
use super::settings::{MAX_QUEUED_BYTES, MAX_QUEUED_RECORDS};
use crate::error::Cause;
use crate::{Appended, Delivery, DeliverySender, LogError};

/// Wait before a record is offered again to a client whose queue is full.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// Times that one `enqueue` makes the client look for a partition that it does not know yet.
const MAX_LOOKUPS: u32 = 3;

/// Wait before the client looks again.
const LOOKUP_PAUSE: Duration = Duration::from_millis(100);

/// How long `close` waits for the reports of what it gave up.
const PURGE_TIMEOUT: Duration = Duration::from_secs(1);

/// A record handed over, not yet known to be durable.
#[derive(Debug)]
pub(super) struct InFlight {
    partition: Arc<Partition>,
    payload_bytes: usize,
    since: Instant,
    done: DeliverySender,
    /// Makes room in the queue when the record is gone.
    _room: [OwnedSemaphorePermit; 2],
}

/// The broker took a record and did not say when.
#[derive(Debug, Error)]
#[error("the broker's answer lacks {0}")]
pub(super) struct Missing(pub(super) &'static str);

pub(super) struct Sender {
    client: Option<Arc<ThreadedProducer<Events>>>,
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    cluster: Arc<Cluster>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        drop_elsewhere(self.client.take());
    }
}

impl Sender {
    pub(super) fn new(cluster: Arc<Cluster>) -> Result<Self, LogError> {
        let config = &cluster.config;
        let client = config
            .producer()
            .create_with_context(cluster.events.clone());
        let client = client.map_err(|e| config.config_error(e))?;
        Ok(Self {
            client: Some(Arc::new(client)),
            records: Arc::new(Semaphore::new(MAX_QUEUED_RECORDS)),
            bytes: Arc::new(Semaphore::new(MAX_QUEUED_BYTES)),
            cluster,
        })
    }

    /// Waits for room and hands the record over. Dropping the future before it is ready sends
    /// nothing.
    pub(super) async fn enqueue(
        &self,
        partition: Arc<Partition>,
        payload: Bytes,
    ) -> Result<Delivery, LogError> {
        let client = self.client.as_ref().ok_or(LogError::Closed)?;
        let room = self.room(payload.len()).await?;
        let (done, delivery) = Delivery::channel();
        let mut record = Box::new(InFlight {
            partition: Arc::clone(&partition),
            payload_bytes: payload.len(),
            since: Instant::now(),
            done,
            _room: room,
        });
        let mut lookups = 0;
        loop {
            let error = match send(client, &partition, &payload, record) {
                Ok(()) => return Ok(delivery),
                Err((error, refused)) => {
                    record = refused;
                    error
                }
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => sleep(FULL_QUEUE_PAUSE).await,
                Some(code) if is_unknown(code) && lookups < MAX_LOOKUPS => {
                    if lookups > 0 {
                        sleep(LOOKUP_PAUSE).await;
                    }
                    lookups += 1;
                    self.look_up(&partition.at.topic).await;
                }
                _ => {
                    partition.metrics.failed();
                    return Err(LogError::append(&partition.at, Arc::new(error)));
                }
            }
        }
    }

    async fn room(&self, payload_bytes: usize) -> Result<[OwnedSemaphorePermit; 2], LogError> {
        let bytes = u32::try_from(payload_bytes.max(1)).unwrap_or(u32::MAX);
        let record = Arc::clone(&self.records).acquire_owned().await;
        let record = record.map_err(|_| LogError::Closed)?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        Ok([record, bytes.map_err(|_| LogError::Closed)?])
    }

    /// Makes the client ask for the partitions of a topic, which another client has seen grow.
    async fn look_up(&self, topic: &str) {
        let Some(client) = self.client.clone() else {
            return;
        };
        let (name, timeout) = (topic.to_owned(), self.cluster.timeout());
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = client.client().fetch_metadata(Some(&name), timeout);
            metadata.map(|_| ())
        });
        if let Ok(Err(error)) = asked.await {
            tracing::debug!(topic, %error, "producer cannot look up a topic");
        }
    }

    /// Lets nothing more in and waits for all deliveries. What is not delivered in time fails.
    pub(super) async fn close(&self) -> Result<(), LogError> {
        self.records.close();
        self.bytes.close();
        let Some(client) = self.client.clone() else {
            return Ok(());
        };
        let timeout = self.cluster.timeout();
        let flushed = tokio::task::spawn_blocking(move || {
            let flushed = client.flush(timeout);
            if flushed.is_err() {
                client.purge(PurgeConfig::default().queue().inflight());
                if let Err(error) = client.flush(PURGE_TIMEOUT) {
                    tracing::warn!(%error, "records given up without a report");
                }
            }
            flushed
        });
        let flushed = flushed.await.unwrap_or(Err(KafkaError::Canceled));
        flushed.map_err(|error| self.cluster.unreachable(error))
    }
}

/// Gives the record to the client, or back with the reason.
fn send(
    client: &ThreadedProducer<Events>,
    partition: &Partition,
    payload: &[u8],
    record: Box<InFlight>,
) -> Result<(), (KafkaError, Box<InFlight>)> {
    let record: BaseRecord<'_, (), [u8], Box<InFlight>> =
        BaseRecord::with_opaque_to(&partition.at.topic, record)
            .partition(partition.number)
            .payload(payload);
    let sent = client.send(record);
    sent.map_err(|(error, record)| (error, record.delivery_opaque))
}

/// Kafka's milliseconds as nanoseconds.
pub(super) fn append_time_ns(timestamp: Timestamp) -> Option<i64> {
    timestamp.to_millis().map(|ms| ms.saturating_mul(1_000_000))
}

impl ProducerContext for Events {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Box<InFlight>) {
        let InFlight {
            partition,
            payload_bytes,
            since,
            done,
            ..
        } = *record;
        let appended = match result {
            Ok(message) => appended(message.offset(), message.timestamp()),
            Err((error, _)) => Err(Arc::new(error.clone()) as Cause),
        };
        let appended = appended.map_err(|source| LogError::append(&partition.at, source));
        match &appended {
            Ok(_) => {
                self.succeeded();
                partition.metrics.appended(payload_bytes, since.elapsed());
            }
            Err(_) => partition.metrics.failed(),
        }
        // a caller that no longer waits has no use for the answer
        drop(done.send(appended));
    }
}

fn appended(offset: i64, timestamp: Timestamp) -> Result<Appended, Cause> {
    let missing = |what| -> Cause { Arc::new(Missing(what)) };
    Ok(Appended {
        offset: Offset(u64::try_from(offset).map_err(|_| missing("the offset"))?),
        append_time_ns: append_time_ns(timestamp).ok_or_else(|| missing("the append time"))?,
    })
}
