//! How far a partition's work has come, for readiness, metrics and the demo.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Gauge;
use tourbillon_core::manifest::CommitBody;
use tourbillon_core::replica::Replica;
use tourbillon_log::TopicPartition;

/// Counters of one partition, written by its tasks and read by anyone.
#[derive(Debug)]
pub struct Progress {
    next_offset: AtomicU64,
    open_rows: AtomicU64,
    committed_rows: AtomicU64,
    commits: AtomicU64,
    segments: AtomicU64,
    halted: OnceLock<String>,
    gauge: OpenRowsGauge,
}

struct OpenRowsGauge(Gauge);

impl std::fmt::Debug for OpenRowsGauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenRowsGauge")
    }
}

impl Progress {
    pub(crate) fn new(at: &TopicPartition) -> Self {
        Self {
            next_offset: AtomicU64::new(0),
            open_rows: AtomicU64::new(0),
            committed_rows: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            halted: OnceLock::new(),
            gauge: OpenRowsGauge(crate::metrics::open_rows(at)),
        }
    }

    pub(crate) fn followed(&self, replica: &Replica, open_rows: u64) {
        self.next_offset
            .store(replica.position().0, Ordering::Relaxed);
        self.open_rows.store(open_rows, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.gauge.0.set(open_rows as f64);
    }

    /// The commit that this process goes on from.
    pub(crate) fn resumed(&self, body: &CommitBody) {
        self.committed_rows
            .store(body.sealed_rows, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self, body: &CommitBody) {
        self.resumed(body);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.segments
            .fetch_add(body.segments.len() as u64, Ordering::Relaxed);
    }

    /// This process runs the partition no more.
    pub(crate) fn left(&self) {
        self.gauge.0.set(0.0);
    }

    /// The partition stops for good; the first reason stays.
    pub(crate) fn halt(&self, reason: String) {
        let _first = self.halted.set(reason);
    }

    /// Offset of the record read next.
    pub fn next_offset(&self) -> u64 {
        self.next_offset.load(Ordering::Relaxed)
    }

    /// Rows accepted and not sealed yet.
    pub fn open_rows(&self) -> u64 {
        self.open_rows.load(Ordering::Relaxed)
    }

    /// Rows in committed segments.
    pub fn committed_rows(&self) -> u64 {
        self.committed_rows.load(Ordering::Relaxed)
    }

    /// Commits that this process made sure of.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Segments committed by this process.
    pub fn segments(&self) -> u64 {
        self.segments.load(Ordering::Relaxed)
    }

    /// Why the partition has halted until an operator has looked, if it has.
    pub fn halted(&self) -> Option<&str> {
        self.halted.get().map(String::as_str)
    }
}
