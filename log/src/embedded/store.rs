//! The folder: records and topics in fjall, and the state of each partition in memory.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use thiserror::Error;
use tokio::sync::watch;
use tourbillon_core::ids::{Offset, PartitionId};

use super::journal::{self, Ends};
use super::tables;
use crate::batch::ReadBatch;
use crate::metrics::PartitionMetrics;
use crate::{LogError, LogRange, LogRecord, TopicPartition};

/// Says which format the folder has.
const MARKER: &str = "TOURBILLON-LOG";
const FORMAT: &str = "1";

/// Memory for recent records of the whole log, for live followers; its partitions share it evenly,
/// and one record of each always stays.
const RECENT_BYTES: usize = 16 << 20;

/// What a record in memory costs beside its payload: its entry in a queue that grows by doubling,
/// the allocation and its counters, and what its payload's buffer holds besides. An allowance, not
/// a measurement: a review put records of about 100 bytes at about 300 bytes of memory.
const RECORD_OVERHEAD_BYTES: usize = 256;

/// Bytes before a stored payload: append time and checksum.
const VALUE_HEADER_BYTES: usize = 12;

#[derive(Debug, Error)]
#[error("{0}")]
struct Finding(&'static str);

/// The open folder.
pub(super) struct Store {
    path: PathBuf,
    db: Database,
    pub(super) records: Keyspace,
    pub(super) topics: Keyspace,
    /// What the journals held when the folder was opened.
    journaled: Ends,
    recent: Arc<RecentShare>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let path = path.to_owned();
        check_marker(&path)?;
        let journaled = match journal::lock(&path)? {
            Some(_lock) => {
                tables::check(&path)?;
                journal::check(&path)?
            }
            None => Ends::new(),
        };
        unpanicked(&path, || Self::open_sound(&path, journaled))
    }

    fn open_sound(path: &Path, journaled: Ends) -> Result<Self, LogError> {
        let path = path.to_owned();
        let failed = |error| open_error(&path, error);
        let db = Database::builder(&path).open().map_err(failed)?;
        let values = || {
            KeyspaceCreateOptions::default()
                .with_kv_separation(Some(KvSeparationOptions::default()))
        };
        let records = db.keyspace("records", values).map_err(failed)?;
        let topics = db
            .keyspace("topics", KeyspaceCreateOptions::default)
            .map_err(failed)?;
        Ok(Self {
            path,
            db,
            records,
            topics,
            journaled,
            recent: Arc::default(),
        })
    }

    /// Reads the topics and where each partition begins and ends. Every record that is there must
    /// lie in one of them, and every record of the journals must be there.
    pub(super) fn load_topics(
        &self,
    ) -> Result<BTreeMap<String, Vec<Arc<PartitionState>>>, LogError> {
        unpanicked(&self.path, || self.read_topics())
    }

    fn read_topics(&self) -> Result<BTreeMap<String, Vec<Arc<PartitionState>>>, LogError> {
        let mut topics = BTreeMap::new();
        for entry in self.topics.iter() {
            let (name, value) = entry.into_inner().map_err(|e| open_error(&self.path, e))?;
            let name = String::from_utf8(name.to_vec());
            let name = name.map_err(|_| self.damaged("a topic's name is not UTF-8"))?;
            let numbers: &[u8; 8] = value
                .first_chunk()
                .ok_or_else(|| self.damaged("a topic's entry is too short"))?;
            let (id, count) = (number(numbers, 0), number(numbers, 4));
            let states = (0..count).map(|partition| {
                let at = TopicPartition {
                    topic: name.clone(),
                    partition: PartitionId(partition),
                };
                let range = self.stored_range(id, partition)?;
                Ok(self.partition(id, at, range))
            });
            let states = states.collect::<Result<Vec<_>, LogError>>()?;
            topics.insert(name, states);
        }
        self.check_strays(topics.values().flatten().map(|state| &**state))?;
        Ok(topics)
    }

    /// The state of a partition of this log.
    pub(super) fn partition(
        &self,
        topic_id: u32,
        at: TopicPartition,
        range: LogRange,
    ) -> Arc<PartitionState> {
        let recent = Arc::clone(&self.recent);
        Arc::new(PartitionState::new(topic_id, at, range, recent))
    }

    /// A record of no known partition shows that a topic's entry was lost.
    fn check_strays<'a>(
        &self,
        known: impl Iterator<Item = &'a PartitionState>,
    ) -> Result<(), LogError> {
        let known = known.map(|state| prefix(state.topic_id, state.at.partition.0));
        let mut known: Vec<_> = known.collect();
        known.sort_unstable();
        let mut from = Bound::Unbounded;
        for prefix in known {
            self.check_empty((from, Bound::Excluded(key(prefix, Offset(0)))))?;
            from = Bound::Excluded(key(prefix, Offset(u64::MAX)));
        }
        self.check_empty((from, Bound::Unbounded))
    }

    fn check_empty(&self, range: (Bound<[u8; 16]>, Bound<[u8; 16]>)) -> Result<(), LogError> {
        let Some(found) = self.records.range(range).next() else {
            return Ok(());
        };
        found.key().map_err(|e| open_error(&self.path, e))?;
        Err(self.damaged("it holds records of a topic that it does not know"))
    }

    fn stored_range(&self, topic: u32, partition: u32) -> Result<LogRange, LogError> {
        let prefix = prefix(topic, partition);
        let offset = |guard: Option<fjall::Guard>| -> Result<Option<u64>, LogError> {
            let Some(guard) = guard else { return Ok(None) };
            let key = guard.key().map_err(|e| open_error(&self.path, e))?;
            let bytes = key.get(8..16).and_then(|b| b.first_chunk().copied());
            let bytes = bytes.ok_or_else(|| self.damaged("a record's key is too short"))?;
            Ok(Some(u64::from_be_bytes(bytes)))
        };
        let first = offset(self.records.prefix(prefix).next())?;
        let last = offset(self.records.prefix(prefix).next_back())?;
        let end = last.map_or(0, |last| last.saturating_add(1));
        if first.is_some_and(|first| first > 0) {
            return Err(self.damaged("the first records of a partition are missing"));
        }
        let journaled = self.journaled.get(&(self.records.id(), prefix));
        match journaled.filter(|journaled| journaled.last >= end) {
            None => Ok(LogRange {
                start: Offset(0),
                end: Offset(end),
            }),
            Some(lost) => Err(LogError::Damaged {
                path: lost.journal.to_path_buf(),
                source: Arc::new(Finding("its last records do not come back")),
            }),
        }
    }

    pub(super) fn save_topic(&self, name: &str, id: u32, count: u32) -> Result<(), LogError> {
        let value = [id.to_be_bytes(), count.to_be_bytes()].concat();
        // a batch, so that it is flushed before the next: see `journal`
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.topics, name, value);
        batch.commit().map_err(|e| LogError::CreateTopic {
            topic: name.to_owned(),
            source: Arc::new(e),
        })
    }

    /// Writes records in one batch with one flush to disk.
    pub(super) fn commit<'a>(
        &self,
        records: impl Iterator<Item = (&'a PartitionState, &'a LogRecord)>,
    ) -> fjall::Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for (partition, record) in records {
            batch.insert(&self.records, partition.key(record.offset), encode(record));
        }
        batch.commit()
    }

    /// Reads records from disk, `from` up to `end`, as many as one read may return.
    pub(super) fn scan(
        &self,
        partition: &PartitionState,
        from: Offset,
        end: Offset,
    ) -> Result<Vec<LogRecord>, LogError> {
        unpanicked(&self.path, || self.scan_records(partition, from, end))
    }

    fn scan_records(
        &self,
        partition: &PartitionState,
        from: Offset,
        end: Offset,
    ) -> Result<Vec<LogRecord>, LogError> {
        let mut batch = ReadBatch::default();
        let mut expected = from;
        for entry in self.records.range(partition.key(from)..partition.key(end)) {
            let damaged = |source| self.damaged_record(partition, expected, source);
            let (key, value) = entry.into_inner().map_err(|e| damaged(Arc::new(e)))?;
            if *key != partition.key(expected) {
                return Err(damaged(Arc::new(Finding("it is missing"))));
            }
            let record = decode(expected, &value);
            let record =
                record.ok_or_else(|| damaged(Arc::new(Finding("its checksum does not match"))))?;
            if !batch.fits(record.payload.len()) {
                break;
            }
            batch.push(record);
            expected = expected.next();
        }
        let records = batch.into_records();
        if records.is_empty() {
            return Err(self.damaged_record(partition, from, Arc::new(Finding("it is missing"))));
        }
        Ok(records)
    }

    pub(super) fn poisoned(&self, source: &Arc<fjall::Error>) -> LogError {
        let source = Arc::<fjall::Error>::clone(source);
        LogError::Poisoned {
            path: self.path.clone(),
            source,
        }
    }

    fn damaged(&self, finding: &'static str) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            source: Arc::new(Finding(finding)),
        }
    }

    fn damaged_record(
        &self,
        partition: &PartitionState,
        offset: Offset,
        source: Arc<dyn std::error::Error + Send + Sync>,
    ) -> LogError {
        LogError::DamagedRecord {
            path: self.path.clone(),
            topic: partition.at.topic.clone(),
            partition: partition.at.partition,
            offset,
            source,
        }
    }
}

