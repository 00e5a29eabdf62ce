mod damage;

use std::sync::Arc;

use tourbillon_core::clock::ManualClock;

use super::*;
use crate::TopicNeed;

fn open(path: &Path) -> Result<EmbeddedLog, LogError> {
    EmbeddedLog::open(path, Arc::new(ManualClock::new(1)))
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition {
        topic: "t".into(),
        partition: PartitionId(partition),
    }
}

#[tokio::test]
async fn records_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).unwrap();
    log.ensure_topic(&TopicNeed::data("t", 2)).await.unwrap();
    for i in 0..100u8 {
        log.enqueue(&at(1), vec![i; 2000].into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    log.close().await.unwrap();
    assert!(matches!(
        log.enqueue(&at(1), "x".into()).await,
        Err(LogError::Closed)
    ));
    drop(log);
    let log = open(folder.path()).unwrap();
    assert_eq!(log.partitions("t").await.unwrap(), Some(2));
    assert_eq!(
        log.range(&at(1)).await.unwrap(),
        LogRange {
            start: Offset(0),
            end: Offset(100)
        }
    );
    assert_eq!(log.range(&at(0)).await.unwrap().end, Offset(0));
    let records = log
        .read(&at(1), Offset(40))
        .await
        .unwrap()
        .next()
        .await
        .unwrap();
    assert_eq!((records[0].offset, records.len()), (Offset(40), 60));
    assert!(
        records
            .iter()
            .all(|r| u64::from(r.payload[0]) == r.offset.0)
    );
    let next = log
        .enqueue(&at(1), "y".into())
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(next.offset, Offset(100));
}

#[tokio::test]
async fn a_locked_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let _log = open(folder.path()).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, LogError::Locked { path } if path == folder.path()),
        "{error}"
    );
}

#[tokio::test]
async fn a_foreign_or_newer_folder_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("precious.txt"), "x").unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::Format { .. })));
    std::fs::write(folder.path().join("TOURBILLON-LOG"), "9\n").unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::Format { .. })));
}

#[tokio::test]
async fn a_damaged_record_is_named_and_not_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).unwrap();
    log.ensure_topic(&TopicNeed::data("t", 1)).await.unwrap();
    for _ in 0..3 {
        log.enqueue(&at(0), "payload".into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let partition = log.partition(&at(0)).unwrap();
    log.store
        .overwrite(&partition, Offset(1), b"0123456789abXX");
    let error = log
        .store
        .scan(&partition, Offset(0), Offset(3))
        .unwrap_err();
    assert!(
        matches!(
            error,
            LogError::DamagedRecord {
                offset: Offset(1),
                ..
            }
        ),
        "{error}"
    );
    log.store.erase(&partition, Offset(1));
    let error = log
        .store
        .scan(&partition, Offset(0), Offset(3))
        .unwrap_err();
    assert!(
        matches!(
            error,
            LogError::DamagedRecord {
                offset: Offset(1),
                ..
            }
        ),
        "{error}"
    );
}

impl Store {
    fn overwrite(&self, partition: &PartitionState, offset: Offset, value: &[u8]) {
        self.records.insert(partition.key(offset), value).unwrap();
    }

    fn erase(&self, partition: &PartitionState, offset: Offset) {
        self.records.remove(partition.key(offset)).unwrap();
    }
}

#[tokio::test]
async fn recent_records_of_all_partitions_stay_within_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).unwrap();
    log.ensure_topic(&TopicNeed::data("t", 16)).await.unwrap();
    let states: Vec<_> = (0..16).map(|i| log.partition(&at(i)).unwrap()).collect();
    let payload = Bytes::from(vec![7; 100]);
    for state in &states {
        for offset in 0..10_000 {
            state.publish(crate::LogRecord {
                offset: Offset(offset),
                append_time_ns: 0,
                payload: payload.clone(),
            });
        }
    }
    let held: usize = states.iter().map(|state| state.recent_records()).sum();
    // counted with their overhead; the memory of the process is not looked at
    assert!((16 * 1000..(16 << 20) / 300).contains(&held), "{held}");
}

impl PartitionState {
    fn recent_records(&self) -> usize {
        let range = self.range();
        let mut from = range.end;
        while from > range.start && self.recent_from(Offset(from.0 - 1)).is_some() {
            from = Offset(from.0 - 1);
        }
        usize::try_from(range.end.0 - from.0).unwrap()
    }
}
