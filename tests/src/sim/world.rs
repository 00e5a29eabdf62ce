//! What all processes of a run share: time, chance, the log, the store, and how bad things are.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::digest::Digest;
use tourbillon_lake::Lake;
use tourbillon_log::{Appended, Log, LogError, MemoryLog, TopicPartition};

use super::clock::HostClock;
use super::dice::Dice;
use super::model::Model;
use super::plan::{Plan, Weather};
use super::roam::Roamer;
use super::stream::stream_topic;
use super::trace::Trace;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// ID of the invariant in docs/PROTOCOL.md, 10.
    pub invariant: &'static str,
    /// What was seen.
    pub details: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.details)
    }
}

/// The world of one run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) dice: Dice,
    pub(crate) start: Instant,
    pub(crate) trace: Trace,
    pub(crate) model: Model,
    /// Moves partitions, where the plan wants it.
    pub(crate) roamer: Roamer,
    /// The log, without faults.
    pub(crate) broker: MemoryLog,
    pub(crate) broker_clock: Arc<HostClock>,
    /// The store, without faults.
    pub(crate) objects: Arc<InMemory>,
    weather: Mutex<Weather>,
    troubled: AtomicBool,
    calmed: Notify,
    /// Records between a process and the log.
    in_flight: AtomicU64,
    violations: Mutex<Vec<Violation>>,
}

impl World {
    pub(crate) fn new(plan: Plan, dice: Dice, verbose: bool) -> Arc<Self> {
        let start = Instant::now();
        let broker_clock = Arc::new(HostClock::new(start));
        let clock: Arc<dyn PhysicalClock> = Arc::<HostClock>::clone(&broker_clock);
        let weather = Mutex::new(plan.weather);
        let roamer = Roamer::new(plan.workers);
        Arc::new(Self {
            plan,
            dice,
            start,
            trace: Trace::new(start, verbose),
            model: Model::default(),
            roamer,
            broker: MemoryLog::stepping(clock),
            broker_clock,
            objects: Arc::new(InMemory::new()),
            weather,
            troubled: AtomicBool::new(true),
            calmed: Notify::new(),
            in_flight: AtomicU64::new(0),
            violations: Mutex::default(),
        })
    }

    pub(crate) fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No more faults.
    pub(crate) fn calm(&self) {
        self.troubled.store(false, Ordering::Relaxed);
        self.calmed.notify_waiters();
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = Weather::default();
    }

    /// A lake without faults.
    pub(crate) fn lake(&self) -> Lake {
        let objects: Arc<InMemory> = Arc::clone(&self.objects);
        Lake::with_store(objects, "sim://")
    }

    /// Puts a record into the log, whatever the weather.
    pub(crate) async fn append(
        &self,
        to: &TopicPartition,
        payload: Bytes,
    ) -> Result<Appended, LogError> {
        let digest = Digest::of(&payload);
        let appended = self.broker.enqueue(to, payload).await?.await?;
        let TopicPartition { topic, partition } = to;
        self.trace.note(format_args!(
            "{topic}/{partition} {} takes {digest}",
            appended.offset
        ));
        if *topic == stream_topic() {
            let at = (*partition, appended.offset);
            self.model.landed(at, self.start.elapsed());
        }
        Ok(appended)
    }

    /// Whether things still go wrong.
    pub(crate) fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Relaxed)
    }

    /// Waits this long, or until the trouble is over.
    pub(crate) async fn pause(&self, duration: Duration) {
        let calmed = self.calmed.notified();
        if self.is_troubled() {
            drop(timeout(duration, calmed).await);
        }
    }

    pub(crate) fn sent(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn landed(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Writes a broken promise down.
    pub(crate) fn violated(&self, invariant: &'static str, details: String) {
        self.trace
            .note(format_args!("VIOLATION {invariant}: {details}"));
        let violation = Violation { invariant, details };
        let mut violations = self
            .violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        violations.push(violation);
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violations().is_empty()
    }
}
