//! Whether a cluster keeps what the log promises.
//!
//! ```text
//! check_topics: brokers counted, topics that exist described          at the start of a service
//! check:        besides, every broker asked, newest records read,     `tourbillon check-kafka`
//!               a probe topic made, written, read and removed
//! ```
//!
//! Whatever is found becomes a line of the report; only a cluster that does not answer at all is
//! an error.

mod clock;
mod probe;

use futures::future::join_all;
use rdkafka::message::Timestamp;
use tokio::time::{Duration, Instant, sleep, timeout};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::error::error_chain;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::report::{Finding, Report};

use super::admin::Admin;
use super::cluster::TopicState;
use super::judge::{judge_broker, judge_brokers, judge_now, untold, what};
use super::topics::SETTLE_PAUSE;
use super::{KafkaLog, reader};
use crate::{Log, LogError, LogRange, TopicNeed, TopicPartition};

/// How long a topic that the control topic names may take to show: it may have been made just now.
const SETTLE: Duration = Duration::from_secs(5);

/// What a check looks at beyond the cluster itself.
#[derive(Clone, Debug, Default)]
pub struct CheckPlan {
    /// Topics that must be there.
    pub needs: Vec<TopicNeed>,
    /// A topic to make with the services' own settings, to try and to remove again.
    pub probe: Option<Probe>,
}

/// A topic that is made only to be tried.
#[derive(Clone, Debug)]
pub struct Probe {
    /// First part of every topic's name.
    pub prefix: String,
    /// Tells this check from others.
    pub nonce: String,
}

impl Probe {
    /// What the names of all such topics begin with.
    fn family(&self) -> String {
        format!("{}._check-", self.prefix)
    }
}

impl KafkaLog {
    /// Whether topics that must be there are as the promises need them. Writes nothing.
    pub async fn check_topics(&self, needs: &[TopicNeed]) -> Result<Report, LogError> {
        let brokers = self.cluster.brokers().await?;
        let admin = Admin::new(&self.cluster)?;
        let mut report = Report::default();
        report.push(judge_brokers(self.cluster.site(brokers)));
        let states = self.states(needs).await?;
        let told_by = states.iter().flatten().map(|state| state.told_by).next();
        let names: Vec<&str> = needs.iter().map(|need| need.topic.as_str()).collect();
        let settings = match told_by {
            Some(told_by) => admin.topics(&names, told_by).await,
            None => Default::default(),
        };
        for (need, state) in needs.iter().zip(states) {
            match state {
                Some(state) => {
                    let settings = settings.get(&need.topic);
                    let judged = self.cluster.judged(need, state, settings, brokers);
                    report.extend(judged.findings().iter().cloned());
                }
                None => report.push(Finding::broken(
                    what(&need.topic),
                    "is not there, though the control topic names it: what was not sealed of it \
                     is lost; to begin anew take another --topic-prefix and store",
                )),
            }
        }
        Ok(report)
    }

    /// Everything that can be found out from outside.
    pub async fn check(
        &self,
        plan: &CheckPlan,
        clock: &dyn PhysicalClock,
    ) -> Result<Report, LogError> {
        let mut report = self.check_topics(&plan.needs).await?;
        report.extend(self.check_brokers().await?);
        for need in &plan.needs {
            if let Some(state) = self.cluster.topic(&need.topic).await? {
                report.extend(judge_now(&need.topic, state));
                report.extend(self.check_newest(&need.topic, state).await);
            }
        }
        if let Some(probe) = &plan.probe {
            report.extend(self.left_over(&probe.family()).await?);
            let topic = format!("{}{}", probe.family(), probe.nonce);
            report.extend(probe::probe(self, &topic, clock).await?);
        }
        Ok(report)
    }

    /// Probe topics of checks that were interrupted.
    async fn left_over(&self, family: &str) -> Result<Vec<Finding>, LogError> {
        let names = self.cluster.topic_names(family).await?;
        let brokers = &self.cluster.config.settings.brokers;
        let left_over = |name: &String| {
            let fix =
                format!("kafka-topics.sh --bootstrap-server {brokers} --delete --topic {name}");
            Finding::warning(what(name), "left by a check that did not end").with_fix(fix)
        };
        Ok(names.iter().map(left_over).collect())
    }

