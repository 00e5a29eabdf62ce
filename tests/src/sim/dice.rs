//! The one source of chance of a seed. Draws happen in the order of the run, which is the same
//! each time, so the seed decides everything.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Dice, shared by everything in a run.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Arc<Mutex<SmallRng>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    fn with<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number in `range`, which is not empty.
    pub(crate) fn number(&self, range: Range<u64>) -> u64 {
        self.with(|rng| rng.random_range(range))
    }

    /// A signed number in `range`, which is not empty.
    pub(crate) fn signed(&self, range: Range<i64>) -> i64 {
        self.with(|rng| rng.random_range(range))
    }

    /// An index below `len`, which is not 0.
    pub(crate) fn index(&self, len: usize) -> usize {
        self.with(|rng| rng.random_range(0..len))
    }

    /// Whether something of this probability happens.
    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.with(|rng| rng.random_bool(probability))
    }

    /// Milliseconds in `range`, drawn to the microsecond.
    pub(crate) fn millis(&self, range: Range<u64>) -> Duration {
        let micros = range.start * 1000..range.end * 1000;
        Duration::from_micros(self.number(micros))
    }
}
