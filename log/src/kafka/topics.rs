//! Topics: created with the settings that the log's promises rest on, grown, and checked.

use std::sync::Arc;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication, TopicResult,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, TopicState, drop_elsewhere};
use super::events::Events;
use super::settings::MAX_MESSAGE_BYTES;
use crate::LogError;
use crate::error::Cause;

/// Replicas of a topic, unless set or there are fewer brokers.
const DEFAULT_REPLICATION: usize = 3;

/// Replicas from which on two must have a record before it counts as durable.
const REPLICATION_FOR_TWO_IN_SYNC: usize = 3;

/// Wait before the cluster is asked again whether a topic is there.
const SETTLE_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Kafka's word for "no limit".
const UNLIMITED: &str = "-1";

#[derive(Debug, Error)]
enum TopicError {
    #[error("the cluster did not show it in time")]
    NotShown,
    #[error("{0} partitions are more than Kafka can count")]
    TooMany(u32),
}

/// The client that creates, grows and describes, made for one task.
struct Admin(Option<AdminClient<Events>>);

impl Drop for Admin {
    fn drop(&mut self) {
        drop_elsewhere(self.0.take());
    }
}

impl Admin {
    fn client(&self) -> Result<&AdminClient<Events>, KafkaError> {
        self.0.as_ref().ok_or(KafkaError::Canceled)
    }
}

/// What `ensure_topic` was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) topic: &'a str,
    pub(super) partitions: u32,
    pub(super) retain_for_ever: bool,
}

impl Cluster {
    /// Creates or grows a topic, checks one that was there, and waits until it can be used.
    pub(super) async fn ensure_topic(&self, wanted: Wanted<'_>) -> Result<(), LogError> {
        let deadline = Instant::now() + self.timeout();
        let admin = self.config.admin().create_with_context(self.events.clone());
        let admin = Admin(Some(admin.map_err(|e| self.config.config_error(e))?));
        let mut created = false;
        let told_by = loop {
            let state = self.topic(wanted.topic).await?;
            match state {
                Some(state) if ready(state, wanted) => break state.told_by,
                None if !created => created = self.create(&admin, wanted).await?,
                Some(state) if state.partitions < wanted.partitions && !created => {
                    created = self.grow(&admin, wanted).await?;
                }
                _ => {}
            }
            if Instant::now() >= deadline {
                return Err(failed(wanted.topic, Arc::new(TopicError::NotShown)));
            }
            sleep(SETTLE_PAUSE).await;
        };
        self.check(&admin, wanted, told_by).await
    }

    /// True if done, by this call or by another client at the same time.
    async fn create(&self, admin: &Admin, wanted: Wanted<'_>) -> Result<bool, LogError> {
        let replication = self.replication().await?;
        let retention = self.config.settings.topic_retention;
        let retention = match retention {
            Some(kept) if !wanted.retain_for_ever => kept.as_millis().to_string(),
            _ => UNLIMITED.to_owned(),
        };
        let max_bytes = MAX_MESSAGE_BYTES.to_string();
        let partitions = partition_count(wanted.topic, wanted.partitions.max(1))?;
        let copies = TopicReplication::Fixed(i32::try_from(replication).unwrap_or(i32::MAX));
        let mut topic = NewTopic::new(wanted.topic, partitions, copies)
            .set("message.timestamp.type", "LogAppendTime")
            .set("cleanup.policy", "delete")
            .set("retention.ms", &retention)
            .set("unclean.leader.election.enable", "false")
            .set("max.message.bytes", &max_bytes);
        if wanted.retain_for_ever {
            topic = topic.set("retention.bytes", UNLIMITED);
        }
        if replication >= REPLICATION_FOR_TWO_IN_SYNC {
            topic = topic.set("min.insync.replicas", "2");
        }
        let created = async {
            admin
                .client()?
                .create_topics([&topic], &self.options())
                .await
        };
        let result = self.done(created.await, wanted.topic)?;
        match result {
            Ok(()) => {
                tracing::info!(
                    topic = wanted.topic,
                    partitions,
                    replication,
                    "topic created"
                );
                Ok(true)
            }
            Err(RDKafkaErrorCode::TopicAlreadyExists) => Ok(false),
            Err(code) => Err(failed(wanted.topic, Arc::new(KafkaError::AdminOp(code)))),
        }
    }

