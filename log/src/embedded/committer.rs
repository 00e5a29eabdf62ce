//! The thread that makes records durable, group by group.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::ids::Offset;

use super::store::{PartitionState, Store};
use crate::{Appended, DeliverySender, LogError, LogRecord, TopicPartition, metrics};

/// Records of one group at most.
const MAX_GROUP_RECORDS: usize = 4096;

/// Payload bytes of one group at most, give or take a record.
const MAX_GROUP_BYTES: usize = 16 << 20;

/// A record on its way to the disk.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) partition: Arc<PartitionState>,
    pub(super) payload: Bytes,
    pub(super) since: Instant,
    pub(super) done: DeliverySender,
    /// Makes room in the queue when the job is gone.
    pub(super) _room: OwnedSemaphorePermit,
}

pub(super) struct Committer {
    store: Arc<Store>,
    clock: Arc<dyn PhysicalClock>,
    jobs: mpsc::Receiver<Job>,
    /// What comes next in each partition: offset and lowest append time.
    next: HashMap<TopicPartition, (Offset, i64)>,
    failed: Option<Arc<fjall::Error>>,
}

impl Committer {
    pub(super) fn new(
        store: Arc<Store>,
        clock: Arc<dyn PhysicalClock>,
        jobs: mpsc::Receiver<Job>,
    ) -> Self {
        Self {
            store,
            clock,
            jobs,
            next: HashMap::new(),
            failed: None,
        }
    }

    /// Works until every sender is gone.
    pub(super) fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let group = self.gather(first);
            match &self.failed {
                None => self.commit(group),
                Some(source) => {
                    let error = self.store.poisoned(source);
                    group.into_iter().for_each(|job| fail(job, error.clone()));
                }
            }
        }
    }

    fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut bytes = first.payload.len();
        let mut group = vec![first];
        while group.len() < MAX_GROUP_RECORDS && bytes < MAX_GROUP_BYTES {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += job.payload.len();
            group.push(job);
        }
        group
    }

    fn commit(&mut self, group: Vec<Job>) {
        let now = self.clock.wall_ns();
        let records: Vec<LogRecord> = group.iter().map(|job| self.place(job, now)).collect();
        let pairs = group.iter().map(|job| &*job.partition).zip(&records);
        metrics::committed_group(records.len());
        match self.store.commit(pairs) {
            Ok(()) => {
                for (job, record) in group.into_iter().zip(records) {
                    succeed(job, record);
                }
            }
            Err(error) => {
                let source = Arc::new(error);
                tracing::error!(error = %source, "commit failed: the log takes no more records");
                for job in group {
                    let source = Arc::<fjall::Error>::clone(&source);
                    let error = LogError::append(&job.partition.at, source);
                    fail(job, error);
                }
                self.failed = Some(source);
            }
        }
    }

    fn place(&mut self, job: &Job, now: i64) -> LogRecord {
        let at = &job.partition.at;
        let (next, floor) = match self.next.get_mut(at) {
            Some(next) => next,
            None => {
                let end = job.partition.range().end;
                self.next.entry(at.clone()).or_insert((end, i64::MIN))
            }
        };
        let offset = *next;
        *next = offset.next();
        *floor = now.max(*floor);
        LogRecord {
            offset,
            append_time_ns: *floor,
            payload: job.payload.clone(),
        }
    }
}

fn succeed(job: Job, record: LogRecord) {
    let Job {
        partition,
        payload,
        since,
        done,
        ..
    } = job;
    let appended = Appended {
        offset: record.offset,
        append_time_ns: record.append_time_ns,
    };
    partition.metrics.appended(payload.len(), since.elapsed());
    partition.publish(record);
    // a caller that no longer waits has no use for the answer
    drop(done.send(Ok(appended)));
}

fn fail(job: Job, error: LogError) {
    job.partition.metrics.failed();
    drop(job.done.send(Err(error)));
}
