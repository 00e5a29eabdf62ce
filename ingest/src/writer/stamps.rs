//! Stamping: the one lock of a writer.
//!
//! A stamp and its place in the partitions' queues are taken under one short lock, so that in
//! every partition, and across them, rows are queued in the order of their stamps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::hlc::{Hlc, HlcClock, HlcError, HlcSettings};

/// A writer's clock and its lock.
#[derive(Debug)]
pub(crate) struct Stamps {
    clock: HlcClock<Arc<dyn PhysicalClock>>,
    order: Mutex<()>,
}

impl Stamps {
    /// Stamps above `floor`.
    pub(crate) fn new(clock: Arc<dyn PhysicalClock>, settings: HlcSettings, floor: Hlc) -> Self {
        let clock = HlcClock::new(clock, settings);
        clock.raise(floor);
        Self {
            clock,
            order: Mutex::new(()),
        }
    }

    /// The clock, for everything but stamping.
    pub(crate) fn clock(&self) -> &HlcClock<Arc<dyn PhysicalClock>> {
        &self.clock
    }

    /// Takes `n` stamps and lets `place` queue what they stamp, before anyone takes another.
    pub(crate) fn take<T>(&self, n: u32, place: impl FnOnce(Hlc) -> T) -> Result<T, HlcError> {
        let _order = self.lock();
        self.clock.reserve(n).map(place)
    }

    /// Takes one stamp, unless something stamped lower still waits.
    pub(crate) fn take_if(&self, idle: impl FnOnce() -> bool) -> Result<Option<Hlc>, HlcError> {
        let _order = self.lock();
        idle().then(|| self.clock.now()).transpose()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
