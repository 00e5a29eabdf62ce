//! The lease: proof that nobody can have fenced this writer yet.
//!
//! Whoever removes a writer announces it in the control topic and then waits for twice the lease.
//! Having read back its own ALIVE before any such announcement, a writer may therefore acknowledge
//! for one lease from the moment at which it sent that ALIVE.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::control::{ControlRecord, ControlView, WriterPhase};
use tourbillon_log::watch;

use super::Writer;
use crate::error::IngestError;
use crate::metrics;

/// ALIVE records a lease.
const RENEWALS: u32 = 3;

/// Until when a writer may acknowledge.
#[derive(Debug)]
pub(crate) struct Lease {
    clock: Arc<dyn PhysicalClock>,
    length_ns: i64,
    /// By the monotonic clock.
    end_ns: AtomicI64,
}

impl Lease {
    /// A lease not yet obtained.
    pub(super) fn new(clock: Arc<dyn PhysicalClock>, length: Duration) -> Self {
        let length_ns = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        Self {
            clock,
            length_ns,
            end_ns: AtomicI64::new(i64::MIN),
        }
    }

    /// Whether acknowledging is safe now.
    pub(crate) fn holds(&self) -> bool {
        self.clock.mono_ns() < self.end_ns.load(Ordering::Acquire) || broken(Rule::AckUnderLease)
    }

    /// Resolves when the lease has ended without being renewed.
    pub(crate) async fn lapsed(&self) {
        loop {
            let end_ns = self.end_ns.load(Ordering::Acquire);
            let left = end_ns.saturating_sub(self.clock.mono_ns());
            match u64::try_from(left) {
                Ok(left) if left > 0 => sleep(Duration::from_nanos(left)).await,
                _ if broken(Rule::AckUnderLease) => std::future::pending().await,
                _ => return,
            }
        }
    }

    fn renewed(&self, sent_ns: i64) {
        self.end_ns
            .store(sent_ns.saturating_add(self.length_ns), Ordering::Release);
    }
}

/// Renews the lease until somebody announces a fence.
pub(super) async fn keep(writer: Arc<Writer>) -> Result<(), IngestError> {
    let mut views = writer.env.control.subscribe();
    let period = writer.settings.lease / RENEWALS;
    let mut renewals = interval_at(Instant::now() + period, period);
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1u64.. {
        loop {
            tokio::select! {
                biased;
                _ = renewals.tick() => break,
                () = changed(&mut views) => look(&writer, &views.borrow_and_update().clone())?,
            }
        }
        renew(&writer, number).await?;
    }
    Ok(())
}

/// Sends ALIVE, reads it back, and extends the lease.
pub(super) async fn renew(writer: &Writer, number: u64) -> Result<(), IngestError> {
    let sent_ns = writer.env.clock.mono_ns();
    let nonce = format!("{}-{number}", writer.settings.nonce);
    let (id, hlc) = (writer.id, writer.stamps.clock().last());
    let alive = ControlRecord::Alive {
        writer: id,
        nonce: nonce.clone(),
        hlc,
    };
    let appended = writer.env.control.append(&alive).await;
    appended.map_err(IngestError::ControlTopic)?;
    let view = writer.env.control.view();
    look(writer, &view)?;
    if view
        .writers
        .get(&id)
        .is_some_and(|info| info.last_alive_nonce == nonce)
    {
        let from_readback = broken(Rule::LeaseFromSending);
        let mono_ns = writer.env.clock.mono_ns();
        writer
            .lease
            .renewed(if from_readback { mono_ns } else { sent_ns });
    }
    Ok(())
}

/// Waits for a newer view; for ever if the topic is no longer followed, which the next renewal
/// reports.
async fn changed(views: &mut watch::Receiver<Arc<ControlView>>) {
    if views.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Learns from the others, and notices when this writer is to go.
pub(super) fn look(writer: &Writer, view: &ControlView) -> Result<(), IngestError> {
    let living = view
        .writers
        .values()
        .filter(|info| info.phase == WriterPhase::Joined);
    for info in living {
        if writer.stamps.clock().observe(info.last_hlc).is_err() {
            metrics::drift_refused();
        }
    }
    match view.writers.get(&writer.id).map(|info| info.phase) {
        Some(WriterPhase::FenceIntended) if broken(Rule::IntentEndsLease) => Ok(()),
        // LEAVE is this writer's own last word
        Some(WriterPhase::Joined | WriterPhase::Left) => Ok(()),
        _ => Err(IngestError::Fenced(writer.id)),
    }
}
