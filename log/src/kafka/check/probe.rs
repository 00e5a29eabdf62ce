//! A topic made as the services make theirs, tried by their own producer and removed again.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::message::Timestamp;
use tokio::time::{Instant, timeout};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::error::error_chain;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::report::Finding;

use super::RawRecord;
use super::clock::{Taken, judge_clock};
use crate::kafka::KafkaLog;
use crate::kafka::admin::Admin;
use crate::kafka::judge::what;
use crate::{Appended, Log, LogError, MAX_RECORD_BYTES, TopicNeed, TopicPartition};

/// Small records for each partition: the first opens connections, the others tell the time.
const SMALL_RECORDS: usize = 4;

/// How long the largest record may take, in answers.
const LARGEST_PATIENCE: u32 = 3;

/// Makes the topic, tries it and removes it, whatever was found.
pub(super) async fn probe(
    log: &KafkaLog,
    topic: &str,
    clock: &dyn PhysicalClock,
) -> Result<Vec<Finding>, LogError> {
    let admin = Admin::new(&log.cluster)?;
    let brokers = log.cluster.brokers().await?;
    // as many partitions as brokers: each of them leads one
    let partitions = u32::try_from(brokers).unwrap_or(1).max(1);
    let need = TopicNeed::data(topic, partitions);
    let state = match log.cluster.make_topic(&admin, &need, brokers).await {
        Ok(state) => state,
        Err(error) => return Ok(not_made(topic, &error)),
    };
    let settings = admin.topics(&[topic], state.told_by).await.remove(topic);
    let judged = log.cluster.judged(&need, state, settings.as_ref(), brokers);
    let mut findings = judged.findings().to_vec();
    findings.extend(Probe { log, topic, clock }.run(partitions).await);
    findings.push(remove(log, &admin, topic).await);
    Ok(findings)
}

fn not_made(topic: &str, error: &LogError) -> Vec<Finding> {
    let says = format!("cannot be made ({})", error_chain(error));
    let fix = "the services make the topics of new streams: their user needs CREATE, DESCRIBE, \
               DESCRIBE_CONFIGS, READ and WRITE on topics of this prefix, and this check DELETE";
    vec![Finding::broken(what(topic), says).with_fix(fix)]
}

async fn remove(log: &KafkaLog, admin: &Admin, topic: &str) -> Finding {
    let reason = match admin.remove(topic).await {
        Ok(Ok(())) => return Finding::fine(what(topic), "removed again"),
        Ok(Err(code)) => code.to_string(),
        Err(error) => error.to_string(),
    };
    let brokers = &log.cluster.config.settings.brokers;
    let fix = format!("kafka-topics.sh --bootstrap-server {brokers} --delete --topic {topic}");
    Finding::warning(what(topic), format!("could not be removed ({reason})")).with_fix(fix)
}

struct Probe<'a> {
    log: &'a KafkaLog,
    topic: &'a str,
    clock: &'a dyn PhysicalClock,
}