    /// Asks every broker at the address that the cluster gives of it.
    async fn check_brokers(&self) -> Result<Vec<Finding>, LogError> {
        let admin = Admin::new(&self.cluster)?;
        let brokers = self.cluster.broker_list().await?;
        let asked = brokers.iter().map(|(id, address)| {
            let admin = &admin;
            async move {
                let what = format!("broker {id} at {address}");
                match admin.broker(*id).await {
                    Ok(Ok(settings)) => judge_broker(&what, &settings),
                    Ok(Err(reason)) => untold(what, &reason),
                    Err(error) => Finding::broken(what, format!("does not answer ({error})"))
                        .with_fix("its advertised.listeners must name an address that is reached from here"),
                }
            }
        });
        Ok(join_all(asked).await)
    }

    /// Whether the newest record carries the time of the broker and not of its writer.
    async fn check_newest(&self, topic: &str, state: TopicState) -> Option<Finding> {
        for number in 0..state.partitions {
            let at = TopicPartition {
                topic: topic.to_owned(),
                partition: PartitionId(number),
            };
            let found = match self.range(&at).await {
                Ok(range) if range.end > range.start => self.newest_timestamp(&at, range).await,
                Ok(_) => continue,
                Err(error) => Err(error_chain(&error)),
            };
            return Some(match found {
                Ok(Timestamp::LogAppendTime(_)) => {
                    Finding::fine(what(topic), "its newest record carries the append time")
                }
                Ok(_) => Finding::broken(
                    what(topic),
                    "its newest record does not carry the append time: acknowledgements cannot be \
                     held against the brokers' clock",
                ),
                Err(reason) => Finding::broken(what(topic), format!("cannot be read ({reason})")),
            });
        }
        None
    }

    async fn newest_timestamp(
        &self,
        at: &TopicPartition,
        range: LogRange,
    ) -> Result<Timestamp, String> {
        let newest = Offset(range.end.0 - 1);
        let read = self.read_raw(at, newest, 1).await?;
        Ok(read
            .first()
            .map_or(Timestamp::NotAvailable, |read| read.timestamp))
    }

    /// Records as Kafka has them.
    async fn read_raw(
        &self,
        at: &TopicPartition,
        from: Offset,
        count: usize,
    ) -> Result<Vec<RawRecord>, String> {
        use rdkafka::Message;
        let text = |error: &LogError| error_chain(error);
        let partition = self.partition(at).await.map_err(|e| text(&e))?;
        let client = reader::start(&self.cluster, &partition, from).await;
        let client = client.map_err(|e| text(&e))?;
        let mut records = Vec::with_capacity(count);
        let read = async {
            while records.len() < count {
                let message = client.recv().await.map_err(|error| error.to_string())?;
                records.push(RawRecord {
                    timestamp: message.timestamp(),
                    payload: message.payload().unwrap_or_default().to_vec(),
                });
            }
            Ok::<(), String>(())
        };
        let read = timeout(self.cluster.timeout(), read).await;
        super::cluster::drop_elsewhere(client);
        match read {
            Ok(Ok(())) => Ok(records),
            Ok(Err(error)) => Err(self.cluster.config.redact(&error)),
            Err(_) => Err(format!("{} of {count} records came in time", records.len())),
        }
    }

    /// Topics as they are; one that is missing, or lacks partitions, may show a moment later.
    async fn states(&self, needs: &[TopicNeed]) -> Result<Vec<Option<TopicState>>, LogError> {
        let deadline = Instant::now() + SETTLE;
        let mut states = Vec::with_capacity(needs.len());
        for need in needs {
            let state = loop {
                let state = self.cluster.topic(&need.topic).await?;
                let there = state.is_some_and(|state| state.partitions >= need.partitions);
                if there || Instant::now() >= deadline {
                    break state;
                }
                sleep(SETTLE_PAUSE).await;
            };
            states.push(state);
        }
        Ok(states)
    }
}

/// A record as Kafka has it.
struct RawRecord {
    timestamp: Timestamp,
    payload: Vec<u8>,
}
