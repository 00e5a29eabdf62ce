//! The log as one process sees it: late, unreliable, and out of reach once the process is dead.
//!
//! Each partition a process writes to has a wire of its own, which keeps the order of its records.
//! What is on a wire when its process dies may still land, even minutes later.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tourbillon_core::ids::Offset;
use tourbillon_log::{
    Appended, Delivery, Log, LogError, LogRange, LogReader, LogRecord, TopicNeed, TopicPartition,
};

use super::gate::Gate;
use super::world::World;

/// Records on a wire.
const WIRE_RECORDS: usize = 1024;

/// Slow reads after a while of deafness.
const SLUGGISH_READS: u32 = 12;

/// Why a call failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injected(&'static str);

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "injected: {}", self.0)
    }
}

impl std::error::Error for Injected {}

/// A process's client of the log.
#[derive(Debug)]
pub(crate) struct ProcessLog {
    world: Arc<World>,
    gate: Arc<Gate>,
    wires: Mutex<BTreeMap<TopicPartition, mpsc::Sender<Sent>>>,
}

#[derive(Debug)]
struct Sent {
    payload: Bytes,
    done: oneshot::Sender<Result<Appended, LogError>>,
}

impl ProcessLog {
    pub(crate) fn new(world: &Arc<World>, gate: &Arc<Gate>) -> Self {
        Self {
            world: Arc::clone(world),
            gate: Arc::clone(gate),
            wires: Mutex::default(),
        }
    }

    fn wire(&self, to: &TopicPartition) -> mpsc::Sender<Sent> {
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let wire = wires.entry(to.clone()).or_insert_with(|| {
            let (sender, records) = mpsc::channel(WIRE_RECORDS);
            let wire = Wire {
                world: Arc::clone(&self.world),
                gate: Arc::clone(&self.gate),
                to: to.clone(),
                cut: None,
            };
            tokio::spawn(wire.carry(records));
            sender
        });
        wire.clone()
    }

    async fn travel(&self) {
        self.gate.pass().await;
        sleep(self.world.dice.millis(0..4)).await;
        self.gate.pass().await;
    }
}

/// Carries records of one process to one partition.
struct Wire {
    world: Arc<World>,
    gate: Arc<Gate>,
    to: TopicPartition,
    /// Whether the wire was cut when the process died.
    cut: Option<bool>,
}

impl Wire {
    async fn carry(mut self, mut records: mpsc::Receiver<Sent>) {
        while let Some(sent) = records.recv().await {
            let (weather, dice) = (self.world.weather(), &self.world.dice);
            // a process that freezes may have lost its network with it
            let frozen = !self.gate.is_running() && !self.gate.is_dead();
            let stalled = dice.chance(if frozen { 0.2 } else { weather.stalled });
            let delay = if stalled {
                5..weather.stall_ms + 6
            } else {
                0..4
            };
            sleep(dice.millis(delay)).await;
            if self.gate.is_dead() && *self.cut.get_or_insert_with(|| dice.chance(0.5)) {
                self.world.landed();
                continue;
            }
            let result = self.land(sent.payload).await;
            let (world, gate) = (Arc::clone(&self.world), Arc::clone(&self.gate));
            tokio::spawn(async move {
                sleep(world.dice.millis(0..4)).await;
                world.landed();
                gate.pass().await;
                // a writer that has ended waits no more
                drop(sent.done.send(result));
            });
        }
    }

    async fn land(&self, payload: Bytes) -> Result<Appended, LogError> {
        let (weather, dice) = (self.world.weather(), &self.world.dice);
        if dice.chance(weather.not_stored) {
            return Err(self.failed("not stored"));
        }
        let first = self.append(payload.clone()).await?;
        if dice.chance(weather.lost_ack) {
            return Err(self.failed("ack lost"));
        }
        if !dice.chance(weather.duplicated) {
            return Ok(first);
        }
        if dice.chance(0.5) {
            return self.append(payload).await;
        }
        let again = Self {
            world: Arc::clone(&self.world),
            gate: Arc::clone(&self.gate),
            to: self.to.clone(),
            cut: None,
        };
        self.world.sent();
        let late = dice.millis(1..3000);
        tokio::spawn(async move {
            sleep(late).await;
            drop(again.append(payload).await);
            again.world.landed();
        });
        Ok(first)
    }

