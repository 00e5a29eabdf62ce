//! The clock that issues hybrid logical timestamps, and its guards against a wrong wall clock.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use thiserror::Error;

use super::Hlc;
use crate::clock::PhysicalClock;
use crate::error::ErrorKind;

/// Limits of a clock, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HlcSettings {
    /// How far a stamp may run ahead of the wall clock, own or remote.
    pub max_drift_ns: i64,
}

impl Default for HlcSettings {
    /// 500 ms: far above NTP's error and far below what a reader would notice as a delay.
    fn default() -> Self {
        Self {
            max_drift_ns: 500_000_000,
        }
    }
}

/// Why no stamp could be given or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HlcError {
    /// A remote stamp lies too far ahead.
    #[error("HLC {remote} is more than {max_drift_ns} ns ahead of the wall clock at {wall_ns}")]
    RemoteDrift {
        /// The stamp received.
        remote: Hlc,
        /// Own wall clock, ns since the epoch.
        wall_ns: i64,
        /// The limit, ns.
        max_drift_ns: i64,
    },
    /// The own clock has run too far ahead of the wall, by counting or after a step back.
    #[error("own HLC {last} is more than {max_drift_ns} ns ahead of the wall clock at {wall_ns}")]
    AheadOfWall {
        /// Last stamp given.
        last: Hlc,
        /// Own wall clock, ns since the epoch.
        wall_ns: i64,
        /// The limit, ns.
        max_drift_ns: i64,
    },
    /// The wall clock jumped against the monotonic one; join again as a new writer.
    #[error("the wall clock jumped by {jump_ns} ns against the monotonic clock")]
    Jumped {
        /// The difference, ns.
        jump_ns: i64,
    },
}

impl HlcError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::RemoteDrift { .. } => ErrorKind::Invalid,
            Self::AheadOfWall { .. } => ErrorKind::Unavailable,
            Self::Jumped { .. } => ErrorKind::Fenced,
        }
    }
}

/// Issues strictly increasing stamps. Lock-free; share it by reference.
#[derive(Debug)]
pub struct HlcClock<C> {
    physical: C,
    settings: HlcSettings,
    last: AtomicI64,
    /// Wall minus monotonic at the last reading: constant on a sane machine.
    offset: AtomicI64,
    jumped: AtomicBool,
}

impl<C: PhysicalClock> HlcClock<C> {
    /// A clock that has seen nothing.
    pub fn new(physical: C, settings: HlcSettings) -> Self {
        let offset = AtomicI64::new(physical.wall_ns() - physical.mono_ns());
        let (last, jumped) = (AtomicI64::new(Hlc::MIN.0), AtomicBool::new(false));
        Self {
            physical,
            settings,
            last,
            offset,
            jumped,
        }
    }

    /// The physical clock behind this one.
    pub fn physical(&self) -> &C {
        &self.physical
    }

    /// The last stamp given or observed.
    pub fn last(&self) -> Hlc {
        Hlc(self.last.load(Ordering::Acquire))
    }

    /// One stamp.
    pub fn now(&self) -> Result<Hlc, HlcError> {
        self.reserve(1)
    }

