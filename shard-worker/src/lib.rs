//! The shard worker: follows its share of all partitions, seals their rows into Parquet segments
//! and commits them, exactly once.
//!
//! A partition that meets an error of kind `unavailable` starts again from its newest commit after
//! a pause. Damaged or contradicting data halts the partition, and only it, until an operator has
//! looked. Shutdown stops reading first, then finishes the uploads in hand.

mod encode;
mod error;
mod janitor;
mod metrics;
mod partition;
mod progress;
#[cfg(test)]
#[allow(dead_code, reason = "the query crate's tests use it too")]
mod rig;
#[cfg(test)]
mod tests;
mod upkeep;
pub mod verify;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tourbillon_core::control::StreamDef;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_lake::Lake;
use tourbillon_log::control::ControlTopic;
use tourbillon_log::{Log, TopicPartition};

pub use error::{Cause, WorkerError};
use janitor::Janitor;
use partition::PartitionJob;
pub use progress::Progress;
use upkeep::Upkeep;

/// Pause before a partition that failed starts again: first, and at most. It doubles until a commit
/// comes through.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// This worker takes partitions whose number modulo `shares` is `share`.
    pub share: u32,
    /// Number of shares, at least 1.
    pub shares: u32,
    /// Tells this process's commits from others'; draw it at start.
    pub nonce: String,
    /// How long files stay after compaction has replaced them or retention has let them go. Must
    /// outlast the longest answer of a query node.
    pub grace: Duration,
}

type Board = Arc<Mutex<BTreeMap<(StreamName, PartitionId), Arc<Progress>>>>;

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    stop: CancellationToken,
    tasks: TaskTracker,
    board: Board,
}

impl Worker {
    /// Starts a task for each partition of each stream, present and future.
    pub fn start(
        settings: WorkerSettings,
        log: Arc<dyn Log>,
        lake: Lake,
        control: ControlTopic,
    ) -> Self {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let board = Board::default();
        let janitor = Janitor {
            log: Arc::clone(&log),
            control: control.clone(),
            share: settings.share,
            stop: stop.clone(),
        };
        let assigner = Assigner {
            settings,
            log,
            lake,
            control,
            stop: stop.clone(),
            tasks: tasks.clone(),
            board: Arc::clone(&board),
            turns: Arc::new(Semaphore::new(1)),
        };
        tasks.spawn(janitor.run());
        tasks.spawn(assigner.run());
        Self { stop, tasks, board }
    }

    /// Progress of every partition taken so far.
    pub fn progress(&self) -> BTreeMap<(StreamName, PartitionId), Arc<Progress>> {
        self.board
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether no partition has halted.
    pub fn is_healthy(&self) -> bool {
        self.hindrance().is_none()
    }

    /// A partition that has halted, and why.
    pub fn hindrance(&self) -> Option<String> {
        let progress = self.progress();
        progress.iter().find_map(|((stream, partition), progress)| {
            let reason = progress.halted()?;
            Some(format!("{stream} partition {partition} halted: {reason}"))
        })
    }

    /// Stops reading and waits for the uploads in hand.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts the partitions that the control topic names.
struct Assigner {
    settings: WorkerSettings,
    log: Arc<dyn Log>,
    lake: Lake,
    control: ControlTopic,
    stop: CancellationToken,
    tasks: TaskTracker,
    board: Board,
    turns: Arc<Semaphore>,
}

impl Assigner {
    async fn run(self) {
        let mut views = self.control.subscribe();
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            for def in view.streams.values() {
                self.assign(def);
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                changed = views.changed() => if changed.is_err() { return },
            }
        }
    }

    fn assign(&self, def: &Arc<StreamDef>) {
        let mine = |p: &u32| p % self.settings.shares.max(1) == self.settings.share;
        for partition in (0..def.partitions).filter(mine).map(PartitionId) {
            let at = TopicPartition {
                topic: self.control.stream_topic(&def.name),
                partition,
            };
            let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (def.name.clone(), partition);
            if board.contains_key(&key) {
                continue;
            }
            let progress = Arc::new(Progress::new(&at));
            board.insert(key, Arc::clone(&progress));
            if def.compaction_ns > 0 {
                let upkeep = self.upkeep(def, at.clone());
                self.tasks.spawn(upkeep.run(self.stop.clone()));
            }
            let job = PartitionJob {
                stream: def.name.clone(),
                partition,
                at,
                def: Arc::clone(def),
                log: Arc::clone(&self.log),
                lake: self.lake.clone(),
                control: self.control.clone(),
                nonce: self.settings.nonce.clone(),
                grace: self.settings.grace,
                progress,
            };
            self.tasks.spawn(supervise(job, self.stop.clone()));
        }
    }

    fn upkeep(&self, def: &Arc<StreamDef>, at: TopicPartition) -> Upkeep {
        Upkeep {
            partition: at.partition,
            at,
            def: Arc::clone(def),
            lake: self.lake.clone(),
            control: self.control.clone(),
            nonce: self.settings.nonce.clone(),
            grace: self.settings.grace,
            turns: Arc::clone(&self.turns),
        }
    }
}

/// Runs a partition until it stops or its data is beyond help.
async fn supervise(job: PartitionJob, stop: CancellationToken) {
    let mut pause = RESTART_PAUSE.0;
    loop {
        let commits = job.progress.commits();
        let outcome = AssertUnwindSafe(job.run(stop.clone())).catch_unwind().await;
        let Ok(outcome) = outcome else {
            tracing::error!(at = ?job.at, "partition halted: its task panicked");
            job.progress.halt("its task panicked".into());
            return;
        };
        let Err(error) = outcome else {
            return;
        };
        let text = error_chain(&error);
        if error.kind() != ErrorKind::Unavailable {
            tracing::error!(error = %text, "partition halted: its data needs a look");
            job.progress.halt(text);
            return;
        }
        if job.progress.commits() > commits {
            pause = RESTART_PAUSE.0;
        }
        tracing::warn!(
            error = text,
            pause_ms = pause.as_millis(),
            "partition starts again"
        );
        metrics::restarted(&job.at);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RESTART_PAUSE.1),
        }
    }
}
