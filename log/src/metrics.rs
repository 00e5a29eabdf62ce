//! Metrics of the log, declared once. Handles are made per partition, so that a record costs no
//! registry lookup.
#![expect(
    clippy::disallowed_macros,
    reason = "this is the place to declare metrics"
)]

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::{LogRecord, TopicPartition};

/// Counters of one partition.
#[derive(Clone)]
pub(crate) struct PartitionMetrics {
    appended_records: Counter,
    appended_bytes: Counter,
    append_seconds: Histogram,
    failed_records: Counter,
    read_records: Counter,
}

impl std::fmt::Debug for PartitionMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PartitionMetrics")
    }
}

impl PartitionMetrics {
    /// The counters of `of`.
    pub(crate) fn new(of: &TopicPartition) -> Self {
        let topic = of.topic.clone();
        let partition = of.partition.to_string();
        let labels = [("topic", topic.clone()), ("partition", partition.clone())];
        let outcome = |outcome: &str| {
            let (topic, partition, outcome) =
                (topic.clone(), partition.clone(), outcome.to_owned());
            counter!("tourbillon_log_append_records_total",
                "topic" => topic, "partition" => partition, "outcome" => outcome)
        };
        Self {
            appended_records: outcome("ok"),
            failed_records: outcome("error"),
            appended_bytes: counter!("tourbillon_log_append_bytes_total", &labels),
            append_seconds: histogram!("tourbillon_log_append_seconds", &labels),
            read_records: counter!("tourbillon_log_read_records_total", &labels),
        }
    }

    /// A record is durable, `took` after it was handed over.
    pub(crate) fn appended(&self, payload_bytes: usize, took: Duration) {
        self.appended_records.increment(1);
        self.appended_bytes.increment(payload_bytes as u64);
        self.append_seconds.record(took);
    }

    /// A delivery failed.
    pub(crate) fn failed(&self) {
        self.failed_records.increment(1);
    }

    /// A reader got these records.
    pub(crate) fn read(&self, records: &[LogRecord]) {
        self.read_records.increment(records.len() as u64);
    }
}

/// The embedded log made this many records durable with one flush to disk.
pub(crate) fn committed_group(records: usize) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a group is far below 2^52 records"
    )]
    histogram!("tourbillon_log_commit_group_records").record(records as f64);
}

/// The Kafka client reported so many errors that it goes on to retry; 0 shows the counter.
pub(crate) fn broker_errors(errors: u64) {
    counter!("tourbillon_log_broker_errors_total").increment(errors);
}
