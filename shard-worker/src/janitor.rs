//! Removing writers that have fallen silent, so that the watermark can move on.
//!
//! Every worker watches; doing it twice is harmless, and a higher rank waits longer, so that usually
//! one of them acts. A writer that says nothing for twice its lease gets a FENCE_INTENT;
//! twice its lease after that nobody can acknowledge in its name any more, and FENCE goes into
//! every partition. Silence counts only while this worker can read the control topic promptly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::control::{ControlRecord, WriterInfo, WriterPhase};
use tourbillon_core::error::error_chain;
use tourbillon_core::ids::WriterId;
use tourbillon_log::control::ControlTopic;
use tourbillon_log::fence::fence_everywhere;
use tourbillon_log::{Log, watch};

use crate::assigner::Assignment;
use crate::metrics;

/// How often the writers are looked at, and how long a look may take to count.
const LOOK: Duration = Duration::from_millis(250);

/// Ranks beyond this wait no longer.
const MAX_RANKS_WAITED: u32 = 8;

/// Watches the writers.
#[derive(Debug)]
pub(crate) struct Janitor {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) control: ControlTopic,
    /// What this worker runs decides its rank.
    pub(crate) assigned: watch::Receiver<Assignment>,
    pub(crate) stop: CancellationToken,
}

/// A writer's last sign of life, and since when it has been the last.
#[derive(Debug)]
struct Watch {
    phase: WriterPhase,
    alive: String,
    since: Instant,
}

impl Janitor {
    /// Watches until stopped.
    pub(crate) async fn run(self) {
        let mut watches = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = sleep(LOOK) => {}
            }
            let asked = Instant::now();
            let current = self.control.catch_up().await.is_ok();
            if !current || asked.elapsed() > LOOK {
                watches.clear();
                continue;
            }
            for (writer, phase) in self.overdue(&mut watches) {
                self.act(writer, phase).await;
            }
        }
    }

    /// Writers whose time is up.
    fn overdue(&self, watches: &mut BTreeMap<WriterId, Watch>) -> Vec<(WriterId, WriterPhase)> {
        let view = self.control.view();
        let rank = self.assigned.borrow().rank(&self.control);
        let mut overdue = Vec::new();
        for (id, info) in &view.writers {
            if matches!(info.phase, WriterPhase::Left | WriterPhase::Fenced) {
                watches.remove(id);
                continue;
            }
            let watch = watches.entry(*id).or_insert_with(|| Watch::of(info));
            if watch.phase != info.phase || watch.alive != info.last_alive_nonce {
                *watch = Watch::of(info);
            }
            if watch.since.elapsed() > patience(info, rank) {
                overdue.push((*id, info.phase));
            }
        }
        overdue
    }

    async fn act(&self, writer: WriterId, phase: WriterPhase) {
        if phase == WriterPhase::Joined {
            tracing::warn!(writer = writer.0, "writer is silent: about to fence it");
            let intent = ControlRecord::FenceIntent { writer };
            if let Err(error) = self.control.append(&intent).await {
                tracing::warn!(error = error_chain(&error), "could not announce the fence");
            }
            return;
        }
        match fence_everywhere(self.log.as_ref(), &self.control, writer).await {
            Ok(()) => {
                tracing::warn!(writer = writer.0, "silent writer fenced");
                metrics::fenced(1);
            }
            Err(error) => {
                tracing::warn!(
                    error = error_chain(&error),
                    "could not finish the fence yet"
                );
            }
        }
    }
}

/// Twice the lease, and a lease more for everyone of a lower rank, who may act first.
fn patience(info: &WriterInfo, rank: u32) -> Duration {
    if info.phase == WriterPhase::FenceIntended && broken(Rule::FenceWaits) {
        return Duration::ZERO;
    }
    let lease = Duration::from_nanos(info.lease_ns.unsigned_abs());
    lease.saturating_mul(2 + rank.min(MAX_RANKS_WAITED))
}

impl Watch {
    fn of(info: &WriterInfo) -> Self {
        Self {
            phase: info.phase,
            alive: info.last_alive_nonce.clone(),
            since: Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests;
