//! Physical clocks on top of virtual time: wrong by a skew, a drift, and jumps of the wall.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use tourbillon_core::clock::PhysicalClock;

/// Wall time at the start of every run, ns since the epoch.
pub(crate) const EPOCH_NS: i64 = 1_700_000_000_123_456_789;

const MILLION: i64 = 1_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Error {
    skew_ns: i64,
    wall_ppm: i64,
    mono_ppm: i64,
    /// What the monotonic clock had gained when its rate was put right.
    mono_gained_ns: i64,
}

/// The clock of one host.
#[derive(Debug)]
pub(crate) struct HostClock {
    start: Instant,
    error: Mutex<Error>,
}

impl HostClock {
    /// A clock that is right.
    pub(crate) fn new(start: Instant) -> Self {
        let error = Mutex::default();
        Self { start, error }
    }

    /// A clock whose monotonic part runs at a wrong rate.
    pub(crate) fn with_rates(start: Instant, wall_ppm: i64, mono_ppm: i64, skew_ns: i64) -> Self {
        let error = Mutex::new(Error {
            skew_ns,
            wall_ppm,
            mono_ppm,
            mono_gained_ns: 0,
        });
        Self { start, error }
    }

    fn error(&self) -> Error {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Error)) {
        change(&mut self.error.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The wall clock is set.
    pub(crate) fn step(&self, ns: i64) {
        self.change(|error| error.skew_ns += ns);
    }

    /// The wall clock is put right, and the rate of the monotonic one.
    pub(crate) fn heal(&self) {
        let passed = self.passed_ns();
        self.change(|error| {
            let gained = error.mono_gained_ns + passed / MILLION * error.mono_ppm;
            *error = Error {
                mono_gained_ns: gained,
                ..Error::default()
            };
        });
    }

    fn passed_ns(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }
}

impl PhysicalClock for HostClock {
    fn wall_ns(&self) -> i64 {
        let (error, passed) = (self.error(), self.passed_ns());
        EPOCH_NS + passed + passed / MILLION * error.wall_ppm + error.skew_ns
    }

    fn mono_ns(&self) -> i64 {
        let passed = self.passed_ns();
        let error = self.error();
        passed + passed / MILLION * error.mono_ppm + error.mono_gained_ns
    }
}