    /// The first of `n` consecutive stamps, taken in one atomic step. `n` of 0 takes one.
    pub fn reserve(&self, n: u32) -> Result<Hlc, HlcError> {
        let wall_ns = self.guarded_wall()?;
        let floor = Hlc::from_wall_ns(wall_ns).0;
        let max_drift_ns = self.settings.max_drift_ns;
        let extra = i64::from(n.max(1)) - 1;
        let taken = self
            .last
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| {
                let ahead = last.saturating_sub(wall_ns) > max_drift_ns;
                (!ahead).then(|| floor.max(last.saturating_add(1)).saturating_add(extra))
            });
        match taken {
            Ok(last) => Ok(Hlc(floor.max(last.saturating_add(1)))),
            Err(last) => Err(HlcError::AheadOfWall {
                last: Hlc(last),
                wall_ns,
                max_drift_ns,
            }),
        }
    }

    /// Raises the clock above a remote stamp, unless that lies too far ahead to be believed.
    pub fn observe(&self, remote: Hlc) -> Result<(), HlcError> {
        let wall_ns = self.physical.wall_ns();
        let max_drift_ns = self.settings.max_drift_ns;
        if remote.0.saturating_sub(wall_ns) > max_drift_ns {
            return Err(HlcError::RemoteDrift {
                remote,
                wall_ns,
                max_drift_ns,
            });
        }
        self.last.fetch_max(remote.0, Ordering::AcqRel);
        Ok(())
    }

    /// Raises the clock above a watermark: the log's word, which counts even if it lies ahead.
    /// Stamping then waits until the wall has come near enough.
    pub fn raise(&self, watermark: Hlc) {
        self.last.fetch_max(watermark.0, Ordering::AcqRel);
    }

    fn guarded_wall(&self) -> Result<i64, HlcError> {
        let wall_ns = self.physical.wall_ns();
        let offset = wall_ns - self.physical.mono_ns();
        let before = self.offset.swap(offset, Ordering::AcqRel);
        let jump_ns = offset - before;
        if jump_ns.abs() > self.settings.max_drift_ns / 2 {
            self.jumped.store(true, Ordering::Release);
        }
        if self.jumped.load(Ordering::Acquire) {
            return Err(HlcError::Jumped { jump_ns });
        }
        Ok(wall_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    const START: i64 = 1_700_000_000_000_000_000;

    fn clock() -> (Arc<ManualClock>, HlcClock<Arc<ManualClock>>) {
        let physical = Arc::new(ManualClock::new(START));
        (
            Arc::clone(&physical),
            HlcClock::new(physical, HlcSettings::default()),
        )
    }

    #[test]
    fn stamps_follow_the_wall_and_count_within_a_tick() {
        let (physical, hlc) = clock();
        let first = hlc.now().unwrap();
        assert_eq!(first, Hlc::from_wall_ns(START));
        assert_eq!(hlc.reserve(10).unwrap(), first.plus(1));
        assert_eq!(hlc.now().unwrap(), first.plus(11));
        physical.advance(1_000_000);
        assert_eq!(hlc.now().unwrap(), Hlc::from_wall_ns(START + 1_000_000));
    }

    #[test]
    fn small_step_back_only_ticks_the_counter() {
        let (physical, hlc) = clock();
        let first = hlc.now().unwrap();
        physical.step_wall(-100_000_000);
        assert_eq!(hlc.now().unwrap(), first.plus(1));
    }

    #[test]
    fn jump_of_the_wall_stops_stamping_until_rejoined() {
        let (physical, hlc) = clock();
        physical.step_wall(251_000_000);
        assert!(matches!(
            hlc.now(),
            Err(HlcError::Jumped {
                jump_ns: 251_000_000
            })
        ));
        assert!(matches!(hlc.now(), Err(HlcError::Jumped { .. })));
    }

    #[test]
    fn remote_stamp_beyond_max_drift_is_refused_and_not_taken() {
        let (_, hlc) = clock();
        hlc.observe(Hlc(START + 500_000_000)).unwrap();
        let error = hlc.observe(Hlc(START + 500_000_001)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(hlc.last(), Hlc(START + 500_000_000));
        assert!(hlc.now().unwrap() > Hlc(START + 500_000_000));
    }

    #[test]
    fn clock_ahead_of_wall_refuses_until_time_has_passed() {
        let (physical, hlc) = clock();
        hlc.raise(Hlc(START + 600_000_000));
        assert!(matches!(hlc.now(), Err(HlcError::AheadOfWall { .. })));
        physical.advance(200_000_000);
        assert_eq!(hlc.now().unwrap(), Hlc(START + 600_000_001));
    }

    #[test]
    fn concurrent_reservations_never_overlap() {
        let (_, hlc) = clock();
        let hlc = Arc::new(hlc);
        let mut taken: Vec<i64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let hlc = Arc::clone(&hlc);
                    scope.spawn(move || {
                        let firsts = (0..500).map(|_| hlc.reserve(3).unwrap().0);
                        firsts.flat_map(|f| f..f + 3).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|t| t.join().unwrap())
                .collect()
        });
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(taken.len(), 6000);
    }

    proptest! {
        #[test]
        fn stamps_strictly_increase_under_any_small_clock_movement(
            moves in proptest::collection::vec((-50_000_000i64..50_000_000, 1u32..5000), 1..100)
        ) {
            let (physical, hlc) = clock();
            let mut above = Hlc::MIN;
            for (step, n) in moves {
                if step < 0 { physical.step_wall(step); } else { physical.advance(step); }
                let Ok(first) = hlc.reserve(n) else { continue };
                prop_assert!(first > above);
                above = first.plus(i64::from(n) - 1);
            }
        }
    }
}