    /// True if done, by this call or by another client at the same time.
    async fn grow(&self, admin: &Admin, wanted: Wanted<'_>) -> Result<bool, LogError> {
        partition_count(wanted.topic, wanted.partitions)?;
        let grown = NewPartitions::new(wanted.topic, wanted.partitions as usize);
        let grown = async {
            let client = admin.client()?;
            client.create_partitions([&grown], &self.options()).await
        };
        match self.done(grown.await, wanted.topic)? {
            Ok(()) => {
                let partitions = wanted.partitions;
                tracing::info!(topic = wanted.topic, partitions, "topic grown");
                Ok(true)
            }
            Err(RDKafkaErrorCode::InvalidPartitions) => Ok(false),
            Err(code) => Err(failed(wanted.topic, Arc::new(KafkaError::AdminOp(code)))),
        }
    }

    async fn replication(&self) -> Result<usize, LogError> {
        match self.config.settings.replication {
            Some(replication) => Ok(usize::from(replication)),
            None => Ok(self.brokers().await?.clamp(1, DEFAULT_REPLICATION)),
        }
    }

    /// Refuses a topic whose settings break the log's promises. Where the cluster does not tell
    /// them, nobody knows, and a warning has to do. Any broker can tell: one that just answered is
    /// asked, as the client would look for the controller first, which mock brokers never name.
    async fn check(&self, admin: &Admin, wanted: Wanted<'_>, broker: i32) -> Result<(), LogError> {
        let which = [ResourceSpecifier::Topic(wanted.topic)];
        let options = self.options().broker_id(broker);
        let described = async { admin.client()?.describe_configs(&which, &options).await };
        let described = match described.await {
            Ok(mut described) => described.pop().unwrap_or(Err(RDKafkaErrorCode::NoEnt)),
            Err(error) => Err(error_code(&error)),
        };
        match described {
            Ok(settings) => check_settings(&settings, wanted),
            Err(code) => {
                let topic = wanted.topic;
                tracing::warn!(topic, error = %code, "the settings of a topic cannot be checked");
                Ok(())
            }
        }
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout()))
            .operation_timeout(Some(self.timeout()))
    }

    fn done(
        &self,
        results: Result<Vec<TopicResult>, KafkaError>,
        topic: &str,
    ) -> Result<Result<(), RDKafkaErrorCode>, LogError> {
        let mut results = results.map_err(|error| failed(topic, self.events.explain(error)))?;
        Ok(match results.pop() {
            Some(Err((_, code))) => Err(code),
            Some(Ok(_)) | None => Ok(()),
        })
    }
}

fn ready(state: TopicState, wanted: Wanted<'_>) -> bool {
    state.led && state.partitions >= wanted.partitions
}

fn partition_count(topic: &str, partitions: u32) -> Result<i32, LogError> {
    i32::try_from(partitions).map_err(|_| failed(topic, Arc::new(TopicError::TooMany(partitions))))
}

fn error_code(error: &KafkaError) -> RDKafkaErrorCode {
    match error {
        KafkaError::AdminOp(code) => *code,
        other => other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
    }
}

fn failed(topic: &str, source: Cause) -> LogError {
    LogError::CreateTopic {
        topic: topic.to_owned(),
        source,
    }
}

/// Compares what the promises rest on with what the topic has.
fn check_settings(settings: &ConfigResource, wanted: Wanted<'_>) -> Result<(), LogError> {
    let max_bytes = MAX_MESSAGE_BYTES.to_string();
    let large_enough = |v: &str| v.parse().is_ok_and(|v: usize| v >= MAX_MESSAGE_BYTES);
    check_setting(
        settings,
        wanted,
        "message.timestamp.type",
        "LogAppendTime",
        |v| v == "LogAppendTime",
    )?;
    check_setting(settings, wanted, "cleanup.policy", "delete", |v| {
        !v.contains("compact")
    })?;
    check_setting(
        settings,
        wanted,
        "unclean.leader.election.enable",
        "false",
        |v| v == "false",
    )?;
    check_setting(
        settings,
        wanted,
        "max.message.bytes",
        &max_bytes,
        large_enough,
    )?;
    if wanted.retain_for_ever {
        for name in ["retention.ms", "retention.bytes"] {
            check_setting(settings, wanted, name, UNLIMITED, |v| v == UNLIMITED)?;
        }
    }
    Ok(())
}

fn check_setting(
    settings: &ConfigResource,
    wanted: Wanted<'_>,
    name: &'static str,
    value: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<(), LogError> {
    let found = settings.get(name).and_then(|entry| entry.value.as_deref());
    match found {
        Some(found) if !fits(found) => Err(LogError::TopicSetting {
            topic: wanted.topic.to_owned(),
            name,
            found: found.into(),
            wanted: value.into(),
        }),
        _ => Ok(()),
    }
}
