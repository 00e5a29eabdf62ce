//! Metrics of the shard worker.

use metrics::{Counter, Gauge};
use tourbillon_log::TopicPartition;

/// Commits this worker made sure of.
const COMMITS: &str = "tourbillon_worker_commits_total";
/// Segments named by those commits.
const SEGMENTS: &str = "tourbillon_worker_segments_total";
/// Rows accepted and not sealed yet.
const OPEN_ROWS: &str = "tourbillon_worker_open_rows";
/// Partitions that stopped and were started again, by the error's kind.
const RESTARTS: &str = "tourbillon_worker_restarts_total";

#[expect(
    clippy::disallowed_macros,
    reason = "this is where metrics are declared"
)]
fn counter(name: &'static str, at: &TopicPartition) -> Counter {
    metrics::counter!(
        name, "topic" => at.topic.clone(), "partition" => at.partition.to_string()
    )
}

pub(crate) fn committed(at: &TopicPartition, segments: usize) {
    counter(COMMITS, at).increment(1);
    counter(SEGMENTS, at).increment(segments as u64);
}

pub(crate) fn open_rows(at: &TopicPartition) -> Gauge {
    metrics::gauge!(
        OPEN_ROWS, "topic" => at.topic.clone(), "partition" => at.partition.to_string()
    )
}

pub(crate) fn restarted(at: &TopicPartition) {
    counter(RESTARTS, at).increment(1);
}
