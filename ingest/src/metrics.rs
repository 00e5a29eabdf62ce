//! Metrics of ingest, declared once.
#![expect(
    clippy::disallowed_macros,
    reason = "this is the place to declare metrics"
)]

use metrics::{Counter, counter};
use tourbillon_core::error::ErrorKind;
use tourbillon_log::TopicPartition;

const WRITERS_ENDED: &str = "tourbillon_ingest_writers_ended_total";
const DRIFT_REFUSED: &str = "tourbillon_ingest_drift_refused_total";
const REFUSED_REQUESTS: &str = "tourbillon_ingest_refused_requests_total";
const REPEATED_ROWS: &str = "tourbillon_ingest_repeated_rows_total";

/// Counters of one lane.
#[derive(Clone)]
pub(crate) struct LaneMetrics {
    /// Rows acknowledged to clients.
    pub(crate) rows: Counter,
    /// Frames of rows.
    pub(crate) frames: Counter,
    /// Requests whose delivery came after the lease had ended.
    pub(crate) late: Counter,
}

impl std::fmt::Debug for LaneMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaneMetrics")
    }
}

impl LaneMetrics {
    /// The counters of `at`.
    pub(crate) fn new(at: &TopicPartition) -> Self {
        let labels = [
            ("topic", at.topic.clone()),
            ("partition", at.partition.to_string()),
        ];
        Self {
            rows: counter!("tourbillon_ingest_acknowledged_rows_total", &labels),
            frames: counter!("tourbillon_ingest_data_frames_total", &labels),
            late: counter!("tourbillon_ingest_late_acknowledgements_total", &labels),
        }
    }
}

/// A gateway starts. What may never happen is shown as 0 from here on: the first increase of a
/// counter that was not there before cannot be seen.
pub(crate) fn started() {
    for name in [WRITERS_ENDED, DRIFT_REFUSED, REPEATED_ROWS] {
        counter!(name).increment(0);
    }
    for kind in ErrorKind::ALL {
        counter!(REFUSED_REQUESTS, "outcome" => kind.as_str()).increment(0);
    }
}

/// A writer ended otherwise than by leaving.
pub(crate) fn writer_ended() {
    counter!(WRITERS_ENDED).increment(1);
}

/// A stamp of a client or another writer lay too far ahead.
pub(crate) fn drift_refused() {
    counter!(DRIFT_REFUSED).increment(1);
}

/// A request was answered with an error of this kind.
pub(crate) fn refused(kind: &'static str) {
    counter!(REFUSED_REQUESTS, "outcome" => kind).increment(1);
}

/// Rows of a repeat were left out: they landed before the stream grew.
pub(crate) fn repeated_rows(rows: usize) {
    counter!(REPEATED_ROWS).increment(rows as u64);
}
