//! The machine's clock: the only place in the workspace that reads it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tourbillon_core::clock::PhysicalClock;

/// Wall and monotonic time of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at 0 now.
    #[expect(clippy::disallowed_methods, reason = "the seam where time enters")]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl PhysicalClock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the seam where time enters")]
    fn wall_ns(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
        }
    }

    fn mono_ns(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_plausible_time_and_never_goes_back() {
        let clock = SystemClock::new();
        let (wall, mono) = (clock.wall_ns(), clock.mono_ns());
        assert!(wall > 1_700_000_000_000_000_000, "{wall}");
        assert!(mono >= 0 && clock.mono_ns() >= mono);
    }
}
