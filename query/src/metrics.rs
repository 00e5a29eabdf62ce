//! Metrics of a query node: how far each partition is followed and complete, and how the clocks of
//! the gateways stand against the log's.
//!
//! Moments are given as such, in seconds since the epoch: `time() - x` is a delay, and goes on
//! growing while nothing moves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Gauge, gauge};
use tourbillon_core::control::{ControlView, StreamDef, WriterPhase};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::WriterId;

use crate::partition::Partition;
use crate::service::QueryService;

/// How often the gauges are set.
const EVERY: Duration = Duration::from_secs(1);

impl QueryService {
    /// Sets the gauges for ever.
    pub(crate) async fn observe(&self) {
        let mut joined = BTreeSet::new();
        loop {
            let view = self.control_view();
            for def in view.streams.values() {
                self.observe_stream(def).await;
            }
            joined = observe_writers(&view, &joined);
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn observe_stream(&self, def: &StreamDef) {
        let stream = def.name.as_str();
        if let Ok(complete) = self.complete_through(def)
            && complete > Hlc::MIN
        {
            gauge!("tourbillon_query_complete_through_seconds", "stream" => stream.to_owned())
                .set(seconds(complete.0));
        }
        for partition in self.partitions(def).unwrap_or_default() {
            self.observe_partition(stream, &partition).await;
        }
    }

    async fn observe_partition(&self, stream: &str, partition: &Arc<Partition>) {
        let labels = [
            ("stream", stream.to_owned()),
            ("partition", partition.number.0.to_string()),
        ];
        let summary = partition.summary();
        if summary.watermark > Hlc::MIN {
            gauge!("tourbillon_query_watermark_seconds", &labels).set(seconds(summary.watermark.0));
        }
        let end = self.log.range(&partition.at).await.map(|range| range.end.0);
        if let Ok(end) = end {
            let lag = end.saturating_sub(summary.next_offset.0);
            gauge!("tourbillon_query_lag_records", &labels).set(number(lag));
        }
        gauge!("tourbillon_query_unsealed_rows", &labels).set(number(summary.tail_rows));
        gauge!("tourbillon_query_sealed_rows", &labels).set(number(summary.sealed_rows));
        gauge!("tourbillon_query_accepted_rows", &labels).set(number(summary.counts.accepted));
        gauge!("tourbillon_query_duplicate_rows", &labels).set(number(summary.counts.duplicate));
        gauge!("tourbillon_query_rejected_rows", &labels).set(number(summary.counts.rejected));
        let stopped = if summary.stopped.is_some() { 1.0 } else { 0.0 };
        gauge!("tourbillon_query_partition_stopped", &labels).set(stopped);
    }
}

/// Shows the drift of each writer that is joined, and nothing of those that were before: what they
/// last said would stand there, and trouble whoever watches, for ever. Gives who is joined.
fn observe_writers(view: &ControlView, before: &BTreeSet<WriterId>) -> BTreeSet<WriterId> {
    let mut joined = BTreeSet::new();
    for (id, writer) in &view.writers {
        if writer.phase == WriterPhase::Joined && writer.last_hlc > Hlc::MIN {
            let ahead = writer.last_hlc.0.saturating_sub(writer.last_append_ns);
            drift_of(*id).set(seconds(ahead));
            joined.insert(*id);
        }
    }
    for gone in before.difference(&joined) {
        drift_of(*gone).set(f64::NAN);
    }
    joined
}

fn drift_of(writer: WriterId) -> Gauge {
    gauge!("tourbillon_query_writer_drift_seconds", "writer" => writer.0.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "metrics are f64")]
fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "metrics are f64")]
fn number(count: u64) -> f64 {
    count as f64
}
