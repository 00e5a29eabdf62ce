//! Hybrid logical timestamps: wall time to 1.024 us, with 1024 logical stamps in each tick.
//!
//! The value is nanoseconds since the Unix epoch whose low 10 bits count stamps within a tick, so
//! any tool that reads it as `Timestamp(ns, UTC)` sees the true wall time to a microsecond. A full
//! counter carries into the physical part, which keeps the order strict.

mod clock;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use clock::{HlcClock, HlcError, HlcSettings};

use crate::ids::WriterId;

/// Low bits that hold the logical counter.
pub const LOGICAL_BITS: u32 = 10;

const LOGICAL_MASK: i64 = (1 << LOGICAL_BITS) - 1;

/// A hybrid logical timestamp.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Hlc(pub i64);

impl Hlc {
    /// Below every stamp: a clock that has seen nothing.
    pub const MIN: Self = Self(0);

    /// The first stamp of the tick that holds `wall_ns`.
    pub fn from_wall_ns(wall_ns: i64) -> Self {
        Self(wall_ns & !LOGICAL_MASK)
    }

    /// The physical part, nanoseconds since the Unix epoch.
    pub fn wall_ns(self) -> i64 {
        self.0 & !LOGICAL_MASK
    }

    /// The logical part, 0 to 1023.
    pub fn logical(self) -> u16 {
        u16::try_from(self.0 & LOGICAL_MASK).unwrap_or(0)
    }

    /// The stamp `n` after this one, saturating at the end of time (year 2262).
    #[must_use]
    pub fn plus(self, n: i64) -> Self {
        Self(self.0.saturating_add(n))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The total order of events: unique, because a writer's HLC strictly increases.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Key {
    /// When, by the writer's clock.
    pub hlc: Hlc,
    /// Who.
    pub writer: WriterId,
}

impl Key {
    /// The highest key at or below `hlc`.
    pub fn last_at(hlc: Hlc) -> Self {
        Self {
            hlc,
            writer: WriterId(u32::MAX),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.hlc, self.writer)
    }
}
