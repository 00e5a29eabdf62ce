//! History at the pace at which it came, or a multiple of it.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;
use tourbillon_core::hlc::Hlc;

/// Rows that are due this close together are sent together.
const TICK: Duration = Duration::from_millis(20);

/// When rows are due.
#[derive(Debug)]
pub(super) struct Pace {
    speed: f64,
    /// When the first row was sent, and its stamp.
    begun: Option<(Instant, Hlc)>,
}

impl Pace {
    pub(super) fn new(speed: f64) -> Self {
        let begun = None;
        Self { speed, begun }
    }

    /// The first of some rows, and those that may go with it; and when.
    pub(super) fn next(&mut self, stamps: &[i64]) -> (Range<usize>, Instant) {
        let first = stamps.first().map_or(Hlc::MIN, |hlc| Hlc(*hlc));
        let (begun, origin) = *self.begun.get_or_insert_with(|| (Instant::now(), first));
        let apart = Duration::from_nanos(first.0.abs_diff(origin.0));
        let apart = Duration::try_from_secs_f64(apart.as_secs_f64() / self.speed);
        let due = apart.ok().and_then(|apart| begun.checked_add(apart));
        let tick = Duration::try_from_secs_f64(TICK.as_secs_f64() * self.speed);
        let tick = tick.map_or(i64::MAX, |tick| {
            i64::try_from(tick.as_nanos()).unwrap_or(i64::MAX)
        });
        let last = first.0.saturating_add(tick);
        let rows = stamps.partition_point(|hlc| *hlc < last).max(1);
        // what lies beyond the reach of clocks is not waited for in one piece
        (0..rows.min(stamps.len()), due.unwrap_or_else(Instant::now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rows_are_due_when_they_came() {
        let begun = Instant::now();
        let mut pace = Pace::new(10.0);
        let second = 1_000_000_000;
        assert_eq!(pace.next(&[5, 6, second]), (0..2, begun));
        let later = [
            5 * second + 5,
            5 * second + 199_999_999,
            5 * second + 200_000_005,
        ];
        let due = begun + Duration::from_millis(500);
        assert_eq!(pace.next(&later), (0..2, due));
        assert_eq!(Pace::new(1e-300).next(&[1, 2, 3]).0, 0..1);
        assert_eq!(Pace::new(1e300).next(&[1, 2, i64::MAX - 1]).0, 0..3);
    }
}
