//! The embedded log: one folder, one process, no server.
//!
//! ```text
//! enqueue -> bounded queue -> committer thread: one batch, one fdatasync -> deliveries, readers
//! ```
//!
//! The committer alone gives offsets. After a failed commit nobody knows what is durable, so the
//! log takes nothing more until it is opened again.

mod committer;
mod journal;
mod reader;
mod store;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::ids::{Offset, PartitionId};

use crate::{Delivery, Log, LogError, LogRange, LogReader, TopicNeed, TopicPartition};
use committer::{Committer, Job};
use reader::EmbeddedReader;
use store::{PartitionState, Store};

/// Records that may wait for the committer.
const MAX_QUEUED_RECORDS: usize = 8192;

/// Payload bytes that may wait for the committer.
const MAX_QUEUED_BYTES: usize = 64 << 20;

/// A log in a folder of this machine.
#[derive(Debug)]
pub struct EmbeddedLog {
    store: Arc<Store>,
    topics: Mutex<BTreeMap<String, Vec<Arc<PartitionState>>>>,
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    committer: Mutex<Option<JoinHandle<()>>>,
    room: Arc<Semaphore>,
    closed: watch::Sender<bool>,
}

impl EmbeddedLog {
    /// Opens the folder, which is made if it is absent. Append times come from `clock`.
    pub fn open(path: &Path, clock: Arc<dyn PhysicalClock>) -> Result<Self, LogError> {
        let store = Arc::new(Store::open(path)?);
        let topics = store.load_topics()?;
        let (sender, jobs) = mpsc::channel(MAX_QUEUED_RECORDS);
        let committer = Committer::new(Arc::clone(&store), clock, jobs);
        let thread = std::thread::Builder::new()
            .name("log-committer".into())
            .spawn(move || committer.run())
            .map_err(|e| LogError::Open {
                path: path.to_owned(),
                source: Arc::new(e),
            })?;
        Ok(Self {
            store,
            topics: Mutex::new(topics),
            queue: Mutex::new(Some(sender)),
            committer: Mutex::new(Some(thread)),
            room: Arc::new(Semaphore::new(MAX_QUEUED_BYTES)),
            closed: watch::Sender::new(false),
        })
    }

    fn check_open(&self) -> Result<(), LogError> {
        if *self.closed.borrow() {
            return Err(LogError::Closed);
        }
        Ok(())
    }

    fn partition(&self, of: &TopicPartition) -> Result<Arc<PartitionState>, LogError> {
        self.check_open()?;
        let topics = lock(&self.topics);
        let partitions = topics
            .get(&of.topic)
            .ok_or_else(|| LogError::unknown_topic(&of.topic))?;
        let partition = partitions.get(of.partition.0 as usize).map(Arc::clone);
        partition.ok_or_else(|| LogError::unknown_partition(of))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError> {
        self.check_open()?;
        let (topic, partitions) = (need.topic.as_str(), need.partitions);
        let mut topics = lock(&self.topics);
        let known = topics.get(topic).map_or(0, Vec::len);
        if known >= partitions as usize {
            return Ok(());
        }
        let ids = topics
            .values()
            .flatten()
            .map(|p| p.topic_id + 1)
            .max()
            .unwrap_or(0);
        let id = topics
            .get(topic)
            .and_then(|p| p.first())
            .map_or(ids, |p| p.topic_id);
        self.store.save_topic(topic, id, partitions)?;
        let states = topics.entry(topic.to_owned()).or_default();
        for number in known..partitions as usize {
            let partition = PartitionId(u32::try_from(number).unwrap_or(u32::MAX));
            let at = TopicPartition {
                topic: topic.to_owned(),
                partition,
            };
            let range = LogRange {
                start: Offset(0),
                end: Offset(0),
            };
            states.push(self.store.partition(id, at, range));
        }
        Ok(())
    }

    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.check_open()?;
        let count = lock(&self.topics).get(topic).map(Vec::len);
        Ok(count.map(|n| u32::try_from(n).unwrap_or(u32::MAX)))
    }

    async fn enqueue(&self, to: &TopicPartition, payload: Bytes) -> Result<Delivery, LogError> {
        LogError::check_size(to, payload.len())?;
        let partition = self.partition(to)?;
        let bytes = u32::try_from(payload.len().max(1)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        let room = room.map_err(|_| LogError::Closed)?;
        let queue = lock(&self.queue).clone().ok_or(LogError::Closed)?;
        let (done, delivery) = Delivery::channel();
        let job = Job {
            partition,
            payload,
            since: Instant::now(),
            done,
            _room: room,
        };
        queue.send(job).await.map_err(|_| LogError::Closed)?;
        Ok(delivery)
    }

    async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError> {
        Ok(self.partition(of)?.range())
    }

    async fn read(
        &self,
        of: &TopicPartition,
        from: Offset,
    ) -> Result<Box<dyn LogReader>, LogError> {
        let partition = self.partition(of)?;
        LogError::check_offset(of, from, partition.range())?;
        let closed = self.closed.subscribe();
        Ok(Box::new(EmbeddedReader::new(
            Arc::clone(&self.store),
            partition,
            from,
            closed,
        )))
    }

    fn exclusive(&self) -> bool {
        true
    }

    fn has_append_time(&self) -> bool {
        true
    }

    async fn close(&self) -> Result<(), LogError> {
        self.closed.send_replace(true);
        lock(&self.queue).take();
        let Some(thread) = lock(&self.committer).take() else {
            return Ok(());
        };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            _ => Err(LogError::Broken {
                what: "the committer",
                source: Arc::new(std::io::Error::other("it panicked")),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
