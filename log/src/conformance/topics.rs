//! What is promised about topics and ranges.

use tourbillon_core::error::ErrorKind;
use tourbillon_core::ids::Offset;

use super::{Subject, at};
use crate::{LogError, LogRange, TopicNeed};

pub(super) async fn unknown_topics_and_partitions_are_named(s: &Subject) {
    let known = s.topic("t", 2).await;
    let nowhere = at(&s.name("nowhere"), 0);
    assert_eq!(s.log.partitions(&nowhere.topic).await.unwrap(), None);
    for error in [
        s.log.enqueue(&nowhere, "x".into()).await.unwrap_err(),
        s.log.range(&nowhere).await.unwrap_err(),
        s.log.read(&nowhere, Offset(0)).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, LogError::UnknownTopic { topic } if *topic == nowhere.topic),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    for beyond in [at(&known, 2), at(&known, u32::MAX)] {
        for error in [
            s.log.enqueue(&beyond, "x".into()).await.unwrap_err(),
            s.log.range(&beyond).await.unwrap_err(),
            s.log.read(&beyond, Offset(0)).await.unwrap_err(),
        ] {
            assert!(
                matches!(
                    &error,
                    LogError::UnknownPartition { topic, partition }
                        if *topic == known && *partition == beyond.partition
                ),
                "{error}"
            );
        }
    }
    assert_eq!(s.log.partitions(&nowhere.topic).await.unwrap(), None);
}

pub(super) async fn topics_are_made_once_and_grow(s: &Subject) {
    let topic = s.topic("t", 2).await;
    assert_eq!(s.log.partitions(&topic).await.unwrap(), Some(2));
    s.append(&at(&topic, 1), "kept").await;
    for same_or_fewer in [2, 1, 2] {
        let need = TopicNeed::data(&topic, same_or_fewer);
        s.log.ensure_topic(&need).await.unwrap();
        assert_eq!(s.log.partitions(&topic).await.unwrap(), Some(2));
    }
    if s.declare.is_none() {
        let more = TopicNeed::data(&topic, 5);
        s.log.ensure_topic(&more).await.unwrap();
        assert_eq!(s.log.partitions(&topic).await.unwrap(), Some(5));
        assert_eq!(s.append(&at(&topic, 4), "new").await.offset, Offset(0));
        let for_ever = TopicNeed::control(&s.name("for-ever"));
        s.log.ensure_topic(&for_ever).await.unwrap();
        s.log.ensure_topic(&for_ever).await.unwrap();
        assert_eq!(s.log.partitions(&for_ever.topic).await.unwrap(), Some(1));
    }
    let records = s.read(&at(&topic, 1), 0).await.next().await.unwrap();
    assert_eq!(records[0].payload, "kept");
}

pub(super) async fn the_range_follows_appends(s: &Subject) {
    let topic = s.topic("t", 2).await;
    let (used, unused) = (at(&topic, 0), at(&topic, 1));
    for end in 0..5 {
        let expected = LogRange {
            start: Offset(0),
            end: Offset(end),
        };
        assert_eq!(s.log.range(&used).await.unwrap(), expected);
        s.append(&used, "x").await;
    }
    assert_eq!(s.log.range(&unused).await.unwrap().end, Offset(0));
}
