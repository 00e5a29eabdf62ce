//! Turning deliveries into acks, strictly in the order of the frames.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::Offset;
use tourbillon_log::{Appended, Delivery};

use super::lease::Lease;

/// Frames of a partition that may await their delivery.
pub(super) const MAX_UNACKED_FRAMES: usize = 1024;

/// Told to a request for each of its pieces: where it lies, or nothing if that is not known.
pub(crate) type AckSender = oneshot::Sender<Option<Offset>>;

/// A frame on its way to the log.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) delivery: Delivery,
    pub(super) hlc_last: Hlc,
    pub(super) acks: Vec<AckSender>,
}

/// Resolves the acks of one partition.
#[derive(Debug)]
pub(super) struct AckTask {
    pub(super) frames: mpsc::Receiver<InFlight>,
    pub(super) max_drift_ns: Option<i64>,
    pub(super) lease: Arc<Lease>,
    pub(super) clock: Arc<dyn PhysicalClock>,
    pub(super) ended: CancellationToken,
}

impl AckTask {
    pub(super) async fn run(mut self) {
        while let Some(frame) = self.frames.recv().await {
            let delivered = tokio::select! {
                biased;
                delivered = frame.delivery => delivered,
                () = self.ended.cancelled() => continue,
            };
            match delivered {
                Ok(appended) if self.vouches(&appended, frame.hlc_last) => {
                    for ack in frame.acks {
                        // a client that hung up needs no ack
                        drop(ack.send(Some(appended.offset)));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "delivery failed: the writer ends");
                    self.ended.cancel();
                }
            }
        }
    }

    /// Whether every partition machine will accept the frame, for sure.
    fn vouches(&self, appended: &Appended, hlc_last: Hlc) -> bool {
        let drift_ok = self
            .max_drift_ns
            .is_none_or(|drift| hlc_last.0 <= appended.append_time_ns.saturating_add(drift));
        if !drift_ok {
            // the machine refused the frame and will refuse all that follow it
            tracing::error!(hlc = hlc_last.0, "the clock runs ahead of the log: the writer ends");
            self.ended.cancel();
        }
        drift_ok && !self.ended.is_cancelled() && self.lease.holds(self.clock.mono_ns())
    }
}