/// A new folder gets the marker; an old one must have it.
fn check_marker(path: &Path) -> Result<(), LogError> {
    let open = |e: std::io::Error| LogError::Open {
        path: path.to_owned(),
        source: Arc::new(e),
    };
    std::fs::create_dir_all(path).map_err(open)?;
    let marker = path.join(MARKER);
    match std::fs::read_to_string(&marker) {
        Ok(found) if found.trim() == FORMAT => return Ok(()),
        Ok(found) => {
            let found = found.trim().chars().take(20).collect();
            return Err(LogError::Format {
                path: path.to_owned(),
                found,
                expected: FORMAT,
            });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(open(error)),
    }
    if std::fs::read_dir(path).map_err(open)?.next().is_some() {
        let found = "no marker".to_owned();
        return Err(LogError::Format {
            path: path.to_owned(),
            found,
            expected: FORMAT,
        });
    }
    std::fs::write(&marker, format!("{FORMAT}\n")).map_err(open)
}

/// fjall may panic over bytes that it did not write.
fn unpanicked<T>(path: &Path, work: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(LogError::Damaged {
            path: path.to_owned(),
            source: Arc::new(Finding("fjall gave up on its files")),
        })
    })
}

fn open_error(path: &Path, error: fjall::Error) -> LogError {
    let path = path.to_owned();
    match error {
        fjall::Error::Locked => LogError::Locked { path },
        fjall::Error::Io(_) => LogError::Open {
            path,
            source: Arc::new(error),
        },
        _ => LogError::Damaged {
            path,
            source: Arc::new(error),
        },
    }
}

