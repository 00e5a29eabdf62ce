use std::collections::BTreeMap;

use tokio::time::{Instant, sleep};
use tourbillon_core::clock::ManualClock;
use tourbillon_core::control::ColumnSpec;
use tourbillon_core::ids::{PartitionId, StreamName};

use super::*;
use crate::conformance::subjects::{MockKafka, real_kafka_settings, unique_prefix};
use crate::control::StreamRequest;
use crate::{KafkaLog, Log, MemoryLog};

/// Rebalances of several members are over by then, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long members keep what they lost.
const KEEP: Duration = Duration::from_secs(6);

/// Remembers what it heard last.
#[derive(Default)]
struct Ear(Mutex<BTreeSet<TopicPartition>>);

impl GroupListener for Ear {
    fn assigned(&self, all: &BTreeSet<TopicPartition>) {
        self.0.lock().unwrap().clone_from(all);
    }
}

impl Ear {
    fn heard(&self) -> BTreeSet<TopicPartition> {
        self.0.lock().unwrap().clone()
    }
}

struct Member {
    ear: Arc<Ear>,
    group: KafkaGroup,
}

impl Member {
    /// Joins the group of all who share the control topic.
    fn join(kafka: &KafkaSettings, control: &ControlTopic, name: Option<&str>) -> Self {
        let ear = Arc::new(Ear::default());
        let workers = StreamName::new("workers").unwrap();
        let settings = GroupSettings {
            group: control.stream_topic(&workers),
            member: name.map(str::to_owned),
        };
        let listener = Arc::<Ear>::clone(&ear);
        let (kafka, control) = (kafka.clone(), control.clone());
        let group = KafkaGroup::keeping(kafka, settings, control, listener, KEEP);
        let group = group.unwrap();
        group.join().unwrap();
        Self { ear, group }
    }
}

