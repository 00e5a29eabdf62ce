//! The logs that the suite runs on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};

use rdkafka::mocking::MockCluster;
use tourbillon_core::clock::PhysicalClock;

use super::Subject;
use crate::{EmbeddedLog, KafkaLog, KafkaSettings, MemoryLog, SystemClock};

/// Names the brokers of a real Kafka, `host:port,...`.
const REAL_KAFKA: &str = "TOURBILLON_KAFKA";

/// Payload bytes that the mock brokers surely hold; they drop what exceeds 5 MiB a partition.
const MOCK_HELD_BYTES: usize = 9 << 19;

pub(super) async fn memory(_check: &str) -> Option<Subject> {
    Some(Subject {
        log: Arc::new(MemoryLog::new(Arc::new(SystemClock::new()))),
        prefix: String::new(),
        declare: None,
        reports_append_time: true,
        held_bytes: usize::MAX / 4,
        _keep: Box::new(()),
    })
}

pub(super) async fn embedded(_check: &str) -> Option<Subject> {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), Arc::new(SystemClock::new()));
    Some(Subject {
        log: Arc::new(log.unwrap()),
        prefix: String::new(),
        declare: None,
        reports_append_time: true,
        held_bytes: usize::MAX / 4,
        _keep: Box::new(folder),
    })
}

/// The mock brokers cannot create topics, answer every produce request with the append time
/// "1234 ms after the epoch", and leave records with the time that the producer gave them.
pub(super) async fn mock_kafka(_check: &str) -> Option<Subject> {
    let mock = Arc::new(MockKafka::start());
    let log = KafkaLog::connect(mock.settings()).await.unwrap();
    let declaring = Arc::clone(&mock);
    Some(Subject {
        log: Arc::new(log),
        prefix: String::new(),
        declare: Some(Box::new(move |topic, partitions| {
            declaring.create_topic(topic, partitions);
        })),
        reports_append_time: false,
        held_bytes: MOCK_HELD_BYTES,
        _keep: Box::new(mock),
    })
}

pub(super) async fn real_kafka(check: &str) -> Option<Subject> {
    let settings = real_kafka_settings()?;
    let log = KafkaLog::connect(settings).await.unwrap();
    Some(Subject {
        log: Arc::new(log),
        prefix: unique_prefix(check),
        declare: None,
        reports_append_time: true,
        held_bytes: usize::MAX / 4,
        _keep: Box::new(()),
    })
}

/// How to reach the real Kafka, if there is one.
pub(crate) fn real_kafka_settings() -> Option<KafkaSettings> {
    let Ok(brokers) = std::env::var(REAL_KAFKA) else {
        println!("skipped: {REAL_KAFKA} is not set");
        return None;
    };
    Some(KafkaSettings {
        brokers,
        ..KafkaSettings::default()
    })
}

/// Begins the names of topics that nobody used before.
pub(crate) fn unique_prefix(check: &str) -> String {
    let now = SystemClock::new().wall_ns();
    format!("conformance-{now}-{}-{check}.", std::process::id())
}

/// Mock brokers, owned by a thread of their own because they may not move between threads.
pub(crate) struct MockKafka {
    brokers: String,
    orders: SyncSender<Order>,
}

struct Order {
    act: Box<dyn FnOnce(&Mock) + Send>,
    done: SyncSender<()>,
}

type Mock = MockCluster<'static, rdkafka::producer::DefaultProducerContext>;

impl MockKafka {
    /// Starts three brokers.
    pub(crate) fn start() -> Self {
        let (orders, inbox) = mpsc::sync_channel::<Order>(1);
        let (ready, started) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mock = MockCluster::new(3).unwrap();
            ready.send(mock.bootstrap_servers()).unwrap();
            for order in inbox {
                (order.act)(&mock);
                order.done.send(()).unwrap();
            }
        });
        let brokers = started.recv().unwrap();
        Self { brokers, orders }
    }

    /// Settings for a log on these brokers, whose topics have one replica. They answer a waiting
    /// fetch only when its time is up, also if records came in between: hence the short time.
    pub(crate) fn settings(&self) -> KafkaSettings {
        let option = ("fetch.wait.max.ms".to_owned(), "5".to_owned());
        KafkaSettings {
            brokers: self.brokers.clone(),
            options: BTreeMap::from([option]),
            replication: Some(1),
            ..KafkaSettings::default()
        }
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: u32) {
        let topic = topic.to_owned();
        let partitions = i32::try_from(partitions).unwrap();
        self.order(move |mock| mock.create_topic(&topic, partitions, 1).unwrap());
    }

    /// Takes all brokers down, or up again.
    pub(crate) fn set_up(&self, up: bool) {
        self.order(move |mock| {
            let done = if up {
                mock.broker_up(-1)
            } else {
                mock.broker_down(-1)
            };
            done.unwrap();
        });
    }

    fn order(&self, act: impl FnOnce(&Mock) + Send + 'static) {
        let (done, wait) = mpsc::sync_channel(1);
        let act = Box::new(act);
        self.orders.send(Order { act, done }).unwrap();
        wait.recv().unwrap();
    }
}
