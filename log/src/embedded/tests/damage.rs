//! Bytes that went bad and writes that were cut short: never fewer or other records in silence.

use std::path::PathBuf;

use super::*;
use crate::LogRecord;

const PARTITIONS: u32 = 2;
const RECORDS: u64 = 12;

/// Payloads with rows of zeros, and one large enough for a file of its own.
fn payload(partition: u32, offset: u64) -> Vec<u8> {
    let bytes = if offset == 3 { 3000 } else { 40 };
    let mut payload = vec![0; bytes];
    payload[0] = u8::try_from(offset).unwrap();
    payload[20] = u8::try_from(partition).unwrap() + 1;
    payload
}

async fn append(log: &EmbeddedLog, offsets: std::ops::Range<u64>) {
    for offset in offsets {
        for partition in 0..PARTITIONS {
            let payload = payload(partition, offset).into();
            let delivery = log.enqueue(&at(partition), payload).await.unwrap();
            assert_eq!(delivery.await.unwrap().offset, Offset(offset));
        }
    }
}

async fn shut(log: EmbeddedLog) {
    log.close().await.unwrap();
    drop(log);
}

/// A closed log: half of its records in tables and blobs, half in the journal, which has no zeros
/// behind them.
async fn closed_log(folder: &Path, flush: bool) {
    let log = open(folder).unwrap();
    log.ensure_topic(&TopicNeed::data("t", PARTITIONS))
        .await
        .unwrap();
    append(&log, 0..RECORDS / 2).await;
    if flush {
        log.store.flush_to_tables();
    }
    append(&log, RECORDS / 2..RECORDS).await;
    shut(log).await;
    shut(open(folder).unwrap()).await;
}

