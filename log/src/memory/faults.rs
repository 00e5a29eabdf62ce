//! Faults of the log in memory. A plan is made per partition and used up record by record, in the
//! order in which records reach the log.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::ids::Offset;

use super::{InFlight, Partition, Shared};
use crate::{Appended, DeliverySender, LogError, TopicPartition};

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

/// Where records wait until [`MemoryFaults::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Before the log: they cannot be read yet.
    Records,
    /// Behind it: they can be read, only their deliveries are pending.
    Deliveries,
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
    pub fn inject(&self, of: &TopicPartition, fault: Fault, records: usize) -> Result<(), LogError> {
        self.plan(of, fault, records, true)
    }

    /// The next `records` records of a partition meet no fault, whatever is planned after them.
    /// Fails if the partition does not exist.
    pub fn spare(&self, of: &TopicPartition, records: usize) -> Result<(), LogError> {
        self.0.with(of, |partition| {
            partition.plan.next.extend(std::iter::repeat_n(None, records));
            Ok(())
        })
    }
}