    fn failed(&self, how: &'static str) -> LogError {
        self.world
            .trace
            .note(format_args!("{} {how}", self.to.topic));
        LogError::Append {
            topic: self.to.topic.clone(),
            partition: self.to.partition,
            source: Arc::new(Injected(how)),
        }
    }

    async fn append(&self, payload: Bytes) -> Result<Appended, LogError> {
        self.world.append(&self.to, payload).await
    }
}

#[async_trait]
impl Log for ProcessLog {
    async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError> {
        self.travel().await;
        self.world.broker.ensure_topic(need).await
    }

    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.travel().await;
        self.world.broker.partitions(topic).await
    }

    async fn enqueue(&self, to: &TopicPartition, payload: Bytes) -> Result<Delivery, LogError> {
        self.gate.pass().await;
        let (done, delivery) = Delivery::channel();
        let place = self.wire(to).reserve_owned().await;
        let place = place.map_err(|_| LogError::Closed)?;
        // from here on nothing can be given up
        self.world.sent();
        place.send(Sent { payload, done });
        Ok(delivery)
    }

    async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError> {
        self.travel().await;
        self.world.broker.range(of).await
    }

    async fn read(
        &self,
        of: &TopicPartition,
        from: Offset,
    ) -> Result<Box<dyn LogReader>, LogError> {
        self.travel().await;
        let inner = self.world.broker.read(of, from).await?;
        Ok(Box::new(ProcessReader {
            world: Arc::clone(&self.world),
            gate: Arc::clone(&self.gate),
            of: of.clone(),
            position: from,
            inner,
            ready: VecDeque::new(),
            sluggish: 0,
        }))
    }

    fn exclusive(&self) -> bool {
        false
    }

    fn has_append_time(&self) -> bool {
        true
    }

    async fn close(&self) -> Result<(), LogError> {
        Ok(())
    }
}

#[derive(Debug)]
struct ProcessReader {
    world: Arc<World>,
    gate: Arc<Gate>,
    of: TopicPartition,
    position: Offset,
    inner: Box<dyn LogReader>,
    /// Fetched and not yet handed over.
    ready: VecDeque<LogRecord>,
    /// Reads that take their time, after a while of deafness.
    sluggish: u32,
}

impl ProcessReader {
    /// Whether this read fails.
    fn fails(&self) -> bool {
        self.world.dice.chance(self.world.weather().lost_read)
    }
}

/// Some reads are slow.
async fn dawdle(world: &World) {
    if world.dice.chance(world.weather().slow_read) {
        sleep(world.dice.millis(10..1000)).await;
    }
}

#[async_trait]
impl LogReader for ProcessReader {
    async fn next(&mut self) -> Result<Vec<LogRecord>, LogError> {
        loop {
            self.gate.pass().await;
            let is_control = self.of.topic.ends_with("._control");
            if is_control && self.gate.hear().await {
                self.sluggish = SLUGGISH_READS;
            }
            if !self.ready.is_empty() {
                if self.sluggish > 0 {
                    sleep(self.world.dice.millis(1..200)).await;
                } else if is_control {
                    dawdle(&self.world).await;
                }
                let most = if self.sluggish > 0 {
                    self.sluggish -= 1;
                    1
                } else {
                    self.world.dice.index(self.ready.len()) + 1
                };
                let records: Vec<_> = self.ready.drain(..most).collect();
                self.position = Offset(self.position.0 + records.len() as u64);
                return Ok(records);
            }
            sleep(self.world.dice.millis(0..6)).await;
            dawdle(&self.world).await;
            if self.fails() {
                return Err(LogError::Read {
                    topic: self.of.topic.clone(),
                    partition: self.of.partition,
                    offset: self.position,
                    source: Arc::new(Injected("read lost")),
                });
            }
            self.ready.extend(self.inner.next().await?);
        }
    }
}
