//! What the demo tells at its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::check::Proof;
use super::live::Percentiles;
use crate::out::{self, thousands};

/// The proof with what was measured on the way.
pub(super) struct Summary<'a> {
    pub(super) proof: &'a Proof,
    pub(super) took: Duration,
    pub(super) skew: Duration,
    pub(super) queryable: Percentiles,
    pub(super) watermark: Percentiles,
}

impl Summary<'_> {
    fn rate(&self) -> u64 {
        out::per_second(self.proof.acknowledged, self.took)
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let Self {
            proof,
            queryable,
            watermark,
            ..
        } = self;
        json!({
            "acknowledged_rows": proof.acknowledged,
            "window_rows": proof.window_rows,
            "rows_once": proof.once,
            "strict_order": proof.strict_order,
            "sealed_rows": proof.sealed_rows,
            "tail_rows": proof.open_rows,
            "segments_rebuilt": proof.segments,
            "commits": proof.commits,
            "duplicate_rows": proof.duplicate_rows,
            "rejected_rows": proof.rejected_rows,
            "differences": proof.differences,
            "rows_per_second": self.rate(),
            "event_to_queryable_ms": { "p50": queryable.p50_ms, "p99": queryable.p99_ms },
            "watermark_delay_ms": { "p50": watermark.p50_ms, "p99": watermark.p99_ms },
            "holds": proof.holds(),
        })
    }

    /// For people.
    pub(super) fn tell(&self) {
        let proof = self.proof;
        for (name, text) in [
            ("rows acknowledged", self.acknowledged()),
            ("rows in the window", window(proof)),
            ("rebuilt from the log", rebuilt(proof)),
            ("where the rows are", places(proof)),
            ("event to queryable", delay(self.queryable)),
            ("watermark delay", self.watermark_delay()),
        ] {
            out::line(&format!("{name:<22}{text}"));
        }
        for difference in &proof.differences {
            out::line(&format!("  {difference}"));
        }
        out::line(if proof.holds() {
            "verified"
        } else {
            "NOT VERIFIED"
        });
    }

    fn acknowledged(&self) -> String {
        let rows = thousands(self.proof.acknowledged);
        format!("{rows} ({} rows/s)", thousands(self.rate()))
    }

    fn watermark_delay(&self) -> String {
        let skew = humantime::format_duration(self.skew);
        format!(
            "{} (two gateways, clocks {skew} apart)",
            delay(self.watermark)
        )
    }
}

fn window(proof: &Proof) -> String {
    format!(
        "{}; each once: {}; in strict (hlc, writer) order: {}",
        thousands(proof.window_rows),
        yes(proof.once),
        yes(proof.strict_order)
    )
}

fn rebuilt(proof: &Proof) -> String {
    format!(
        "{} segments in {} commits, byte for byte: {}",
        thousands(proof.segments),
        thousands(proof.commits),
        yes(proof.differences.is_empty())
    )
}

fn places(proof: &Proof) -> String {
    format!(
        "{} sealed, {} in the tail; {} duplicate, {} rejected",
        thousands(proof.sealed_rows),
        thousands(proof.open_rows),
        thousands(proof.duplicate_rows),
        thousands(proof.rejected_rows)
    )
}

fn delay(delay: Percentiles) -> String {
    format!("p50 {:.1} ms, p99 {:.1} ms", delay.p50_ms, delay.p99_ms)
}

fn yes(good: bool) -> &'static str {
    if good { "yes" } else { "NO" }
}
