//! What a Kafka log is told, and what the Kafka client is told in turn:
//!
//! ```text
//! our defaults  <-  the user's options  <-  safety keys, which nobody may change
//! ```
//!
//! Values of secret options appear in no error, log line or `Debug` output.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::group::GroupSettings;
use super::secrets::{is_secret_option, redact, shown};
use super::security;
use crate::{LogError, MAX_RECORD_BYTES};

/// Bytes that Kafka's framing may add to one record, with room to spare.
const RECORD_OVERHEAD_BYTES: usize = 4096;

/// Largest message and record batch that clients, brokers and topics must take, bytes.
pub(super) const MAX_MESSAGE_BYTES: usize = MAX_RECORD_BYTES + RECORD_OVERHEAD_BYTES;

/// Records that may wait for their delivery.
pub(super) const MAX_QUEUED_RECORDS: usize = 8192;

/// Payload bytes that may wait for their delivery.
pub(super) const MAX_QUEUED_BYTES: usize = 64 << 20;

/// The client frees a record only after all deliveries of its report were handled, and each of
/// these made room for a new record: at worst it holds this many times what we let in.
const CLIENT_QUEUE_FACTOR: usize = 2;

/// KiB of records that one reader fetches ahead. One fetch more, or one record larger than that,
/// may come on top, so a hundred readers hold about half a GiB at most.
const READ_AHEAD_KIB: usize = 4096;

/// How the log reaches Kafka. Use `..Default::default()` for what is left out.
#[derive(Clone, Default)]
pub struct KafkaSettings {
    /// Bootstrap list, `host:port` with commas between.
    pub brokers: String,
    /// Replicas of the topics that the log creates; `None` means three, or as many as there are
    /// brokers.
    pub replication: Option<u16>,
    /// Options for librdkafka by their own names.
    pub options: BTreeMap<String, String>,
    /// How long topics that the log creates keep records; `None` means for ever.
    pub topic_retention: Option<Duration>,
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("replication", &self.replication)
            .field("options", &shown(&self.options))
            .field("topic_retention", &self.topic_retention)
            .finish()
    }
}

