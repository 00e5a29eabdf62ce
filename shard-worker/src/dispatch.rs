//! Starts and stops partitions, as streams appear and grow and as the assigner says.
//!
//! A partition that goes finishes what is in hand before it counts as gone; if it is given back
//! meanwhile, it starts anew only then, from its newest commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tourbillon_core::control::{ControlView, StreamDef};
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_log::TopicPartition;

use crate::assigner::{Assigner, Assignment};
use crate::partition::PartitionJob;
use crate::progress::Progress;
use crate::supervise::supervise;
use crate::upkeep::Upkeep;
use crate::{Board, Means, metrics};

type Key = (StreamName, PartitionId);

/// Runs partitions.
pub(crate) struct Dispatcher {
    assigner: Arc<dyn Assigner>,
    means: Means,
    stop: CancellationToken,
    board: Board,
    turns: Arc<Semaphore>,
    running: BTreeMap<Key, Running>,
    /// Each resolves when nothing of the partition is at work any more.
    leaving: FuturesUnordered<BoxFuture<'static, Key>>,
}

/// A partition at work.
struct Running {
    at: TopicPartition,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Dispatcher {
    pub(crate) fn new(
        assigner: Arc<dyn Assigner>,
        means: Means,
        stop: CancellationToken,
        board: Board,
    ) -> Self {
        Self {
            assigner,
            means,
            stop,
            board,
            turns: Arc::new(Semaphore::new(1)),
            running: BTreeMap::new(),
            leaving: FuturesUnordered::new(),
        }
    }

    /// Works until stopped, and until every partition is.
    pub(crate) async fn run(mut self) {
        let mut views = self.means.control.subscribe();
        let mut assignments = self.assigner.subscribe();
        let mut follows = true;
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            let assignment = assignments.borrow_and_update().clone();
            self.follow(&view, &assignment);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                // without the control topic there are no new streams; what runs goes on
                changed = views.changed(), if follows => follows = changed.is_ok(),
                changed = assignments.changed() => if changed.is_err() { break },
                Some(key) = self.leaving.next(), if !self.leaving.is_empty() => self.gone(&key),
            }
        }
        self.stop.cancelled().await;
        self.finish().await;
    }

    /// Stops what is not wanted any more and starts what is.
    fn follow(&mut self, view: &ControlView, assignment: &Assignment) {
        let unwanted = |running: &Running| !assignment.includes(&running.at);
        let goes = self.running.iter().filter(|(_, running)| unwanted(running));
        let goes: Vec<Key> = goes.map(|(key, _)| key.clone()).collect();
        for key in goes {
            self.release(&key);
        }
        for def in view.streams.values() {
            for partition in (0..def.partitions).map(PartitionId) {
                let at = TopicPartition {
                    topic: self.means.control.stream_topic(&def.name),
                    partition,
                };
                let key = (def.name.clone(), partition);
                if assignment.includes(&at) && !self.running.contains_key(&key) {
                    self.begin(key, def, at);
                }
            }
        }
        self.tell();
    }

    fn begin(&mut self, key: Key, def: &Arc<StreamDef>, at: TopicPartition) {
        let progress = Arc::new(Progress::new(&at));
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.insert(key.clone(), Arc::clone(&progress));
        drop(board);
        metrics::begun(&at);
        tracing::debug!(stream = %key.0, partition = key.1.0, "partition begins");
        let (stop, tasks) = (self.stop.child_token(), TaskTracker::new());
        if def.compaction_ns > 0 {
            tasks.spawn(self.upkeep(def, at.clone()).run(stop.clone()));
        }
        let job = self.job(def, at.clone(), progress);
        tasks.spawn(supervise(job, stop.clone()));
        self.running.insert(key, Running { at, stop, tasks });
    }

    /// Tells a partition to stop, once.
    fn release(&mut self, key: &Key) {
        let Some(running) = self.running.get(key) else {
            return;
        };
        if running.stop.is_cancelled() && running.tasks.is_closed() {
            return;
        }
        tracing::debug!(stream = %key.0, partition = key.1.0, "partition stops");
        running.stop.cancel();
        running.tasks.close();
        let (key, tasks) = (key.clone(), running.tasks.clone());
        self.leaving.push(Box::pin(async move {
            tasks.wait().await;
            key
        }));
    }

    /// Nothing of a partition that was taken away is at work any more.
    fn gone(&mut self, key: &Key) {
        if let Some(running) = self.running.remove(key) {
            metrics::ended(&running.at);
        }
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = board.remove(key) {
            progress.left();
        }
    }

    /// The end of everything. The board keeps what was there, for whoever asks how it went.
    async fn finish(&mut self) {
        let all: Vec<Key> = self.running.keys().cloned().collect();
        for key in all {
            self.release(&key);
        }
        while let Some(key) = self.leaving.next().await {
            if let Some(running) = self.running.remove(&key) {
                metrics::ended(&running.at);
            }
            self.tell();
        }
    }

    fn tell(&self) {
        let running: BTreeSet<TopicPartition> =
            self.running.values().map(|r| r.at.clone()).collect();
        metrics::partitions(running.len());
        self.assigner.running(&running);
    }

    fn job(
        &self,
        def: &Arc<StreamDef>,
        at: TopicPartition,
        progress: Arc<Progress>,
    ) -> PartitionJob {
        PartitionJob {
            stream: def.name.clone(),
            partition: at.partition,
            at,
            def: Arc::clone(def),
            log: Arc::clone(&self.means.log),
            lake: self.means.lake.clone(),
            control: self.means.control.clone(),
            nonce: self.means.nonce.clone(),
            grace: self.means.grace,
            progress,
        }
    }

    fn upkeep(&self, def: &Arc<StreamDef>, at: TopicPartition) -> Upkeep {
        Upkeep {
            partition: at.partition,
            at,
            def: Arc::clone(def),
            lake: self.means.lake.clone(),
            control: self.means.control.clone(),
            nonce: self.means.nonce.clone(),
            grace: self.means.grace,
            turns: Arc::clone(&self.turns),
        }
    }
}
