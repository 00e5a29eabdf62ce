use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tokio::time::{Instant, timeout};
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::ids::PartitionId;

use super::*;
use crate::Appended;
use crate::conformance::noise;
use crate::conformance::subjects::{MockKafka, real_kafka_settings, unique_prefix};

/// Bound on questions in tests that must see them fail.
const SHORT: Duration = Duration::from_millis(500);

/// By then a question with a short bound has failed, on a busy machine too.
const SOON: Duration = Duration::from_secs(10);

fn at(topic: &str) -> TopicPartition {
    TopicPartition {
        topic: topic.into(),
        partition: PartitionId(0),
    }
}

async fn append(log: &KafkaLog, to: &TopicPartition, payload: impl Into<Bytes>) -> Appended {
    let delivery = log.enqueue(to, payload.into()).await.unwrap();
    delivery.await.unwrap()
}

/// A log on mock brokers with the topic `t` of one partition.
async fn mock_log(bound: Duration) -> (MockKafka, KafkaLog) {
    let mock = MockKafka::start();
    mock.create_topic("t", 1);
    let log = KafkaLog::connect_within(mock.settings(), bound).await;
    (mock, log.unwrap())
}

#[tokio::test]
async fn brokers_that_never_answer_are_named_in_time() {
    let settings = KafkaSettings {
        brokers: "127.0.0.1:1".into(),
        options: [("sasl.password".into(), "hunter2".into())].into(),
        ..KafkaSettings::default()
    };
    let started = Instant::now();
    let error = KafkaLog::connect_within(settings, SHORT).await.unwrap_err();
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert!(
        matches!(&error, LogError::Unreachable { brokers, .. } if brokers == "127.0.0.1:1"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let chain = error_chain(&error).to_string();
    assert!(chain.contains("Connection refused"), "{chain}");
    assert!(!format!("{chain} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn secrets_do_not_show() {
    let mock = MockKafka::start();
    let mut settings = mock.settings();
    settings
        .options
        .insert("sasl.password".into(), "hunter2".into());
    let log = KafkaLog::connect(settings).await.unwrap();
    let shown = format!("{log:?}");
    assert!(
        shown.contains("sasl.password") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[tokio::test]
async fn questions_fail_while_brokers_are_down_and_records_arrive_after() {
    let (mock, log) = mock_log(SHORT).await;
    assert_eq!(append(&log, &at("t"), "a").await.offset, Offset(0));
    let mut reader = log.read(&at("t"), Offset(0)).await.unwrap();
    assert_eq!(reader.next().await.unwrap().len(), 1);
    mock.set_up(false);
    let unreachable = |error: LogError| {
        assert!(
            matches!(error, LogError::Unreachable { .. }),
            "{}",
            error_chain(&error)
        );
    };
    unreachable(
        timeout(SOON, log.range(&at("t")))
            .await
            .unwrap()
            .unwrap_err(),
    );
    unreachable(
        timeout(SOON, log.partitions("t"))
            .await
            .unwrap()
            .unwrap_err(),
    );
    unreachable(timeout(SOON, reader.next()).await.unwrap().unwrap_err());
    assert!(log.trouble().is_some());
    let delivery = log.enqueue(&at("t"), "b".into()).await.unwrap();
    mock.set_up(true);
    let appended = timeout(SOON, delivery).await.unwrap().unwrap();
    assert_eq!(appended.offset, Offset(1));
    // the reader that complained can be called again
    let records = timeout(SOON, async {
        loop {
            if let Ok(records) = reader.next().await {
                return records;
            }
        }
    });
    assert_eq!(records.await.unwrap()[0].payload, "b");
    // a client that has not been back yet may complain once more
    let calm = timeout(SOON, async {
        while log.trouble().is_some() {
            assert!(log.partitions("t").await.is_ok());
        }
    });
    calm.await.unwrap();
}

#[tokio::test]
async fn closing_without_brokers_fails_what_is_not_delivered() {
    let (mock, log) = mock_log(SHORT).await;
    append(&log, &at("t"), "a").await;
    mock.set_up(false);
    let delivery = log.enqueue(&at("t"), "b".into()).await.unwrap();
    let closed = timeout(SOON, log.close()).await.unwrap();
    assert!(
        matches!(closed, Err(LogError::Unreachable { .. })),
        "{closed:?}"
    );
    let delivery = timeout(SOON, delivery).await.unwrap();
    assert!(
        matches!(delivery, Err(LogError::Append { .. })),
        "{delivery:?}"
    );
}

#[tokio::test]
async fn offsets_removed_by_retention_are_refused() {
    const RECORD_BYTES: usize = 1 << 20;
    let (_mock, log) = mock_log(ANSWER_TIMEOUT).await;
    let of = at("t");
    append(&log, &of, "first").await;
    let mut left_behind = log.read(&of, Offset(0)).await.unwrap();
    assert_eq!(left_behind.next().await.unwrap()[0].payload, "first");
    // the mock brokers keep 5 MiB: far more than the reader fetches ahead follows
    for _ in 0..30 {
        append(&log, &of, noise(RECORD_BYTES)).await;
    }
    let range = log.range(&of).await.unwrap();
    assert!(
        range.start > Offset(20) && range.end == Offset(31),
        "{range:?}"
    );
    let refused = log.read(&of, Offset(1)).await.unwrap_err();
    assert!(
        matches!(refused, LogError::OffsetOutOfRange { range: r, .. } if r == range),
        "{refused}"
    );
    let mut next = Offset(1);
    let ended = loop {
        match left_behind.next().await {
            Ok(records) => {
                assert_eq!(records[0].offset, next);
                next = records.last().map_or(next, |r| r.offset.next());
            }
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&ended, LogError::OffsetOutOfRange { offset, .. } if *offset == next),
        "{}",
        error_chain(&ended)
    );
    let again = left_behind.next().await.unwrap_err();
    assert!(
        matches!(again, LogError::OffsetOutOfRange { .. }),
        "{again}"
    );
}

/// The mock brokers' answer to a producer carries an append time of 1234 ms, whatever the time is;
/// the record itself keeps the time at which the producer made it. Deliveries and readers of a
/// real Kafka tell the same time, which the conformance suite checks.
#[tokio::test]
async fn mock_brokers_tell_two_times() {
    let (_mock, log) = mock_log(ANSWER_TIMEOUT).await;
    let appended = append(&log, &at("t"), "x").await;
    assert_eq!(appended.append_time_ns, 1_234_000_000);
    let mut reader = log.read(&at("t"), Offset(0)).await.unwrap();
    let read = reader.next().await.unwrap()[0].append_time_ns;
    assert!(read > 1_700_000_000_000_000_000, "{read}");
}

/// Makes a topic behind the log's back.
async fn foreign_topic(brokers: &str, new: &NewTopic<'_>) {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let created = admin.create_topics([new], &AdminOptions::new()).await;
    created.unwrap()[0].as_ref().unwrap();
}

/// A real Kafka on which one replica is what was asked for.
fn one_replica() -> Option<KafkaSettings> {
    Some(KafkaSettings {
        replication: Some(1),
        ..real_kafka_settings()?
    })
}

#[tokio::test]
async fn a_topic_that_breaks_a_promise_is_refused() {
    let Some(settings) = one_replica() else {
        return;
    };
    let brokers = settings.brokers.clone();
    let log = KafkaLog::connect(settings).await.unwrap();
    for (number, (broken, name, value, for_ever)) in [
        (true, "message.timestamp.type", "CreateTime", false),
        (true, "cleanup.policy", "compact", false),
        (true, "cleanup.policy", "compact,delete", false),
        (true, "max.message.bytes", "1000000", false),
        (true, "unclean.leader.election.enable", "true", false),
        (true, "min.insync.replicas", "2", false),
        (true, "retention.ms", "1000", false),
        (true, "retention.ms", "86400000", true),
        (false, "retention.ms", "86400000", false),
    ]
    .into_iter()
    .enumerate()
    {
        let prefix = unique_prefix(&format!("settings{number}"));
        let need = match for_ever {
            true => TopicNeed::control(&prefix),
            false => TopicNeed::data(prefix, 1),
        };
        let mut settings = vec![
            ("message.timestamp.type", "LogAppendTime"),
            ("max.message.bytes", "20000000"),
            ("min.insync.replicas", "1"),
            ("retention.ms", "-1"),
        ];
        settings.retain(|(other, _)| *other != name);
        settings.push((name, value));
        let mut new = NewTopic::new(&need.topic, 1, TopicReplication::Fixed(1));
        new.config = settings;
        foreign_topic(&brokers, &new).await;
        let ensured = log.ensure_topic(&need).await;
        if !broken {
            ensured.unwrap();
            continue;
        }
        let error = ensured.unwrap_err();
        let text = error.to_string();
        assert!(matches!(&error, LogError::UnfitTopic(_)), "{text}");
        assert!(text.contains(&format!("(is {value})")), "{text}");
        assert!(text.contains(&format!("--add-config {name}=")), "{text}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn a_grown_topic_has_as_many_replicas_everywhere_as_asked() {
    let Some(settings) = real_kafka_settings() else {
        return;
    };
    let probe = KafkaLog::connect(settings.clone()).await.unwrap();
    let brokers = probe.cluster.brokers().await.unwrap();
    for asked in [None, Some(1), u16::try_from(brokers).ok()] {
        let log = KafkaLog::connect(KafkaSettings {
            replication: asked,
            ..settings.clone()
        });
        let log = log.await.unwrap();
        let topic = unique_prefix(&format!("grown-{}", asked.unwrap_or(0)));
        for partitions in [2, 5] {
            let need = TopicNeed::data(&topic, partitions);
            log.ensure_topic(&need).await.unwrap();
            let state = log.cluster.topic(&topic).await.unwrap().unwrap();
            assert_eq!(state.partitions, partitions);
            let wanted = asked.map_or(brokers.min(3), usize::from);
            assert_eq!(state.replicas, wanted, "of the partition that has fewest");
        }
    }
}

#[tokio::test]
async fn a_topic_with_too_few_replicas_is_refused_and_not_grown() {
    let Some(settings) = real_kafka_settings() else {
        return;
    };
    let brokers = settings.brokers.clone();
    let topic = unique_prefix("lonely");
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    foreign_topic(&brokers, &new).await;
    let log = KafkaLog::connect(KafkaSettings {
        replication: Some(2),
        ..settings
    });
    let log = log.await.unwrap();
    let error = log
        .ensure_topic(&TopicNeed::data(&topic, 3))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("1 replica(s) and needs 2"),
        "{error}"
    );
    assert_eq!(log.partitions(&topic).await.unwrap(), Some(1));
}
