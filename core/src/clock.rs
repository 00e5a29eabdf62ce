//! The seam through which physical time enters. Nothing else in the workspace reads a clock.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A source of physical time. `wall_ns` may jump in either direction; `mono_ns` never goes back.
pub trait PhysicalClock: Send + Sync + Debug {
    /// Nanoseconds since the Unix epoch.
    fn wall_ns(&self) -> i64;
    /// Nanoseconds since an arbitrary fixed point.
    fn mono_ns(&self) -> i64;
}

impl<C: PhysicalClock + ?Sized> PhysicalClock for Arc<C> {
    fn wall_ns(&self) -> i64 {
        (**self).wall_ns()
    }
    fn mono_ns(&self) -> i64 {
        (**self).mono_ns()
    }
}

/// A clock that only moves when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall: AtomicI64,
    mono: AtomicI64,
}

impl ManualClock {
    /// A clock standing at `wall_ns`.
    pub fn new(wall_ns: i64) -> Self {
        Self {
            wall: AtomicI64::new(wall_ns),
            mono: AtomicI64::new(0),
        }
    }

    /// Time passes: both clocks move forward.
    pub fn advance(&self, ns: i64) {
        self.wall.fetch_add(ns, Ordering::SeqCst);
        self.mono.fetch_add(ns, Ordering::SeqCst);
    }

    /// The wall clock is set (NTP step, operator); the monotonic one does not notice.
    pub fn step_wall(&self, ns: i64) {
        self.wall.fetch_add(ns, Ordering::SeqCst);
    }
}

impl PhysicalClock for ManualClock {
    fn wall_ns(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }
    fn mono_ns(&self) -> i64 {
        self.mono.load(Ordering::SeqCst)
    }
}

/// Another clock shifted by a constant: a machine whose wall clock is wrong.
#[derive(Debug)]
pub struct SkewedClock<C> {
    inner: C,
    skew_ns: i64,
}

impl<C> SkewedClock<C> {
    /// `inner` plus `skew_ns` on the wall.
    pub fn new(inner: C, skew_ns: i64) -> Self {
        Self { inner, skew_ns }
    }
}

impl<C: PhysicalClock> PhysicalClock for SkewedClock<C> {
    fn wall_ns(&self) -> i64 {
        self.inner.wall_ns() + self.skew_ns
    }
    fn mono_ns(&self) -> i64 {
        self.inner.mono_ns()
    }
}
