//! What is asked of the cluster about topics and brokers, beyond their names and offsets.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, ConfigResourceResult, NewPartitions, NewTopic,
    OwnedResourceSpecifier, ResourceSpecifier, TopicResult,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::cluster::{Cluster, drop_elsewhere};
use super::events::Events;
use crate::LogError;

/// Settings of a topic or broker by name; `Err` says why the cluster does not tell them.
pub(super) type Settings = Result<BTreeMap<String, String>, String>;

/// The client that creates, grows, removes and describes, made for one task.
pub(super) struct Admin {
    client: Option<AdminClient<Events>>,
    timeout: Duration,
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop_elsewhere(self.client.take());
    }
}

impl Admin {
    pub(super) fn new(cluster: &Cluster) -> Result<Self, LogError> {
        let config = &cluster.config;
        let client = config.admin().create_with_context(cluster.events.clone());
        Ok(Self {
            client: Some(client.map_err(|e| config.config_error(e))?),
            timeout: cluster.timeout(),
        })
    }

    /// What became of the topic is in the inner result.
    pub(super) async fn create(
        &self,
        topic: &NewTopic<'_>,
    ) -> Result<Result<(), RDKafkaErrorCode>, KafkaError> {
        let created = self.client()?.create_topics([topic], &self.options());
        Ok(of_one(created.await?))
    }

    /// As [`create`](Self::create).
    pub(super) async fn grow(
        &self,
        topic: &str,
        partitions: u32,
    ) -> Result<Result<(), RDKafkaErrorCode>, KafkaError> {
        let grown = NewPartitions::new(topic, partitions as usize);
        let grown = self.client()?.create_partitions([&grown], &self.options());
        Ok(of_one(grown.await?))
    }

    /// As [`create`](Self::create).
    pub(super) async fn remove(
        &self,
        topic: &str,
    ) -> Result<Result<(), RDKafkaErrorCode>, KafkaError> {
        let removed = self.client()?.delete_topics(&[topic], &self.options());
        Ok(of_one(removed.await?))
    }

    /// Settings of topics. Any broker can tell: one that just answered is asked, as the client
    /// would look for the controller first, which mock brokers never name.
    pub(super) async fn topics(&self, topics: &[&str], broker: i32) -> HashMap<String, Settings> {
        let asked: Vec<_> = topics
            .iter()
            .map(|name| ResourceSpecifier::Topic(name))
            .collect();
        let described = self
            .describe(&asked, &self.options().broker_id(broker))
            .await;
        let described = match described {
            Ok(described) => described,
            Err(reason) => {
                let untold = topics
                    .iter()
                    .map(|name| ((*name).to_owned(), Err(reason.clone())));
                return untold.collect();
            }
        };
        let named = described.into_iter().filter_map(|one| match one {
            Ok(one) => match &one.specifier {
                OwnedResourceSpecifier::Topic(name) => Some((name.clone(), settings(&one))),
                _ => None,
            },
            Err(_) => None,
        });
        named.collect()
    }

    /// Settings of a broker, from itself: an answer proves that it can be reached.
    pub(super) async fn broker(&self, id: i32) -> Result<Settings, KafkaError> {
        let asked = [ResourceSpecifier::Broker(id)];
        let described = self.client()?.describe_configs(&asked, &self.options());
        match described.await {
            Ok(mut one) => Ok(match one.pop() {
                Some(Ok(one)) => settings(&one),
                Some(Err(code)) => Err(code.to_string()),
                None => Err("it told nothing".into()),
            }),
            Err(KafkaError::AdminOp(code)) if was_answered(code) => Ok(Err(code.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn describe(
        &self,
        asked: &[ResourceSpecifier<'_>],
        options: &AdminOptions,
    ) -> Result<Vec<ConfigResourceResult>, String> {
        let described = match self.client() {
            Ok(client) => client.describe_configs(asked, options).await,
            Err(error) => Err(error),
        };
        described.map_err(|error| match error {
            KafkaError::AdminOp(code) => code.to_string(),
            other => other.to_string(),
        })
    }

    fn client(&self) -> Result<&AdminClient<Events>, KafkaError> {
        self.client.as_ref().ok_or(KafkaError::Canceled)
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout))
            .operation_timeout(Some(self.timeout))
    }
}

/// True if the broker itself refused, and so can be reached.
fn was_answered(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnsupportedVersion
            | RDKafkaErrorCode::UnsupportedFeature
    )
}

fn of_one(mut results: Vec<TopicResult>) -> Result<(), RDKafkaErrorCode> {
    match results.pop() {
        Some(Err((_, code))) => Err(code),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// The client gives an answer that was refused as one without settings.
fn settings(described: &ConfigResource) -> Settings {
    if described.entries.is_empty() {
        return Err("this user may not see them (it needs DESCRIBE_CONFIGS)".into());
    }
    let told = described.entries.iter();
    let told = told.filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)));
    Ok(told.collect())
}