impl Probe<'_> {
    async fn run(&self, partitions: u32) -> Vec<Finding> {
        let leaders = self.log.cluster.leaders(self.topic).await;
        let leaders = leaders.unwrap_or_default();
        let mut findings = Vec::new();
        let mut sent = Vec::new();
        for number in 0..partitions {
            let at = self.at(number);
            let taken = match self.write_small(&at).await {
                Ok(taken) => taken,
                Err(reason) => {
                    findings.push(self.not_written(number, &reason));
                    continue;
                }
            };
            let leader = leaders.get(number as usize).copied().unwrap_or(-1);
            findings.extend(judge_clock(leader, &taken));
            sent.push(number);
        }
        if sent.len() == partitions as usize {
            let says = format!(
                "an idempotent producer with acks=all wrote {SMALL_RECORDS} records to each of \
                 {partitions} partition(s)"
            );
            findings.push(Finding::fine(what(self.topic), says));
        }
        for number in &sent {
            findings.push(self.read_back(*number).await);
        }
        if let Some(first) = sent.first() {
            findings.push(self.largest(&self.at(*first)).await);
        }
        findings
    }

    fn at(&self, number: u32) -> TopicPartition {
        TopicPartition {
            topic: self.topic.to_owned(),
            partition: PartitionId(number),
        }
    }

    fn not_written(&self, number: u32, reason: &str) -> Finding {
        let says = format!("partition {number} takes no record ({reason})");
        Finding::broken(what(self.topic), says)
    }

    async fn write_small(&self, at: &TopicPartition) -> Result<Vec<Taken>, String> {
        let mut taken = Vec::with_capacity(SMALL_RECORDS);
        for number in 0..SMALL_RECORDS {
            let before_ns = self.clock.wall_ns();
            let patience = self.log.cluster.timeout();
            let appended = self.write(at, small(number), patience).await?;
            if appended.offset != Offset(number as u64) {
                return Err(format!("record {number} got offset {}", appended.offset));
            }
            taken.push(Taken {
                before_ns,
                after_ns: self.clock.wall_ns(),
                append_ns: appended.append_time_ns,
            });
        }
        Ok(taken)
    }

    async fn write(
        &self,
        at: &TopicPartition,
        payload: Bytes,
        patience: Duration,
    ) -> Result<Appended, String> {
        let written = async { self.log.enqueue(at, payload).await?.await };
        match timeout(patience, written).await {
            Ok(Ok(appended)) => Ok(appended),
            Ok(Err(error)) => Err(error_chain(&error)),
            Err(_) => Err(match self.log.trouble() {
                Some(trouble) => trouble,
                None => format!("not acknowledged within {patience:?}"),
            }),
        }
    }

    /// Whether a partition holds what was written, in order and once, with the brokers' times.
    async fn read_back(&self, number: u32) -> Finding {
        let (topic, at) = (what(self.topic), self.at(number));
        let records = match self.log.read_raw(&at, Offset(0), SMALL_RECORDS).await {
            Ok(records) => records,
            Err(reason) => {
                let says = format!("partition {number} cannot be read ({reason})");
                return Finding::broken(topic, says);
            }
        };
        let as_written = |(number, record): (usize, &RawRecord)| record.payload == small(number);
        if !records.iter().enumerate().all(as_written) {
            let says = format!(
                "partition {number} holds other records than were written, or in another order"
            );
            return Finding::broken(topic, says);
        }
        let appended = |r: &RawRecord| matches!(r.timestamp, Timestamp::LogAppendTime(_));
        if !records.iter().all(appended) {
            let says = format!(
                "partition {number} has its writer's time in each record, although the topic was \
                 made with message.timestamp.type=LogAppendTime"
            );
            return Finding::broken(topic, says);
        }
        let says = format!(
            "partition {number} holds each record once, in order, with its append time \
             (LogAppendTime)"
        );
        Finding::fine(topic, says)
    }

    async fn largest(&self, at: &TopicPartition) -> Finding {
        let patience = self.log.cluster.timeout() * LARGEST_PATIENCE;
        let begun = Instant::now();
        match self
            .write(at, incompressible(MAX_RECORD_BYTES), patience)
            .await
        {
            Ok(_) => {
                let took = begun.elapsed().as_millis();
                let says =
                    format!("takes our largest frame, {MAX_RECORD_BYTES} bytes, in {took} ms");
                Finding::fine(what(self.topic), says)
            }
            Err(reason) => {
                let says =
                    format!("does not take our largest frame, {MAX_RECORD_BYTES} bytes ({reason})");
                Finding::broken(what(self.topic), says)
            }
        }
    }
}

fn small(number: usize) -> Bytes {
    format!("tourbillon check-kafka {number}").into()
}

/// Bytes that the client's compression cannot make fewer.
fn incompressible(len: usize) -> Bytes {
    use rand::rngs::SmallRng;
    use rand::{RngCore, SeedableRng};
    let mut bytes = vec![0; len];
    SmallRng::seed_from_u64(0).fill_bytes(&mut bytes);
    bytes.into()
}
