//! Metrics of the shard worker.

use metrics::{Counter, Gauge};
use tourbillon_core::machine::Verdict;
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

/// A compaction was written by this worker.
pub(crate) fn compacted(at: &TopicPartition, files: usize) {
    counter("tourbillon_worker_compactions_total", at).increment(1);
    counter("tourbillon_worker_compacted_files_total", at).increment(files as u64);
}

/// Segments whose rows compacted files hold were removed.
pub(crate) fn removed(at: &TopicPartition, segments: usize) {
    counter("tourbillon_worker_removed_segments_total", at).increment(segments as u64);
}

/// The upkeep of a partition's files stopped and pauses.
pub(crate) fn upkeep_failed(at: &TopicPartition) {
    counter("tourbillon_worker_upkeep_errors_total", at).increment(1);
}

/// Rows and bare frames that this worker saw refused, by reason.
#[expect(
    clippy::disallowed_macros,
    reason = "this is where metrics are declared"
)]
pub(crate) fn refused(at: &TopicPartition, verdict: Option<&Verdict>) {
    for refusal in verdict.into_iter().flat_map(|verdict| &verdict.refused) {
        let counter = metrics::counter!(
            "tourbillon_worker_refused_rows_total",
            "topic" => at.topic.clone(),
            "partition" => at.partition.to_string(),
            "reason" => refusal.reason.as_str()
        );
        counter.increment(refusal.rows.len().max(1) as u64);
    }
}

/// A silent writer was fenced by this worker.
#[expect(
    clippy::disallowed_macros,
    reason = "this is where metrics are declared"
)]
pub(crate) fn fenced() {
    metrics::counter!("tourbillon_worker_fenced_writers_total").increment(1);
}
