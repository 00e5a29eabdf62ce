//! Topics: created with the settings that the log's promises rest on, grown, and checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tourbillon_core::report::{Grade, Report};

use super::admin::{Admin, Settings};
use super::cluster::{Cluster, TopicState};
use super::judge::{
    DEFAULT_REPLICATION, REPLICATION_FOR_TWO_IN_SYNC, Site, UNLIMITED, judge_topic, untold, what,
};
use super::settings::MAX_MESSAGE_BYTES;
use crate::error::Cause;
use crate::{LogError, TopicNeed};

/// Wait before the cluster is asked again whether a topic is there.
pub(super) const SETTLE_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

#[derive(Debug, Error)]
enum TopicError {
    #[error("the cluster did not show it in time")]
    NotShown,
    #[error("{0} partitions are more than Kafka can count")]
    TooMany(u32),
}

impl Cluster {
    /// Creates or grows a topic, checks one that was there, and waits until it can be used.
    pub(super) async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError> {
        let admin = Admin::new(self)?;
        let brokers = self.brokers().await?;
        let state = self.make_topic(&admin, need, brokers).await?;
        self.refuse_unfit(&admin, need, state, brokers).await
    }

    /// Creates or grows a topic, and waits until it can be used.
    pub(super) async fn make_topic(
        &self,
        admin: &Admin,
        need: &TopicNeed,
        brokers: usize,
    ) -> Result<TopicState, LogError> {
        let deadline = Instant::now() + self.timeout();
        let (mut created, mut grown) = (false, false);
        loop {
            match self.topic(&need.topic).await? {
                Some(state) if ready(state, need) => return Ok(state),
                None if !created => created = self.create(admin, need, brokers).await?,
                Some(state) if state.partitions < need.partitions && !created && !grown => {
                    // new partitions get as many replicas as the old ones have
                    self.refuse_unfit(admin, &with_partitions(need, state), state, brokers)
                        .await?;
                    grown = self.grow(admin, need).await?;
                }
                _ => {}
            }
            if Instant::now() >= deadline {
                return Err(failed(&need.topic, Arc::new(TopicError::NotShown)));
            }
            sleep(SETTLE_PAUSE).await;
        }
    }

    /// True if done, by this call or by another client at the same time.
    async fn create(
        &self,
        admin: &Admin,
        need: &TopicNeed,
        brokers: usize,
    ) -> Result<bool, LogError> {
        let settings = &self.config.settings;
        let replication = match settings.replication {
            Some(replication) => usize::from(replication),
            None => brokers.clamp(1, DEFAULT_REPLICATION),
        };
        let retention = match settings.topic_retention {
            Some(kept) if need.keeps.is_some() => kept.as_millis().to_string(),
            _ => UNLIMITED.to_owned(),
        };
        let max_bytes = MAX_MESSAGE_BYTES.to_string();
        let partitions = partition_count(&need.topic, need.partitions.max(1))?;
        let copies = TopicReplication::Fixed(i32::try_from(replication).unwrap_or(i32::MAX));
        let mut topic = NewTopic::new(&need.topic, partitions, copies)
            .set("message.timestamp.type", "LogAppendTime")
            .set("cleanup.policy", "delete")
            .set("retention.ms", &retention)
            .set("unclean.leader.election.enable", "false")
            .set("max.message.bytes", &max_bytes);
        if need.keeps.is_none() {
            topic = topic.set("retention.bytes", UNLIMITED);
        }
        match replication {
            // whatever the brokers ask of topics by default, one replica cannot give more
            1 => topic = topic.set("min.insync.replicas", "1"),
            REPLICATION_FOR_TWO_IN_SYNC.. => topic = topic.set("min.insync.replicas", "2"),
            _ => {}
        }
        let created = admin.create(&topic).await;
        match created.map_err(|error| self.not_done(&need.topic, error))? {
            Ok(()) => {
                let topic = &need.topic;
                tracing::info!(topic, partitions, replication, "topic created");
                Ok(true)
            }
            Err(RDKafkaErrorCode::TopicAlreadyExists) => Ok(false),
            Err(code) => Err(failed(&need.topic, Arc::new(KafkaError::AdminOp(code)))),
        }
    }

    /// True if done, by this call or by another client at the same time.
    async fn grow(&self, admin: &Admin, need: &TopicNeed) -> Result<bool, LogError> {
        partition_count(&need.topic, need.partitions)?;
        let grown = admin.grow(&need.topic, need.partitions).await;
        match grown.map_err(|error| self.not_done(&need.topic, error))? {
            Ok(()) => {
                let (topic, partitions) = (&need.topic, need.partitions);
                tracing::info!(topic, partitions, "topic grown");
                Ok(true)
            }
            Err(RDKafkaErrorCode::InvalidPartitions) => Ok(false),
            Err(code) => Err(failed(&need.topic, Arc::new(KafkaError::AdminOp(code)))),
        }
    }

    /// Refuses a topic that breaks the log's promises. Where the cluster does not tell its
    /// settings, nobody knows, and a warning has to do.
    async fn refuse_unfit(
        &self,
        admin: &Admin,
        need: &TopicNeed,
        state: TopicState,
        brokers: usize,
    ) -> Result<(), LogError> {
        let topic = need.topic.as_str();
        let settings = admin.topics(&[topic], state.told_by).await.remove(topic);
        let found = self.judged(need, state, settings.as_ref(), brokers);
        for warning in found.of(Grade::Warning) {
            // the next start tells it aloud
            tracing::debug!("{}", warning.text());
        }
        match found.of(Grade::Broken).next() {
            Some(unfit) => Err(LogError::UnfitTopic(Box::new(unfit.clone()))),
            None => Ok(()),
        }
    }

    /// What is right and wrong with a topic.
    pub(super) fn judged(
        &self,
        need: &TopicNeed,
        state: TopicState,
        settings: Option<&Settings>,
        brokers: usize,
    ) -> Report {
        let none = BTreeMap::new();
        let (settings, reason) = match settings {
            Some(Ok(settings)) => (settings, None),
            Some(Err(reason)) => (&none, Some(reason.as_str())),
            None => (&none, Some("the cluster does not tell them")),
        };
        let mut report = Report::default();
        report.extend(judge_topic(need, state, settings, self.site(brokers)));
        report.extend(reason.map(|reason| untold(what(&need.topic), reason)));
        report
    }

    pub(super) fn site(&self, brokers: usize) -> Site<'_> {
        Site {
            bootstrap: &self.config.settings.brokers,
            brokers,
            asked: self.config.settings.replication,
        }
    }

    fn not_done(&self, topic: &str, error: KafkaError) -> LogError {
        let refused = self.events.refused();
        refused.unwrap_or_else(|| failed(topic, self.events.explain(error)))
    }
}

/// The same without more partitions than there are.
fn with_partitions(need: &TopicNeed, state: TopicState) -> TopicNeed {
    TopicNeed {
        partitions: state.partitions,
        ..need.clone()
    }
}

fn ready(state: TopicState, need: &TopicNeed) -> bool {
    state.led && state.partitions >= need.partitions
}

fn partition_count(topic: &str, partitions: u32) -> Result<i32, LogError> {
    i32::try_from(partitions).map_err(|_| failed(topic, Arc::new(TopicError::TooMany(partitions))))
}

fn failed(topic: &str, source: Cause) -> LogError {
    LogError::CreateTopic {
        topic: topic.to_owned(),
        source,
    }
}
