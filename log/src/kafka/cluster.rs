//! Questions to the cluster: which brokers, which partitions, which offsets. One client without a
//! group asks them on blocking threads; a task serves its events.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tourbillon_core::ids::Offset;

use super::Partition;
use super::events::Events;
use super::settings::Config;
use crate::{LogError, LogRange, TopicPartition};

/// Wait before a partition that is changing its leader is asked again.
const MOVING_PAUSE: Duration = Duration::from_millis(50);

/// Wait for an answer of another broker after one has refused.
const SECOND_CHANCE: Duration = Duration::from_secs(1);

/// The client that asks.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) config: Config,
    pub(super) events: Events,
    client: Asker,
    timeout: Duration,
}

struct Asker(Option<Arc<StreamConsumer<Events>>>);

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asker")
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        drop_elsewhere(self.0.take());
    }
}

/// What a topic looks like now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicState {
    /// Number of partitions.
    pub(super) partitions: u32,
    /// True if each partition has a leader.
    pub(super) led: bool,
    /// The broker that told.
    pub(super) told_by: i32,
    /// Replicas of the partition that has fewest.
    pub(super) replicas: usize,
    /// Replicas in sync of the partition that has fewest.
    pub(super) in_sync: usize,
}

impl Cluster {
    /// A question waits for its answer as long as `timeout`.
    pub(super) fn new(
        config: Config,
        timeout: Duration,
        closed: watch::Receiver<bool>,
    ) -> Result<Self, LogError> {
        let events = Events::new(config.clone());
        let client = config.lookup().create_with_context(events.clone());
        let client: StreamConsumer<Events> = client.map_err(|e| config.config_error(e))?;
        let client = Arc::new(client);
        tokio::spawn(serve_events(Arc::clone(&client), closed));
        Ok(Self {
            config,
            events,
            client: Asker(Some(client)),
            timeout,
        })
    }

    /// How long one question may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Number of brokers in the cluster, told early if they let nobody in.
    pub(super) async fn connect(&self) -> Result<usize, LogError> {
        let refused = async {
            self.events.until_refused().await;
            sleep(SECOND_CHANCE).await;
        };
        tokio::select! {
            biased;
            brokers = self.brokers() => brokers,
            () = refused => Err(self.unreachable(KafkaError::Canceled)),
        }
    }

    /// Number of brokers in the cluster.
    pub(super) async fn brokers(&self) -> Result<usize, LogError> {
        let timeout = self.timeout;
        let asked = self.ask(move |client| {
            // a topic's name is needed, or else the client asks about every topic there is
            let metadata = client.fetch_metadata(Some(BROKERS_QUESTION_TOPIC), timeout)?;
            Ok(metadata.brokers().len())
        });
        asked.await.map_err(|error| self.unreachable(error))
    }

    /// Number and address of each broker.
    pub(super) async fn broker_list(&self) -> Result<Vec<(i32, String)>, LogError> {
        let timeout = self.timeout;
        let asked = self.ask(move |client| {
            let metadata = client.fetch_metadata(Some(BROKERS_QUESTION_TOPIC), timeout)?;
            let brokers = metadata.brokers().iter();
            let listed = brokers.map(|b| (b.id(), format!("{}:{}", b.host(), b.port())));
            Ok(listed.collect())
        });
        asked.await.map_err(|error| self.unreachable(error))
    }

    /// The broker that leads each partition of a topic.
    pub(super) async fn leaders(&self, topic: &str) -> Result<Vec<i32>, LogError> {
        let (name, timeout) = (topic.to_owned(), self.timeout);
        let asked = self.ask(move |client| {
            let metadata = client.fetch_metadata(Some(&name), timeout)?;
            let topics = metadata.topics().iter();
            let mut leaders: Vec<_> = topics
                .flat_map(|topic| topic.partitions())
                .map(|partition| (partition.id(), partition.leader()))
                .collect();
            leaders.sort_unstable();
            Ok(leaders.into_iter().map(|(_, leader)| leader).collect())
        });
        asked.await.map_err(|error| self.no_answer(topic, error))
    }

    /// Names of the topics that begin with `prefix`.
    pub(super) async fn topic_names(&self, prefix: &str) -> Result<Vec<String>, LogError> {
        let (begins, timeout) = (prefix.to_owned(), self.timeout);
        let asked = self.ask(move |client| {
            let metadata = client.fetch_metadata(None, timeout)?;
            let names = metadata.topics().iter().map(|topic| topic.name());
            Ok(names
                .filter(|name| name.starts_with(&begins))
                .map(str::to_owned)
                .collect())
        });
        asked.await.map_err(|error| self.unreachable(error))
    }

    /// State of a topic, `None` if it does not exist.
    pub(super) async fn topic(&self, topic: &str) -> Result<Option<TopicState>, LogError> {
        let (name, timeout) = (topic.to_owned(), self.timeout);
        let asked = self.ask(move |client| {
            let metadata = client.fetch_metadata(Some(&name), timeout)?;
            match metadata.topics().first() {
                Some(topic) => topic_state(topic, metadata.orig_broker_id()),
                None => Ok(None),
            }
        });
        asked.await.map_err(|error| self.no_answer(topic, error))
    }

