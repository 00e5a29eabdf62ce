//! A broker's clock against this machine's. Pure.

use std::time::Duration;

use tourbillon_core::report::{Finding, Grade};

use crate::control::DEFAULT_MAX_DRIFT_NS;

/// Kafka tells times in whole milliseconds, ns.
const GRAIN_NS: i64 = 1_000_000;

/// A record that a broker took, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// By this machine's clock, before the record was handed over, ns.
    pub(super) before_ns: i64,
    /// By this machine's clock, when its delivery was known, ns.
    pub(super) after_ns: i64,
    /// By the broker's clock, ns.
    pub(super) append_ns: i64,
}

impl Taken {
    /// How far the broker's clock is ahead of ours, at least and at most, ns.
    fn ahead(self) -> (i64, i64) {
        let least = self.append_ns - self.after_ns;
        (least, self.append_ns + GRAIN_NS - self.before_ns)
    }
}

/// What all records together say of a broker's clock: each narrows it down.
pub(super) fn judge_clock(broker: i32, taken: &[Taken]) -> Option<Finding> {
    let ranges = taken.iter().map(|taken| taken.ahead());
    let narrow = |(least, most): (i64, i64), (l, m): (i64, i64)| (least.max(l), most.min(m));
    let (least, most) = ranges.reduce(narrow)?;
    let what = format!("clock of broker {broker}");
    let ahead = least.midpoint(most);
    let says = format!(
        "{} {} of this machine's, give or take {}",
        millis(ahead),
        if ahead < 0 { "behind" } else { "ahead" },
        millis((most - least) / 2),
    );
    // an acknowledgement needs a stamp that lies at most so far above the append time
    if most < -DEFAULT_MAX_DRIFT_NS {
        let says = format!(
            "{says}: gateways here could acknowledge nothing, as their stamps lie more than \
             {} above the append time",
            millis(DEFAULT_MAX_DRIFT_NS)
        );
        let fix = "mend time synchronisation, of this machine or of the broker";
        return Some(Finding::broken(what, says).with_fix(fix));
    }
    let far = least > DEFAULT_MAX_DRIFT_NS / 2 || most < -DEFAULT_MAX_DRIFT_NS / 2;
    let grade = if far { Grade::Warning } else { Grade::Fine };
    Some(Finding::new(grade, what, says))
}

fn millis(ns: i64) -> String {
    let ns = Duration::from_nanos(ns.unsigned_abs());
    format!("{:.1} ms", ns.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn taken(before: i64, after: i64, append: i64) -> Taken {
        Taken {
            before_ns: before * MS,
            after_ns: after * MS,
            append_ns: append * MS,
        }
    }

    fn grade(records: &[Taken]) -> Grade {
        judge_clock(1, records).unwrap().grade
    }

    #[test]
    fn clocks_that_may_agree_are_fine() {
        assert_eq!(grade(&[taken(1000, 1010, 1005)]), Grade::Fine);
        // a slow answer leaves open what the clock shows
        assert_eq!(grade(&[taken(1000, 9000, 1000)]), Grade::Fine);
        assert_eq!(judge_clock(1, &[]), None);
    }

    #[test]
    fn a_clock_so_far_behind_that_nothing_is_acknowledged_is_told() {
        let found = judge_clock(7, &[taken(1600, 1610, 1000)]).unwrap();
        assert_eq!(found.grade, Grade::Broken);
        assert!(found.text().contains("broker 7"), "{}", found.text());
        assert_eq!(grade(&[taken(1300, 1310, 1000)]), Grade::Warning);
        assert_eq!(grade(&[taken(1000, 1010, 9000)]), Grade::Warning);
    }

    #[test]
    fn the_quickest_record_decides() {
        let slow = taken(0, 5000, 1000);
        let quick = taken(6600, 6610, 6000);
        assert_eq!(grade(&[slow]), Grade::Fine);
        assert_eq!(grade(&[slow, quick]), Grade::Broken);
    }
}
