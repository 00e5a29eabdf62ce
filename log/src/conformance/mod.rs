//! One suite that every log passes. Each check is a function over a [`Subject`]; the macro at the
//! end makes a test of each check and each log.
//!
//! Kafka is checked twice: always on the mock brokers that librdkafka brings along, and on real
//! ones if `TOURBILLON_KAFKA=host:port,...` names them.

mod appending;
mod closing;
mod reading;
pub(crate) mod subjects;
mod topics;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tourbillon_core::ids::{Offset, PartitionId};

use crate::{Appended, Log, LogReader, LogRecord, TopicNeed, TopicPartition};

/// A check that takes longer than this has stalled.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a topic where the log itself cannot.
type Declare = Box<dyn Fn(&str, u32) + Send + Sync>;

/// A log under test, and what cannot be expected of it.
pub(crate) struct Subject {
    pub(crate) log: Arc<dyn Log>,
    /// Begins the name of every topic.
    prefix: String,
    declare: Option<Declare>,
    /// False where deliveries do not carry the append time that readers see.
    reports_append_time: bool,
    /// Payload bytes that one partition surely holds.
    held_bytes: usize,
    /// Lives as long as the log.
    _keep: Box<dyn Any + Send + Sync>,
}

impl Subject {
    fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// Makes a topic and gives its name.
    async fn topic(&self, topic: &str, partitions: u32) -> String {
        let name = self.name(topic);
        if let Some(declare) = &self.declare {
            declare(&name, partitions);
        }
        let need = TopicNeed::data(&name, partitions);
        let made = self.log.ensure_topic(&need).await;
        made.unwrap();
        name
    }

    /// The first partition of a new topic.
    async fn partition(&self) -> TopicPartition {
        at(&self.topic("t", 1).await, 0)
    }

    async fn append(&self, to: &TopicPartition, payload: impl Into<Bytes>) -> Appended {
        let delivery = self.log.enqueue(to, payload.into()).await.unwrap();
        delivery.await.unwrap()
    }

    async fn read(&self, of: &TopicPartition, from: u64) -> Box<dyn LogReader> {
        self.log.read(of, Offset(from)).await.unwrap()
    }
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition {
        topic: topic.to_owned(),
        partition: PartitionId(partition),
    }
}

/// Reads until `count` records are there.
async fn take(reader: &mut dyn LogReader, count: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        let batch = reader.next().await.unwrap();
        assert!(!batch.is_empty(), "an empty batch");
        records.extend(batch);
    }
    assert_eq!(records.len(), count, "more records than were appended");
    records
}

/// Asserts that the offsets follow one another from `first` on.
fn assert_contiguous(first: u64, offsets: impl IntoIterator<Item = Offset>) {
    for (expected, offset) in (first..).zip(offsets) {
        assert_eq!(offset, Offset(expected));
    }
}

/// Bytes that no compression makes fewer.
pub(crate) fn noise(count: usize) -> Bytes {
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    });
    noise.take(count).collect()
}

macro_rules! conformance {
    ($($module:ident::$check:ident,)*) => {
        conformance!(@log memory $($module::$check,)*);
        conformance!(@log embedded $($module::$check,)*);
        conformance!(@log mock_kafka $($module::$check,)*);
        conformance!(@log real_kafka $($module::$check,)*);
    };
    (@log $log:ident $($module:ident::$check:ident,)*) => {
        mod $log {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let Some(subject) = super::subjects::$log(stringify!($check)).await else {
                        return;
                    };
                    let check = super::$module::$check(&subject);
                    let done = tokio::time::timeout(super::PATIENCE, check).await;
                    done.expect("the check stalled");
                }
            )*
        }
    };
}

conformance! {
    appending::offsets_follow_one_another_and_append_times_do_not_go_back,
    appending::a_record_too_large_is_refused_and_not_stored,
    appending::the_largest_record_comes_back,
    appending::every_caller_keeps_its_order,
    appending::a_full_queue_waits_and_drops_nothing,
    closing::closing_delivers_what_was_enqueued_and_ends_everything,
    reading::records_come_back_equal_and_in_order,
    reading::reading_starts_where_it_is_told,
    reading::a_reader_at_the_end_waits_for_the_next_record,
    reading::offsets_beyond_the_end_are_refused,
    reading::several_readers_see_the_same,
    reading::dropping_next_loses_nothing,
    reading::reads_are_bounded,
    topics::unknown_topics_and_partitions_are_named,
    topics::topics_are_made_once_and_grow,
    topics::the_range_follows_appends,
}
