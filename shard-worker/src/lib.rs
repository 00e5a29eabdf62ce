//! The shard worker: follows the partitions that it is assigned, seals their rows into Parquet
//! segments and commits them, exactly once.
//!
//! ```text
//! control topic + assigner -> dispatcher -> a supervised job and an upkeep for each partition
//! ```
//!
//! A partition that meets an error of kind `unavailable` starts again from its newest commit after
//! a pause. Damaged or contradicting data halts the partition, and only it, until an operator has
//! looked. A partition that is taken away, like all at shutdown, stops reading first, then finishes
//! the uploads in hand, within a bound; the next to have it goes on from the commit chain.

mod assigner;
mod dispatch;
mod encode;
mod error;
mod group;
pub mod http;
mod janitor;
mod metrics;
mod partition;
mod progress;
#[cfg(test)]
#[allow(dead_code, reason = "the query crate's tests use it too")]
mod rig;
mod supervise;
#[cfg(test)]
mod tests;
mod upkeep;
pub mod verify;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_lake::Lake;
use tourbillon_log::Log;
use tourbillon_log::control::ControlTopic;

pub use assigner::{Assigner, Assignment, Shares};
use dispatch::Dispatcher;
pub use error::{Cause, WorkerError};
pub use group::Group;
use janitor::Janitor;
pub use progress::Progress;

/// Settings of a worker with a fixed share.
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

/// What the work on every partition needs.
#[derive(Clone, Debug)]
pub struct Means {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where segments and commits go.
    pub lake: Lake,
    /// Names the streams.
    pub control: ControlTopic,
    /// Tells this process's commits from others'; draw it at start.
    pub nonce: String,
    /// How long files stay after compaction has replaced them or retention has let them go.
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
    /// Runs a fixed share of the partitions of each stream, present and future.
    pub fn start(
        settings: WorkerSettings,
        log: Arc<dyn Log>,
        lake: Lake,
        control: ControlTopic,
    ) -> Self {
        let shares = Shares::new(settings.share, settings.shares);
        let means = Means {
            log,
            lake,
            control,
            nonce: settings.nonce,
            grace: settings.grace,
        };
        Self::assigned(Arc::new(shares), means)
    }

    /// Runs what an assigner says, as it changes.
    pub fn assigned(assigner: Arc<dyn Assigner>, means: Means) -> Self {
        metrics::fenced(0);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let board = Board::default();
        let janitor = Janitor {
            log: Arc::clone(&means.log),
            control: means.control.clone(),
            assigned: assigner.subscribe(),
            stop: stop.clone(),
        };
        let dispatcher = Dispatcher::new(assigner, means, stop.clone(), Arc::clone(&board));
        tasks.spawn(janitor.run());
        tasks.spawn(dispatcher.run());
        Self { stop, tasks, board }
    }

    /// Progress of every partition that this worker runs, or ran until it was shut down.
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

    /// Stops reading and waits for the uploads in hand, a few seconds at most.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