    /// What can be read now. A partition that is changing its leader is asked again: the client
    /// calls one without a leader unknown, so that the topic's state must tell.
    pub(super) async fn range(&self, of: &Partition) -> Result<LogRange, LogError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let error = match self.watermarks(of).await {
                Ok(range) => return Ok(range),
                Err(error) => error,
            };
            let code = error.rdkafka_error_code();
            if !code.is_some_and(|code| is_moving(code) || is_unknown(code)) {
                return Err(self.no_answer(&of.at.topic, error));
            }
            // the client learns of the new leader only from this, too
            self.check_known(&of.at).await?;
            if Instant::now() >= deadline {
                return Err(self.no_answer(&of.at.topic, error));
            }
            sleep(MOVING_PAUSE).await;
        }
    }

    /// Fails if the cluster does not know the partition.
    pub(super) async fn check_known(&self, at: &TopicPartition) -> Result<(), LogError> {
        match self.topic(&at.topic).await? {
            None => Err(LogError::unknown_topic(&at.topic)),
            Some(topic) if topic.partitions <= at.partition.0 => {
                Err(LogError::unknown_partition(at))
            }
            Some(_) => Ok(()),
        }
    }

    async fn watermarks(&self, of: &Partition) -> Result<LogRange, KafkaError> {
        let (topic, number, timeout) = (of.at.topic.clone(), of.number, self.timeout);
        let asked = self.ask(move |client| client.fetch_watermarks(&topic, number, timeout));
        let (start, end) = asked.await?;
        let offset = |number: i64| Offset(u64::try_from(number).unwrap_or(0));
        Ok(LogRange {
            start: offset(start),
            end: offset(end),
        })
    }

    fn no_answer(&self, topic: &str, error: KafkaError) -> LogError {
        if is_outage(&error) {
            return self.unreachable(error);
        }
        LogError::Topic {
            topic: topic.to_owned(),
            source: Arc::new(error),
        }
    }

    /// The brokers do not answer, or let nobody in.
    pub(super) fn unreachable(&self, error: KafkaError) -> LogError {
        self.events
            .refused()
            .unwrap_or_else(|| LogError::Unreachable {
                brokers: self.config.settings.brokers.clone(),
                source: self.events.explain(error),
            })
    }

    async fn ask<T, Q>(&self, question: Q) -> Result<T, KafkaError>
    where
        T: Send + 'static,
        Q: FnOnce(&StreamConsumer<Events>) -> Result<T, KafkaError> + Send + 'static,
    {
        let Some(client) = self.client.0.clone() else {
            return Err(KafkaError::Canceled);
        };
        let answer = tokio::task::spawn_blocking(move || question(&client)).await;
        let answer = answer.unwrap_or(Err(KafkaError::Canceled));
        if answer.is_ok() {
            self.events.succeeded();
        }
        answer
    }
}

/// Asked about only to learn of the brokers; it need not exist and is not created.
const BROKERS_QUESTION_TOPIC: &str = "tourbillon";

fn topic_state(topic: &MetadataTopic, told_by: i32) -> Result<Option<TopicState>, KafkaError> {
    match topic.error().map(RDKafkaErrorCode::from) {
        None | Some(RDKafkaErrorCode::LeaderNotAvailable) => {}
        Some(code) if is_unknown(code) => return Ok(None),
        Some(code) => return Err(KafkaError::MetadataFetch(code)),
    }
    let partitions = topic.partitions();
    Ok(Some(TopicState {
        partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
        led: partitions.iter().all(|p| p.leader() >= 0),
        told_by,
        replicas: fewest(partitions.iter().map(|p| p.replicas().len())),
        in_sync: fewest(partitions.iter().map(|p| p.isr().len())),
    }))
}

fn fewest(counts: impl Iterator<Item = usize>) -> usize {
    counts.min().unwrap_or(0)
}

/// True if the cluster, or the client for now, knows no such topic or partition.
pub(super) fn is_unknown(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicId
    )
}

/// True if the partition's leader is changing, which is soon over.
fn is_moving(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::ReplicaNotAvailable
            | RDKafkaErrorCode::OffsetNotAvailable
            | RDKafkaErrorCode::FencedLeaderEpoch
            | RDKafkaErrorCode::UnknownLeaderEpoch
            | RDKafkaErrorCode::KafkaStorageError
    )
}

/// True if brokers did not answer, which the client goes on to retry.
pub(super) fn is_outage(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::TimedOutQueue
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::NetworkException
                | RDKafkaErrorCode::BrokerNotAvailable
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL
        )
    )
}

/// Hands log lines and errors of a client that reads nothing to its context.
async fn serve_events(client: Arc<StreamConsumer<Events>>, mut closed: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => break,
            // the context has seen it
            event = client.recv() => drop(event),
        }
    }
    drop_elsewhere(client);
}

/// Clients end their threads and connections when they are dropped, which takes a while: not on
/// a thread that others wait for.
pub(super) fn drop_elsewhere<T: Send + 'static>(client: T) {
    let thread = std::thread::Builder::new().name("log-kafka-drop".into());
    if let Err(error) = thread.spawn(move || drop(client)) {
        tracing::warn!(%error, "no thread to drop a kafka client on, dropped at once");
    }
}