fn key(prefix: [u8; 8], offset: Offset) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&prefix);
    key[8..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

fn prefix(topic: u32, partition: u32) -> [u8; 8] {
    (u64::from(topic) << 32 | u64::from(partition)).to_be_bytes()
}

fn number(bytes: &[u8; 8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn encode(record: &LogRecord) -> Vec<u8> {
    let mut value = Vec::with_capacity(VALUE_HEADER_BYTES + record.payload.len());
    value.extend_from_slice(&record.append_time_ns.to_le_bytes());
    value.extend_from_slice(&checksum(record.append_time_ns, &record.payload).to_le_bytes());
    value.extend_from_slice(&record.payload);
    value
}

fn decode(offset: Offset, value: &[u8]) -> Option<LogRecord> {
    let (time, rest) = value.split_first_chunk::<8>()?;
    let (crc, payload) = rest.split_first_chunk::<4>()?;
    let append_time_ns = i64::from_le_bytes(*time);
    let payload = Bytes::copy_from_slice(payload);
    let intact = checksum(append_time_ns, &payload) == u32::from_le_bytes(*crc);
    intact.then_some(LogRecord {
        offset,
        append_time_ns,
        payload,
    })
}

fn checksum(append_time_ns: i64, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&append_time_ns.to_le_bytes()), payload)
}

/// What is known of a partition without asking the disk.
#[derive(Debug)]
pub(super) struct PartitionState {
    pub(super) topic_id: u32,
    pub(super) at: TopicPartition,
    pub(super) metrics: PartitionMetrics,
    start: Offset,
    end: watch::Sender<Offset>,
    recent: Mutex<Recent>,
    share: Arc<RecentShare>,
}

#[derive(Debug, Default)]
struct Recent {
    records: VecDeque<LogRecord>,
    /// Memory that the records take.
    bytes: usize,
}

/// Counts the partitions that share [`RECENT_BYTES`].
#[derive(Debug, Default)]
struct RecentShare {
    partitions: AtomicUsize,
}

impl RecentShare {
    fn bytes(&self) -> usize {
        RECENT_BYTES / self.partitions.load(Ordering::Relaxed).max(1)
    }
}

fn memory_of(record: &LogRecord) -> usize {
    RECORD_OVERHEAD_BYTES + record.payload.len()
}

impl PartitionState {
    fn new(topic_id: u32, at: TopicPartition, range: LogRange, share: Arc<RecentShare>) -> Self {
        share.partitions.fetch_add(1, Ordering::Relaxed);
        let metrics = PartitionMetrics::new(&at);
        let end = watch::Sender::new(range.end);
        Self {
            topic_id,
            at,
            metrics,
            start: range.start,
            end,
            recent: Mutex::default(),
            share,
        }
    }

    pub(super) fn range(&self) -> LogRange {
        LogRange {
            start: self.start,
            end: *self.end.borrow(),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Offset> {
        self.end.subscribe()
    }

    pub(super) fn key(&self, offset: Offset) -> [u8; 16] {
        key(prefix(self.topic_id, self.at.partition.0), offset)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A durable record becomes readable.
    pub(super) fn publish(&self, record: LogRecord) {
        let end = record.offset.next();
        {
            let mut recent = self.recent();
            recent.bytes += memory_of(&record);
            recent.records.push_back(record);
            let share = self.share.bytes();
            while recent.bytes > share && recent.records.len() > 1 {
                let gone = recent.records.pop_front();
                recent.bytes -= gone.as_ref().map_or(0, memory_of);
            }
        }
        self.end.send_replace(end);
    }

    /// Records from `from` on, if memory still holds them.
    pub(super) fn recent_from(&self, from: Offset) -> Option<Vec<LogRecord>> {
        let recent = self.recent();
        let first = recent.records.front()?.offset;
        let behind = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        let records = ReadBatch::gather(recent.records.iter().skip(behind));
        (!records.is_empty()).then_some(records)
    }
}
