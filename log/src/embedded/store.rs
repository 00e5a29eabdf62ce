//! The folder: records and topics in fjall, and the state of each partition in memory.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use thiserror::Error;
use tokio::sync::watch;
use tourbillon_core::ids::{Offset, PartitionId};

use crate::batch::ReadBatch;
use crate::metrics::PartitionMetrics;
use crate::{LogError, LogRange, LogRecord, TopicPartition};

/// Says which format the folder has.
const MARKER: &str = "TOURBILLON-LOG";
const FORMAT: &str = "1";

/// Payload bytes of recent records kept in memory per partition, for live followers.
const RECENT_BYTES: usize = 4 << 20;

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
    topics: Keyspace,
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
        })
    }

    /// Reads the topics and where each partition begins and ends.
    pub(super) fn load_topics(
        &self,
    ) -> Result<BTreeMap<String, Vec<Arc<PartitionState>>>, LogError> {
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
                Ok(Arc::new(PartitionState::new(id, at, range)))
            });
            let states = states.collect::<Result<Vec<_>, LogError>>()?;
            topics.insert(name, states);
        }
        Ok(topics)
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
        let end = last.map_or(0, |last| last + 1);
        Ok(LogRange {
            start: Offset(first.unwrap_or(end)),
            end: Offset(end),
        })
    }

    pub(super) fn save_topic(&self, name: &str, id: u32, count: u32) -> Result<(), LogError> {
        let value = [id.to_be_bytes(), count.to_be_bytes()].concat();
        let saved = self.topics.insert(name, value);
        let saved = saved.and_then(|()| self.db.persist(PersistMode::SyncAll));
        saved.map_err(|e| LogError::CreateTopic {
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
}

#[derive(Debug, Default)]
struct Recent {
    records: VecDeque<LogRecord>,
    bytes: usize,
}

impl PartitionState {
    pub(super) fn new(topic_id: u32, at: TopicPartition, range: LogRange) -> Self {
        let metrics = PartitionMetrics::new(&at);
        let end = watch::Sender::new(range.end);
        Self {
            topic_id,
            at,
            metrics,
            start: range.start,
            end,
            recent: Mutex::default(),
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
        let mut key = [0; 16];
        key[..8].copy_from_slice(&prefix(self.topic_id, self.at.partition.0));
        key[8..].copy_from_slice(&offset.0.to_be_bytes());
        key
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A durable record becomes readable.
    pub(super) fn publish(&self, record: LogRecord) {
        let end = record.offset.next();
        {
            let mut recent = self.recent();
            recent.bytes += record.payload.len();
            recent.records.push_back(record);
            while recent.bytes > RECENT_BYTES && recent.records.len() > 1 {
                let gone = recent.records.pop_front().map_or(0, |r| r.payload.len());
                recent.bytes -= gone;
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
