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
/// Partitions that this worker runs.
const PARTITIONS: &str = "tourbillon_worker_partitions";
/// 1 for each partition that this worker runs, 0 for one that it ran before.
const RUNS: &str = "tourbillon_worker_runs";
/// Times that this worker was given a partition.
const BEGUN: &str = "tourbillon_worker_partitions_begun_total";
/// Partitions that stopped and were started again, by the error's kind.
const RESTARTS: &str = "tourbillon_worker_restarts_total";
/// Compactions written by this worker, and their files.
const COMPACTIONS: &str = "tourbillon_worker_compactions_total";
const COMPACTED_FILES: &str = "tourbillon_worker_compacted_files_total";
/// Segments that this worker removed.
const REMOVED: &str = "tourbillon_worker_removed_segments_total";
/// Times that the upkeep of a partition's files stopped for a while.
const UPKEEP_ERRORS: &str = "tourbillon_worker_upkeep_errors_total";
/// Writers that this worker fenced.
const FENCED: &str = "tourbillon_worker_fenced_writers_total";

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

/// This worker begins to run a partition. What may never happen is shown as 0 from here on: the
/// first increase of a counter that was not there before cannot be seen.
pub(crate) fn begun(at: &TopicPartition) {
    for name in [
        COMMITS,
        SEGMENTS,
        RESTARTS,
        COMPACTIONS,
        COMPACTED_FILES,
        REMOVED,
        UPKEEP_ERRORS,
    ] {
        counter(name, at).increment(0);
    }
    counter(BEGUN, at).increment(1);
    runs(at).set(1.0);
}

/// Nothing of a partition is at work here any more.
pub(crate) fn ended(at: &TopicPartition) {
    runs(at).set(0.0);
}

fn runs(at: &TopicPartition) -> Gauge {
    metrics::gauge!(
        RUNS, "topic" => at.topic.clone(), "partition" => at.partition.to_string()
    )
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn partitions(count: usize) {
    metrics::gauge!(PARTITIONS).set(count as f64);
}

pub(crate) fn restarted(at: &TopicPartition) {
    counter(RESTARTS, at).increment(1);
}

/// A compaction was written by this worker.
pub(crate) fn compacted(at: &TopicPartition, files: usize) {
    counter(COMPACTIONS, at).increment(1);
    counter(COMPACTED_FILES, at).increment(files as u64);
}

/// Segments whose rows compacted files hold were removed.
pub(crate) fn removed(at: &TopicPartition, segments: usize) {
    counter(REMOVED, at).increment(segments as u64);
}

/// The upkeep of a partition's files stopped and pauses.
pub(crate) fn upkeep_failed(at: &TopicPartition) {
    counter(UPKEEP_ERRORS, at).increment(1);
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

/// This worker fenced so many silent writers; 0 shows the counter.
#[expect(
    clippy::disallowed_macros,
    reason = "this is where metrics are declared"
)]
pub(crate) fn fenced(writers: u64) {
    metrics::counter!(FENCED).increment(writers);
}