fn all(topic: &str, partitions: u32) -> BTreeSet<TopicPartition> {
    let at = |p| TopicPartition {
        topic: topic.to_owned(),
        partition: PartitionId(p),
    };
    (0..partitions).map(at).collect()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not {what} in time");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the members hold every partition, and none two of them.
fn split(members: &[&Member], whole: &BTreeSet<TopicPartition>, at_most: usize) -> bool {
    let heard: Vec<_> = members.iter().map(|member| member.ear.heard()).collect();
    let sum: usize = heard.iter().map(BTreeSet::len).sum();
    let union: BTreeSet<TopicPartition> = heard.iter().flatten().cloned().collect();
    union == *whole && sum == whole.len() && heard.iter().all(|held| held.len() <= at_most)
}

fn stream(name: &str, partitions: u32) -> StreamRequest {
    StreamRequest {
        name: name.into(),
        columns: vec![ColumnSpec {
            name: "symbol".into(),
            ty: "string".into(),
            nullable: false,
        }],
        key: Some(vec!["symbol".into()]),
        partitions: Some(partitions),
        ..StreamRequest::default()
    }
}

/// The control topic is in memory; only the names of the data topics matter to the group.
#[tokio::test(flavor = "multi_thread")]
async fn members_on_mock_brokers_share_all_streams() {
    let mock = MockKafka::start();
    let log = Arc::new(MemoryLog::new(Arc::new(ManualClock::new(1))));
    let control = ControlTopic::open(log, "g").await.unwrap();
    mock.create_topic("g.a", 3);
    mock.create_topic("g.b", 2);
    let first = Member::join(&mock.settings(), &control, None);
    sleep(LOOK * 3).await;
    assert!(first.group.is_settled() && first.ear.heard().is_empty());
    control.ensure_stream(&stream("a", 3)).await.unwrap();
    until("all of a", || first.ear.heard() == all("g.a", 3)).await;
    assert_eq!(first.group.standing(), Standing::Member);
    control.ensure_stream(&stream("b", 2)).await.unwrap();
    let mut whole = all("g.a", 3);
    whole.extend(all("g.b", 2));
    until("all of both", || first.ear.heard() == whole).await;
    let second = Member::join(&mock.settings(), &control, None);
    until("shared", || split(&[&first, &second], &whole, 3)).await;
    first.group.leave().await;
    assert!(first.ear.heard().is_empty());
    until("handed over", || second.ear.heard() == whole).await;
    second.group.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_keeps_its_partitions_while_the_group_is_away_but_not_for_ever() {
    let mock = MockKafka::start();
    let log = Arc::new(MemoryLog::new(Arc::new(ManualClock::new(1))));
    let control = ControlTopic::open(log, "g").await.unwrap();
    mock.create_topic("g.a", 3);
    control.ensure_stream(&stream("a", 3)).await.unwrap();
    let mut settings = mock.settings();
    for (name, value) in [
        ("session.timeout.ms", "5000"),
        ("heartbeat.interval.ms", "200"),
    ] {
        settings.options.insert(name.into(), value.into());
    }
    let (member, whole) = (Member::join(&settings, &control, None), all("g.a", 3));
    until("all", || member.ear.heard() == whole).await;
    mock.set_up(false);
    until("lost", || member.group.standing() == Standing::Joining).await;
    assert_eq!(member.ear.heard(), whole);
    mock.set_up(true);
    until("let in again", || {
        member.group.standing() == Standing::Member
    })
    .await;
    until("all again", || member.ear.heard() == whole).await;
    mock.set_up(false);
    until("lost again", || {
        member.group.standing() == Standing::Joining
    })
    .await;
    let lost = Instant::now();
    until("let go", || member.ear.heard().is_empty()).await;
    assert!(lost.elapsed() > KEEP / 2, "{:?}", lost.elapsed());
    mock.set_up(true);
    until("all once more", || member.ear.heard() == whole).await;
    member.group.leave().await;
}

/// A real cluster's topics and control topic.
async fn real() -> Option<(KafkaSettings, ControlTopic, BTreeSet<TopicPartition>)> {
    let settings = real_kafka_settings()?;
    let log = KafkaLog::connect(settings.clone()).await.unwrap();
    let log: Arc<dyn Log> = Arc::new(log);
    let prefix = unique_prefix("group").trim_end_matches('.').to_owned();
    let control = ControlTopic::open(log, &prefix).await.unwrap();
    control.ensure_stream(&stream("a", 6)).await.unwrap();
    Some((settings, control, all(&format!("{prefix}.a"), 6)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_member_of_a_real_group_comes_back_to_its_partitions() {
    let Some((kafka, control, whole)) = real().await else {
        return;
    };
    let first = Member::join(&kafka, &control, Some("w1"));
    until("all", || first.ear.heard() == whole).await;
    let second = Member::join(&kafka, &control, Some("w2"));
    until("shared", || split(&[&first, &second], &whole, 3)).await;
    let (of_first, of_second) = (first.ear.heard(), second.ear.heard());
    second.group.leave().await;
    assert!(second.group.keeps_place().await);
    let again = Member::join(&kafka, &control, Some("w2"));
    until("back", || again.ear.heard() == of_second).await;
    assert_eq!(first.ear.heard(), of_first);
    // the stream grows: its new partitions are shared too
    control.ensure_stream(&stream("a", 8)).await.unwrap();
    let topic = whole.first().unwrap().topic.clone();
    let grown = all(&topic, 8);
    until("grown", || split(&[&first, &again], &grown, 4)).await;
    assert!(first.ear.heard().is_superset(&of_first));
    assert!(again.ear.heard().is_superset(&of_second));
    let nobody = Member::join(&kafka, &control, None);
    assert!(!nobody.group.keeps_place().await);
    nobody.group.leave().await;
    until("as before", || split(&[&first, &again], &grown, 4)).await;
    first.group.leave().await;
    again.group.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_came_while_a_member_was_away_are_not_left_alone() {
    let Some((kafka, control, whole)) = real().await else {
        return;
    };
    let member = Member::join(&kafka, &control, Some("w"));
    until("all", || member.ear.heard() == whole).await;
    member.group.leave().await;
    control.ensure_stream(&stream("a", 8)).await.unwrap();
    let member = Member::join(&kafka, &control, Some("w"));
    let grown = all(&whole.first().unwrap().topic, 8);
    let begun = Instant::now();
    // besides these, for a while, that of the control topic
    until("grown", || member.ear.heard().is_superset(&grown)).await;
    println!("grown after {:?}", begun.elapsed());
    until("as usual", || member.ear.heard() == grown).await;
    member.group.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_members_of_one_name_the_first_stands_aside_until_the_name_is_free() {
    let Some((mut kafka, control, whole)) = real().await else {
        return;
    };
    let session = ("session.timeout.ms".to_owned(), "6000".to_owned());
    kafka.options = BTreeMap::from([session]);
    let first = Member::join(&kafka, &control, Some("w"));
    until("all", || first.ear.heard() == whole).await;
    let second = Member::join(&kafka, &control, Some("w"));
    until("taken", || first.group.standing() == Standing::NameTaken).await;
    until("taken over", || second.ear.heard() == whole).await;
    assert!(first.ear.heard().is_empty());
    sleep(REJOIN_PAUSE * 2).await;
    // no fight: nothing has changed
    assert_eq!(first.group.standing(), Standing::NameTaken);
    assert_eq!(second.ear.heard(), whole);
    second.group.leave().await;
    until("back", || first.ear.heard() == whole).await;
    first.group.leave().await;
}
