//! What the client calls when the group moves partitions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::time::Instant;
use tourbillon_core::ids::PartitionId;

use super::super::events::Events;
use super::Shared;
use crate::TopicPartition;

/// What the group has assigned to this member.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) partitions: BTreeSet<TopicPartition>,
    /// Since when the membership is lost, if it is.
    lost: Option<Instant>,
    /// Counts assignments.
    assignments: u64,
}

/// The context of a member's client.
pub(super) struct MemberContext {
    events: Events,
    shared: Arc<Shared>,
    held: Mutex<Held>,
}

impl MemberContext {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            events: Events::new(shared.config.clone()),
            shared,
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something was assigned; that may be nothing.
    pub(super) fn assignments(&self) -> u64 {
        self.held().assignments
    }

    /// Lets go of partitions that no new membership brought back for long.
    pub(super) fn forget_lost(&self) {
        let mut held = self.held();
        let keep = self.shared.keep_lost;
        if held.lost.is_some_and(|since| since.elapsed() >= keep) {
            tracing::warn!("no member of the group for long: lets go of its partitions");
            held.partitions.clear();
            held.lost = None;
            self.shared.listener.assigned(&held.partitions);
        }
    }

    fn assign(&self, member: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) {
        // from the end, so that no committed offset is asked for; paused before anything comes
        let done = partitions
            .set_all_offsets(Offset::End)
            .and_then(|()| member.incremental_assign(partitions))
            .and_then(|()| member.pause(partitions));
        self.report("take", done);
        let added = named(partitions);
        let mut held = self.held();
        if held.lost.take().is_some() {
            held.partitions.clear();
        }
        tracing::info!(
            group = self.shared.settings.group,
            added = added.len(),
            held = held.partitions.len() + added.len(),
            "partitions assigned"
        );
        held.partitions.extend(added);
        held.assignments += 1;
        self.shared.hold(&held);
    }

    fn revoke(&self, member: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let gone = named(partitions);
        let mut held = self.held();
        if member.assignment_lost() && !self.shared.is_stopped() {
            tracing::warn!(
                group = self.shared.settings.group,
                kept = gone.len(),
                "membership lost: goes on with its partitions until it is let in again"
            );
            held.lost.get_or_insert_with(Instant::now);
            *self.shared.standing() = super::Standing::Joining;
        } else {
            held.partitions.retain(|at| !gone.contains(at));
            tracing::info!(
                group = self.shared.settings.group,
                gone = gone.len(),
                held = held.partitions.len(),
                "partitions revoked"
            );
            self.shared.hold(&held);
        }
        self.report("give up", member.incremental_unassign(partitions));
    }

    fn report(&self, what: &str, done: Result<(), KafkaError>) {
        if let Err(error) = done {
            let group = &self.shared.settings.group;
            tracing::warn!(%error, group, "could not {what} partitions");
        }
    }
}

fn named(partitions: &TopicPartitionList) -> BTreeSet<TopicPartition> {
    let elements = partitions.elements();
    let named = elements.iter().filter_map(|element| {
        let partition = u32::try_from(element.partition()).ok()?;
        Some(TopicPartition {
            topic: element.topic().to_owned(),
            partition: PartitionId(partition),
        })
    });
    named.collect()
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.events.log(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.events.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(
        &self,
        member: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(member, partitions);
        } else {
            self.revoke(member, partitions);
        }
    }
}