/// A default that options may change: its name, the name's alias, and the value.
type Tunable = (&'static str, Option<&'static str>, &'static str);

/// Dead connections are noticed in seconds, and nobody is told about idle ones that were closed.
const COMMON_DEFAULTS: &[Tunable] = &[
    ("client.id", None, "tourbillon"),
    ("enable.metrics.push", None, "false"),
    ("log.connection.close", None, "false"),
    ("reconnect.backoff.max.ms", None, "1000"),
    ("socket.keepalive.enable", None, "true"),
    ("socket.timeout.ms", None, "10000"),
];

/// Frames are batches already, so they do not linger here again.
const PRODUCER_DEFAULTS: &[Tunable] = &[
    ("compression.type", Some("compression.codec"), "lz4"),
    ("linger.ms", Some("queue.buffering.max.ms"), "0"),
];

/// A broker answers a waiting fetch as soon as there is a record, so `fetch.wait.max.ms` costs
/// idle readers a request each and adds no latency. The group is only a name: readers assign
/// partitions themselves and never join it.
const READER_DEFAULTS: &[Tunable] = &[
    ("fetch.error.backoff.ms", None, "50"),
    ("fetch.queue.backoff.ms", None, "5"),
    ("fetch.wait.max.ms", None, "100"),
    ("group.id", None, "tourbillon-reader"),
];

/// Brokers that want TLS or a login end the connections of others without a word: this client is
/// the first to connect, and tells. Idle connections that are closed are no news to it either.
const LOOKUP_DEFAULTS: &[Tunable] = &[("log.connection.close", None, "true")];
/// A member of a group that is silent for the session's time has left it; one that has a name may
/// be away for that long. Heartbeats bring the news of a rebalance, so the pause of a partition that
/// moves is about as long as one takes. The topics are looked at for new partitions.
const MEMBER_DEFAULTS: &[Tunable] = &[
    ("heartbeat.interval.ms", None, "500"),
    ("session.timeout.ms", None, "10000"),
    ("topic.metadata.refresh.interval.ms", None, "5000"),
];

/// What the log's promises rest on, for every client.
fn common_safety() -> [(&'static str, String); 2] {
    [
        ("allow.auto.create.topics", "false".into()),
        ("message.max.bytes", MAX_MESSAGE_BYTES.to_string()),
    ]
}

/// What the promises of `enqueue` rest on.
fn producer_safety() -> [(&'static str, String); 8] {
    let queue_kib = (CLIENT_QUEUE_FACTOR * MAX_QUEUED_BYTES) >> 10;
    [
        ("acks", "all".into()),
        ("delivery.report.only.error", "false".into()),
        ("enable.idempotence", "true".into()),
        ("max.in.flight", "5".into()),
        ("message.timeout.ms", "0".into()),
        ("queue.buffering.max.kbytes", queue_kib.to_string()),
        (
            "queue.buffering.max.messages",
            (CLIENT_QUEUE_FACTOR * MAX_QUEUED_RECORDS).to_string(),
        ),
        ("retries", i32::MAX.to_string()),
    ]
}

/// What the promises of readers rest on. Nothing of ours is transactional, and waiting for
/// somebody else's transaction would hold up the watermark.
fn reader_safety() -> [(&'static str, String); 6] {
    [
        ("auto.offset.reset", "error".into()),
        ("enable.auto.commit", "false".into()),
        ("enable.auto.offset.store", "false".into()),
        ("enable.partition.eof", "false".into()),
        ("isolation.level", "read_uncommitted".into()),
        ("queued.max.messages.kbytes", READ_AHEAD_KIB.to_string()),
    ]
}

/// What makes a client a member of this group that moves as few partitions as it can. It fetches
/// nothing, so its queue may be small.
fn member_safety(of: &GroupSettings) -> Vec<(&'static str, String)> {
    let mut safety = vec![
        ("auto.offset.reset", "latest".into()),
        ("enable.auto.commit", "false".into()),
        ("enable.auto.offset.store", "false".into()),
        ("group.id", of.group.clone()),
        ("group.protocol", "classic".into()),
        ("partition.assignment.strategy", "cooperative-sticky".into()),
        ("queued.max.messages.kbytes", "64".into()),
    ];
    let name = of.member.iter().cloned();
    safety.extend(name.map(|name| ("group.instance.id", name)));
    safety
}

/// Other names of safety keys, and keys that would change what a client is.
const ALSO_RESERVED: &[&str] = &[
    "auto.commit.enable",
    "delivery.timeout.ms",
    "enabled_events",
    "log.queue",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "queuing.strategy",
    "request.required.acks",
    "transactional.id",
];

/// Names of the broker list, which has a setting of its own.
const BROKER_LIST_NAMES: &[&str] = &["bootstrap.servers", "metadata.broker.list"];

/// Checked settings, from which clients are configured.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) settings: KafkaSettings,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Config {
    pub(super) fn new(settings: KafkaSettings) -> Result<Self, LogError> {
        if settings.brokers.trim().is_empty() {
            return Err(refused("brokers", "names no broker"));
        }
        if settings.replication == Some(0) {
            return Err(refused("replication", "must be at least 1"));
        }
        for name in settings.options.keys() {
            check_option(name)?;
        }
        security::check(&settings.options).map_err(|(name, reason)| refused(&name, reason))?;
        security::prepare();
        let config = Self { settings };
        for client in [config.producer(), config.reader(), config.lookup()] {
            client
                .create_native_config()
                .map_err(|e| config.config_error(e))?;
        }
        Ok(config)
    }

    /// For the one producer.
    pub(super) fn producer(&self) -> ClientConfig {
        self.client(PRODUCER_DEFAULTS, &producer_safety())
    }

    /// For one reader of one partition.
    pub(super) fn reader(&self) -> ClientConfig {
        self.client(READER_DEFAULTS, &reader_safety())
    }

    /// For asking about topics and offsets. It has no group, so it keeps to its own queue.
    pub(super) fn lookup(&self) -> ClientConfig {
        let mut client = self.client(LOOKUP_DEFAULTS, &reader_safety());
        client.remove("group.id");
        client
    }

    /// For a member of a group, which only hears what it is assigned.
    pub(super) fn member(&self, of: &GroupSettings) -> ClientConfig {
        self.client(MEMBER_DEFAULTS, &member_safety(of))
    }

    /// For creating, growing and checking topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client(&[], &[])
    }

    fn client(&self, defaults: &[Tunable], safety: &[(&'static str, String)]) -> ClientConfig {
        let options = &self.settings.options;
        let mut client = ClientConfig::new();
        for (name, alias, value) in COMMON_DEFAULTS.iter().chain(defaults) {
            // the order in which the client gets its options is random: never set both names
            if !alias.is_some_and(|alias| options.contains_key(alias)) {
                client.set(*name, *value);
            }
        }
        for (name, value) in options {
            client.set(name, value);
        }
        client.set("bootstrap.servers", &self.settings.brokers);
        for (name, value) in common_safety().iter().chain(safety) {
            client.set(*name, value);
        }
        client.set_log_level(if options.contains_key("debug") {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Info
        });
        client
    }

    /// Removes the values of secret options from a text of the client.
    pub(super) fn redact(&self, text: &str) -> String {
        redact(&self.settings.options, text)
    }

    /// What is wrong with the options, from the client's point of view.
    pub(super) fn config_error(&self, error: KafkaError) -> LogError {
        match error {
            KafkaError::ClientConfig(_, _, name, _) if is_secret_option(&name) => refused(
                &name,
                "the Kafka client knows no such option or refuses its value",
            ),
            KafkaError::ClientConfig(_, reason, name, _) => refused(&name, self.redact(&reason)),
            KafkaError::ClientCreation(reason) => refused("options", self.redact(&reason)),
            other => refused("options", self.redact(&other.to_string())),
        }
    }
}

fn refused(name: &str, reason: impl Into<String>) -> LogError {
    LogError::Setting {
        name: name.to_owned(),
        reason: reason.into(),
    }
}

fn check_option(name: &str) -> Result<(), LogError> {
    if BROKER_LIST_NAMES.contains(&name) {
        return Err(refused(name, "name the brokers with the setting `brokers`"));
    }
    if is_reserved(name) {
        return Err(refused(
            name,
            "order and durability rest on it, so it cannot be changed",
        ));
    }
    Ok(())
}

fn is_reserved(name: &str) -> bool {
    let (common, producer, reader) = (common_safety(), producer_safety(), reader_safety());
    let mut safety = common.iter().chain(&producer).chain(&reader);
    safety.any(|(reserved, _)| *reserved == name) || ALSO_RESERVED.contains(&name)
}

#[cfg(test)]
mod tests;