impl Store {
    fn flush_to_tables(&self) {
        self.records.rotate_memtable_and_wait().unwrap();
        self.topics.rotate_memtable_and_wait().unwrap();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A folder with these files, of which one has other bytes.
fn copy(from: &Path, changed: &Path, bytes: &[u8]) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in files(from) {
        let target = to.path().join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        if file == changed {
            std::fs::write(target, bytes).unwrap();
        } else {
            std::fs::copy(&file, target).unwrap();
        }
    }
    for empty in ["keyspaces/0/blobs", "keyspaces/2/blobs"] {
        if from.join(empty).is_dir() {
            std::fs::create_dir_all(to.path().join(empty)).unwrap();
        }
    }
    to
}

async fn read_all(log: &EmbeddedLog, partition: u32) -> Result<Vec<LogRecord>, LogError> {
    let end = log.range(&at(partition)).await?.end;
    let mut records: Vec<LogRecord> = Vec::new();
    let mut reader = log.read(&at(partition), Offset(0)).await?;
    while (records.len() as u64) < end.0 {
        records.extend(reader.next().await?);
    }
    Ok(records)
}

/// Records of each partition; panics over one that is not what was appended.
async fn recover(folder: &Path) -> Result<Vec<u64>, LogError> {
    let log = open(folder)?;
    let mut counts = Vec::new();
    for partition in 0..PARTITIONS {
        let records = read_all(&log, partition).await?;
        for (offset, record) in (0..).zip(&records) {
            assert_eq!(record.offset, Offset(offset));
            assert!(*record.payload == payload(partition, offset));
        }
        counts.push(records.len() as u64);
    }
    shut(log).await;
    Ok(counts)
}

fn names_a_path(error: &LogError, folder: &Path) -> bool {
    match error {
        LogError::Damaged { path, .. }
        | LogError::DamagedRecord { path, .. }
        | LogError::Format { path, .. }
        | LogError::Open { path, .. } => path.starts_with(folder),
        _ => false,
    }
}

/// Places of a file to try: all of a small one, spread over a larger one.
fn places(bytes: usize) -> impl Iterator<Item = usize> {
    let most = if cfg!(slow) { 4000 } else { 16 };
    // a stride that meets every field of entries that repeat
    let stride = (bytes / most).max(1) | 1;
    (0..bytes)
        .step_by(stride)
        .chain(bytes.saturating_sub(5)..bytes)
}

#[tokio::test]
async fn a_flipped_byte_is_an_error_with_a_path_or_harmless() {
    let source = tempfile::tempdir().unwrap();
    closed_log(source.path(), true).await;
    let mut wrong = Vec::new();
    for file in files(source.path()) {
        let bytes = std::fs::read(&file).unwrap();
        for place in places(bytes.len()) {
            let mut bytes = bytes.clone();
            bytes[place] ^= if place % 2 == 0 { 0x10 } else { 0xff };
            let folder = copy(source.path(), &file, &bytes);
            let outcome = recover(folder.path()).await;
            let fine = match &outcome {
                Ok(counts) => *counts == [RECORDS; PARTITIONS as usize],
                Err(error) => names_a_path(error, folder.path()),
            };
            if !fine {
                let file = file.strip_prefix(source.path()).unwrap();
                wrong.push(format!("{} at {place}: {outcome:?}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} places: {wrong:#?}", wrong.len());
}

fn journal(folder: &Path) -> PathBuf {
    let mut found = files(folder);
    found.retain(|file| file.extension().is_some_and(|extension| extension == "jnl"));
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[tokio::test]
async fn a_bad_byte_amid_a_journal_is_refused_and_nothing_is_changed() {
    let source = tempfile::tempdir().unwrap();
    closed_log(source.path(), false).await;
    let path = journal(source.path());
    let sound = std::fs::read(&path).unwrap();
    let starts = batches(&sound);
    for place in [0, 1, 5, 12, 14, 30, 60].map(|within| starts[starts.len() / 2] + within) {
        let mut bytes = sound.clone();
        bytes[place] ^= 0x40;
        std::fs::write(&path, &bytes).unwrap();
        let error = open(source.path()).unwrap_err();
        assert!(
            matches!(&error, LogError::Damaged { path: named, .. } if *named == path),
            "{place}: {error:?}"
        );
        assert!(std::fs::read(&path).unwrap() == bytes, "{place}");
    }
    std::fs::write(&path, &sound).unwrap();
    assert_eq!(recover(source.path()).await.unwrap(), [RECORDS; 2]);
}

/// Where batches begin. No payload here holds the magic.
fn batches(journal: &[u8]) -> Vec<usize> {
    let magic = journal.windows(4).enumerate();
    let ends = magic
        .filter(|(_, bytes)| bytes == b"FJL\x03")
        .map(|(at, _)| at + 4);
    let mut starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
    assert_eq!(starts.pop(), Some(journal.len()));
    starts
}

#[tokio::test]
async fn a_write_that_was_cut_short_is_no_damage() {
    let source = tempfile::tempdir().unwrap();
    closed_log(source.path(), false).await;
    let path = journal(source.path());
    let sound = std::fs::read(&path).unwrap();
    let last = *batches(&sound).last().unwrap();
    for cut in last..=sound.len() {
        for zeros in [0, 3, 5000] {
            let mut bytes = sound[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            let folder = copy(source.path(), &path, &bytes);
            let found = recover(folder.path()).await;
            let found = found.unwrap_or_else(|error| panic!("{cut} {zeros}: {error:?}"));
            let whole = found == [RECORDS; 2];
            assert!(whole || found == [RECORDS, RECORDS - 1], "{cut}: {found:?}");
            assert!(whole || cut < sound.len(), "{cut}");
            if cut % 16 == 0 {
                goes_on(folder.path(), found[1]).await;
            }
        }
    }
}

async fn goes_on(folder: &Path, next: u64) {
    let log = open(folder).unwrap();
    let appended = log.enqueue(&at(1), payload(1, next).into()).await.unwrap();
    assert_eq!(appended.await.unwrap().offset, Offset(next));
    shut(log).await;
    assert_eq!(recover(folder).await.unwrap(), [RECORDS, next + 1]);
}

#[tokio::test]
async fn reopening_over_and_over_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let log = open(folder.path()).unwrap();
        log.ensure_topic(&TopicNeed::data("t", PARTITIONS))
            .await
            .unwrap();
        append(&log, round * 5..round * 5 + 3).await;
        if round % 3 == 1 {
            log.store.flush_to_tables();
        }
        append(&log, round * 5 + 3..round * 5 + 5).await;
        shut(log).await;
    }
    assert_eq!(recover(folder.path()).await.unwrap(), [60; 2]);
}
