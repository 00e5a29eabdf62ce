//! What a seed decides before its run begins: sizes, settings, and how bad things will be.

use std::time::Duration;

use super::dice::Dice;

/// How often things go wrong: probabilities per record, call or object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// A record is stored, its delivery fails.
    pub(crate) lost_ack: f64,
    /// A record is not stored, its delivery fails.
    pub(crate) not_stored: f64,
    /// A record is stored twice, the second time at once or later.
    pub(crate) duplicated: f64,
    /// A record and all behind it wait.
    pub(crate) stalled: f64,
    /// How long they wait at most, ms; 0 for no longer than usual.
    pub(crate) stall_ms: u64,
    /// A store call fails without effect.
    pub(crate) no_effect: f64,
    /// A store call takes effect and fails.
    pub(crate) lost_answer: f64,
    /// A store call takes up to 2 s.
    pub(crate) slow: f64,
    /// A put-if-absent that meets an object says 412 or 409 in another way.
    pub(crate) odd_conflict: f64,
    /// A listing leaves out what was put last.
    pub(crate) stale_list: f64,
    /// A read takes up to a second.
    pub(crate) slow_read: f64,
    /// A read of a partition fails.
    pub(crate) lost_read: f64,
}

/// The plan of one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) partitions: u32,
    /// How often the stream grows.
    pub(crate) growths: u64,
    pub(crate) evolves: bool,
    pub(crate) rogue: bool,
    pub(crate) forges: bool,
    /// Whether most trouble is a second process beside the first.
    pub(crate) fails_over: bool,
    pub(crate) gateways: usize,
    pub(crate) workers: usize,
    pub(crate) shares: u32,
    /// Whether partitions move between the workers all the time, instead of fixed shares.
    pub(crate) roams: bool,
    pub(crate) queries: usize,
    pub(crate) clients: usize,
    pub(crate) lease: Duration,
    pub(crate) beat: Duration,
    pub(crate) linger: Duration,
    pub(crate) window_ns: i64,
    /// Span of compaction, ns; 0 if there is none.
    pub(crate) compaction_ns: i64,
    /// Age at which rows go, ns; 0 if they stay.
    pub(crate) retention_ns: i64,
    /// How long replaced files stay.
    pub(crate) grace: Duration,
    /// Length of the troubled part.
    pub(crate) troubled: Duration,
    /// Mean pause between two troubles.
    pub(crate) trouble_ms: u64,
    /// Mean pause of a client between two requests.
    pub(crate) request_ms: u64,
    pub(crate) weather: Weather,
}

impl Plan {
    /// The plan of the seed that `dice` were made from.
    pub(crate) fn draw(dice: &Dice) -> Self {
        let long = dice.chance(0.06);
        let rate = |high: f64| {
            let hundredths = dice.number(0..100);
            // a third of all seeds are spared each fault, so that the others show
            #[expect(clippy::cast_precision_loss, reason = "below 100")]
            let share = hundredths.saturating_sub(33) as f64 / 67.0;
            share * high
        };
        let weather = Weather {
            lost_ack: rate(0.006),
            not_stored: rate(0.006),
            duplicated: rate(0.03),
            stalled: rate(0.01),
            stall_ms: if long { 90_000 } else { 3000 },
            no_effect: rate(0.08),
            lost_answer: rate(0.08),
            slow: rate(0.08),
            odd_conflict: rate(0.8),
            stale_list: rate(0.3),
            slow_read: rate(0.03),
            lost_read: rate(0.002),
        };
        let compaction_ns = dice.signed(0..4) * 1_000_000_000;
        let lets_go = compaction_ns > 0 && dice.chance(0.3);
        let beat = if long { 400..800 } else { 60..300 };
        Self {
            partitions: u32::try_from(dice.number(1..4)).unwrap_or(1),
            growths: if dice.chance(0.5) {
                dice.number(1..4)
            } else {
                0
            },
            evolves: dice.chance(0.35),
            rogue: dice.chance(0.5),
            forges: dice.chance(0.25),
            fails_over: dice.chance(0.35),
            gateways: dice.index(2) + 2,
            workers: dice.index(3) + 1,
            shares: u32::try_from(dice.number(1..3)).unwrap_or(1),
            roams: false,
            queries: 1,
            clients: dice.index(3) + 2,
            lease: dice.millis(400..1500),
            beat: dice.millis(beat),
            linger: dice.millis(0..6),
            window_ns: dice.signed(1..5) * 500_000_000,
            compaction_ns,
            retention_ns: i64::from(lets_go) * compaction_ns * dice.signed(1..5),
            grace: dice.millis(2000..12_000),
            troubled: dice.millis(if long { 40_000..60_000 } else { 5000..14_000 }),
            trouble_ms: dice.number(300..1800),
            request_ms: dice.number(60..400),
            weather,
        }
    }
}
