//! Faults of the log in memory. A plan is made per partition and used up record by record, in the
//! order in which records reach the log.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::ids::Offset;

use super::{InFlight, Partition, Shared};
use crate::{LogError, TopicPartition};

/// What happens to one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The record is stored, its delivery fails.
    LostAck,
    /// The record is not stored, its delivery fails.
    NotStored,
    /// The record is stored twice, its delivery names the second copy, as after a producer's retry.
    Duplicated,
}

/// The cause given to deliveries that fail by plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("injected fault: {0:?}")]
pub struct InjectedFault(pub Fault);

/// Plans faults for every client of one [`MemoryLog`](super::MemoryLog).
#[derive(Clone)]
pub struct MemoryFaults(Arc<Shared>);

impl fmt::Debug for MemoryFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryFaults")
    }
}

impl MemoryFaults {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The next `records` records of a partition meet `fault`, after those already planned.
    /// Fails if the partition does not exist.
    pub fn inject(
        &self,
        of: &TopicPartition,
        fault: Fault,
        records: usize,
    ) -> Result<(), LogError> {
        self.plan(of, Some(fault), records)
    }

    /// The next `records` records of a partition meet no fault, whatever is planned after them.
    /// Fails if the partition does not exist.
    pub fn spare(&self, of: &TopicPartition, records: usize) -> Result<(), LogError> {
        self.plan(of, None, records)
    }

    /// Retention takes the records of a partition below `start`.
    pub fn expire(&self, of: &TopicPartition, start: Offset) -> Result<(), LogError> {
        self.0.with(of, |partition| {
            let gone = start.0.saturating_sub(partition.range().start.0);
            let gone = usize::try_from(gone).unwrap_or(usize::MAX);
            let gone = gone.min(partition.records.len());
            partition.records.drain(..gone);
            Ok(())
        })
    }

    /// The records of a partition from `end` on are lost, as no sound log would.
    pub fn lose(&self, of: &TopicPartition, end: Offset) -> Result<(), LogError> {
        self.0.with(of, |partition| {
            let range = partition.range();
            let end = end.clamp(range.start, range.end);
            let kept = usize::try_from(end.0 - range.start.0).unwrap_or(usize::MAX);
            partition.records.truncate(kept);
            partition.end.send_replace(end);
            Ok(())
        })
    }

    fn plan(
        &self,
        of: &TopicPartition,
        fault: Option<Fault>,
        records: usize,
    ) -> Result<(), LogError> {
        self.0.with(of, |partition| {
            partition.plan.extend(std::iter::repeat_n(fault, records));
            Ok(())
        })
    }
}

impl Partition {
    /// Stores a record and resolves its delivery, as the plan wants it.
    pub(super) fn take(&mut self, clock: &dyn PhysicalClock, record: InFlight) {
        let fault = self.plan.pop_front().flatten();
        let failed = |fault| Err(LogError::append(&self.id, Arc::new(InjectedFault(fault))));
        let result = match fault {
            Some(Fault::NotStored) => failed(Fault::NotStored),
            Some(Fault::LostAck) => {
                let failed = failed(Fault::LostAck);
                self.store(clock, record.payload);
                failed
            }
            Some(Fault::Duplicated) => {
                self.store(clock, record.payload.clone());
                Ok(self.store(clock, record.payload))
            }
            None => {
                let bytes = record.payload.len();
                let appended = self.store(clock, record.payload);
                self.metrics.appended(bytes, record.since.elapsed());
                Ok(appended)
            }
        };
        if result.is_err() {
            self.metrics.failed();
        }
        // a caller that no longer waits has no use for the answer
        drop(record.done.send(result));
    }
}
