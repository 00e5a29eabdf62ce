//! A log in memory for simulation and tests. Several clients (clones) share one log; each closes
//! on its own. Faults are planned through [`MemoryFaults`]; without a plan every record is stored
//! and acknowledged inside `enqueue`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::ids::{Offset, PartitionId};

use crate::batch::ReadBatch;
use crate::metrics::PartitionMetrics;
use crate::{
    Appended, Delivery, DeliverySender, Log, LogError, LogRange, LogReader, LogRecord, TopicNeed,
    TopicPartition, watch,
};

mod faults;

pub use faults::{Fault, InjectedFault, MemoryFaults};

/// One client of a log in memory. A clone is another client of the same log.
#[derive(Debug)]
pub struct MemoryLog {
    shared: Arc<Shared>,
    exclusive: bool,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn PhysicalClock>,
    /// Whether append times step back when the clock does.
    steps_back: bool,
    topics: Mutex<BTreeMap<String, Vec<Partition>>>,
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Partition>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        of: &TopicPartition,
        act: impl FnOnce(&mut Partition) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let mut topics = self.topics();
        let partitions = topics
            .get_mut(&of.topic)
            .ok_or_else(|| LogError::unknown_topic(&of.topic))?;
        let partition = partitions
            .get_mut(of.partition.0 as usize)
            .ok_or_else(|| LogError::unknown_partition(of))?;
        act(partition)
    }
}

/// A record handed over, not yet stored.
#[derive(Debug)]
struct InFlight {
    payload: Bytes,
    since: Instant,
    done: DeliverySender,
}

#[derive(Debug)]
struct Partition {
    id: TopicPartition,
    records: VecDeque<LogRecord>,
    end: watch::Sender<Offset>,
    last_append_time_ns: i64,
    steps_back: bool,
    plan: VecDeque<Option<Fault>>,
    metrics: PartitionMetrics,
}

impl Partition {
    fn new(topic: &str, partition: u32, steps_back: bool) -> Self {
        let id = TopicPartition {
            topic: topic.to_owned(),
            partition: PartitionId(partition),
        };
        Self {
            metrics: PartitionMetrics::new(&id),
            id,
            records: VecDeque::new(),
            end: watch::Sender::new(Offset(0)),
            last_append_time_ns: i64::MIN,
            steps_back,
            plan: VecDeque::new(),
        }
    }

    fn range(&self) -> LogRange {
        let end = *self.end.borrow();
        let start = Offset(end.0 - self.records.len() as u64);
        LogRange { start, end }
    }

    fn store(&mut self, clock: &dyn PhysicalClock, payload: Bytes) -> Appended {
        let offset = self.range().end;
        let mut append_time_ns = clock.wall_ns();
        if !self.steps_back {
            append_time_ns = append_time_ns.max(self.last_append_time_ns);
        }
        self.last_append_time_ns = append_time_ns;
        self.records.push_back(LogRecord {
            offset,
            append_time_ns,
            payload,
        });
        self.end.send_replace(offset.next());
        Appended {
            offset,
            append_time_ns,
        }
    }

    fn batch(&self, from: Offset) -> Result<Vec<LogRecord>, LogError> {
        let range = self.range();
        LogError::check_offset(&self.id, from, range)?;
        let behind = usize::try_from(from.0 - range.start.0).unwrap_or(usize::MAX);
        Ok(ReadBatch::gather(self.records.iter().skip(behind)))
    }
}

impl MemoryLog {
    /// An empty log whose append times come from `clock`, made monotonic per partition.
    pub fn new(clock: Arc<dyn PhysicalClock>) -> Self {
        Self::make(clock, false)
    }

    /// An empty log whose append times step back when `clock` does, as those of a broker may.
    pub fn stepping(clock: Arc<dyn PhysicalClock>) -> Self {
        Self::make(clock, true)
    }

    fn make(clock: Arc<dyn PhysicalClock>, steps_back: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                steps_back,
                topics: Mutex::default(),
            }),
            exclusive: false,
            closed: watch::Sender::new(false),
        }
    }

    /// What this client and its later clones answer for [`Log::exclusive`]; `false` by default.
    #[must_use]
    pub fn with_exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// The handle through which faults of the shared log are planned.
    pub fn faults(&self) -> MemoryFaults {
        MemoryFaults::new(Arc::clone(&self.shared))
    }

    fn check_open(&self) -> Result<(), LogError> {
        if *self.closed.borrow() {
            return Err(LogError::Closed);
        }
        Ok(())
    }
}

impl Clone for MemoryLog {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            exclusive: self.exclusive,
            closed: watch::Sender::new(false),
        }
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError> {
        self.check_open()?;
        let mut topics = self.shared.topics();
        let existing = topics.entry(need.topic.clone()).or_default();
        for partition in existing.len()..need.partitions as usize {
            let number = u32::try_from(partition).unwrap_or(u32::MAX);
            existing.push(Partition::new(&need.topic, number, self.shared.steps_back));
        }
        Ok(())
    }

    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.check_open()?;
        let count = self.shared.topics().get(topic).map(Vec::len);
        Ok(count.map(|n| u32::try_from(n).unwrap_or(u32::MAX)))
    }

    async fn enqueue(&self, to: &TopicPartition, payload: Bytes) -> Result<Delivery, LogError> {
        self.check_open()?;
        LogError::check_size(to, payload.len())?;
        let (done, delivery) = Delivery::channel();
        let record = InFlight {
            payload,
            since: Instant::now(),
            done,
        };
        self.shared.with(to, |partition| {
            partition.take(self.shared.clock.as_ref(), record);
            Ok(delivery)
        })
    }

    async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError> {
        self.check_open()?;
        self.shared.with(of, |partition| Ok(partition.range()))
    }

    async fn read(
        &self,
        of: &TopicPartition,
        from: Offset,
    ) -> Result<Box<dyn LogReader>, LogError> {
        self.check_open()?;
        let (end, metrics) = self.shared.with(of, |partition| {
            LogError::check_offset(of, from, partition.range())?;
            Ok((partition.end.subscribe(), partition.metrics.clone()))
        })?;
        Ok(Box::new(MemoryReader {
            shared: Arc::clone(&self.shared),
            of: of.clone(),
            position: from,
            end,
            closed: self.closed.subscribe(),
            metrics,
        }))
    }

    fn exclusive(&self) -> bool {
        self.exclusive
    }

    fn has_append_time(&self) -> bool {
        true
    }

    async fn close(&self) -> Result<(), LogError> {
        self.closed.send_replace(true);
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryReader {
    shared: Arc<Shared>,
    of: TopicPartition,
    position: Offset,
    end: watch::Receiver<Offset>,
    closed: watch::Receiver<bool>,
    metrics: PartitionMetrics,
}

#[async_trait]
impl LogReader for MemoryReader {
    async fn next(&mut self) -> Result<Vec<LogRecord>, LogError> {
        let position = self.position;
        tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => return Err(LogError::Closed),
            end = self.end.wait_for(|end| *end > position) => {
                end.map(drop).map_err(|_| LogError::Closed)?;
            }
        };
        let records = self
            .shared
            .with(&self.of, |partition| partition.batch(position))?;
        if let Some(last) = records.last() {
            self.position = last.offset.next();
        }
        self.metrics.read(&records);
        Ok(records)
    }
}
