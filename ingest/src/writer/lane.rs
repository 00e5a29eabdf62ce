//! A lane: one writer in one partition.
//!
//! It takes messages in the order of their stamps, gathers them into frames, and acknowledges in
//! the order of the frames. The first error ends the writer; what was not acknowledged by then
//! never will be. When the writer closes, the lane drains its queue and ends with CLOSE.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::hlc::{Hlc, HlcError};
use tourbillon_core::ids::Offset;
use tourbillon_core::machine::MachineRules;
use tourbillon_log::{Delivery, TopicPartition};

use super::Writer;
use super::draft::{Done, Draft, Message, Queued, Ready};
use crate::error::IngestError;
use crate::metrics::LaneMetrics;

/// Messages that may wait for a lane; their bytes are bounded by the gateway's budget.
pub(super) const MAX_QUEUED_MESSAGES: usize = 1024;

/// Frames that may wait for their delivery.
const MAX_UNDELIVERED_FRAMES: usize = 1024;

/// A frame in the log's hands.
#[derive(Debug)]
struct InFlight {
    delivery: Delivery,
    hlc_last: Hlc,
    rows: u32,
    done: Vec<Done>,
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Lane {
    writer: Arc<Writer>,
    at: TopicPartition,
    queue: mpsc::Receiver<Queued>,
    in_flight: mpsc::Sender<InFlight>,
    next_pseq: u64,
    /// By how many partitions requests are cut.
    cut: u32,
    metrics: LaneMetrics,
}

/// Runs the lane of a partition, opened with `cut`, until the writer closes.
pub(super) async fn run(
    writer: Arc<Writer>,
    at: TopicPartition,
    rules: MachineRules,
    cut: u32,
    queue: mpsc::Receiver<Queued>,
) -> Result<(), IngestError> {
    let metrics = LaneMetrics::new(&at);
    let (in_flight, delivered) = mpsc::channel(MAX_UNDELIVERED_FRAMES);
    let acks = Acks {
        writer: Arc::clone(&writer),
        at: at.clone(),
        rules,
        metrics: metrics.clone(),
    };
    // OPEN was number 0
    let lane = Lane {
        writer,
        at,
        queue,
        in_flight,
        next_pseq: 1,
        cut,
        metrics,
    };
    tokio::try_join!(lane.send_all(), acks.acknowledge_all(delivered))?;
    Ok(())
}

impl Lane {
    async fn send_all(mut self) -> Result<(), IngestError> {
        let closing = self.writer.closing.clone();
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled(), if !draining => {
                    self.queue.close();
                    draining = true;
                }
                queued = self.queue.recv() => match queued {
                    Some(queued) => self.take(queued).await?,
                    None => return self.close().await,
                },
                () = sleep(self.writer.settings.beat) => self.beat().await?,
            }
        }
    }

    async fn take(&mut self, queued: Queued) -> Result<(), IngestError> {
        let mut next = Some(queued);
        while let Some(queued) = next.take() {
            match queued {
                Queued::Rows(message) => next = self.gather(message).await?,
                Queued::Cut { hlc, partitions } => {
                    self.cut = partitions;
                    self.bare(FrameKind::Beat, hlc).await?;
                }
            }
        }
        Ok(())
    }

    /// Sends a message with what else arrives within the linger. Returns what came and is no
    /// message.
    async fn gather(&mut self, first: Message) -> Result<Option<Queued>, IngestError> {
        let deadline = Instant::now() + self.writer.settings.linger;
        let mut draft = None;
        let mut next = Some(Queued::Rows(first));
        while let Some(Queued::Rows(message)) = next {
            self.check(&message)?;
            for piece in message.into_pieces() {
                if let Some(full) = Draft::add(&mut draft, piece) {
                    self.send(full).await?;
                }
            }
            next = None;
            if draft.as_ref().is_some_and(Draft::is_full) {
                break;
            }
            next = timeout_at(deadline, self.queue.recv()).await.ok().flatten();
        }
        if let Some(draft) = draft {
            self.send(draft).await?;
        }
        Ok(next)
    }

    /// Rows of a source are never queued behind a declaration of another cut than theirs.
    fn check(&self, message: &Message) -> Result<(), IngestError> {
        let other = message.source.is_some() && message.partitions != self.cut;
        if other && !broken(Rule::CutsAgree) {
            return Err(IngestError::OtherCut {
                at: self.at.clone(),
                cut: self.cut,
                found: message.partitions,
            });
        }
        Ok(())
    }

    async fn send(&mut self, draft: Draft) -> Result<(), IngestError> {
        let built = draft.build(self.writer.id, self.next_pseq, self.cut);
        let ready = built.map_err(|source| IngestError::Frame {
            at: self.at.clone(),
            source,
        })?;
        self.metrics.frames.increment(1);
        self.enqueue(ready).await
    }

    async fn beat(&mut self) -> Result<(), IngestError> {
        match self.writer.stamps.take_if(|| self.queue.is_empty()) {
            Ok(Some(hlc)) => self.bare(FrameKind::Beat, hlc).await,
            // rows come first, or the wall has to catch up
            Ok(None) | Err(HlcError::AheadOfWall { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn close(&mut self) -> Result<(), IngestError> {
        let hlc = self.writer.stamps.take(1, |hlc| hlc)?;
        self.bare(FrameKind::Close, hlc).await
    }

    async fn bare(&mut self, kind: FrameKind, hlc: Hlc) -> Result<(), IngestError> {
        let header = FrameHeader::bare(kind, self.writer.id, self.next_pseq, hlc);
        let frame = header
            .cut_by(self.cut)
            .encode(&[])
            .map_err(|source| IngestError::Frame {
                at: self.at.clone(),
                source,
            })?;
        self.enqueue(Ready {
            frame,
            hlc_last: hlc,
            rows: 0,
            done: Vec::new(),
        })
        .await
    }

    async fn enqueue(&mut self, ready: Ready) -> Result<(), IngestError> {
        let Ready {
            frame,
            hlc_last,
            rows,
            done,
        } = ready;
        let handed_over = self.writer.env.log.enqueue(&self.at, frame).await;
        let delivery =
            handed_over.map_err(|source| self.writer.log_failed("write", &self.at, source))?;
        self.next_pseq += 1;
        let in_flight = InFlight {
            delivery,
            hlc_last,
            rows,
            done,
        };
        // the other half only ends before this one by an error, which ends both
        self.in_flight
            .send(in_flight)
            .await
            .map_err(|_| IngestError::Indeterminate)
    }
}

fn acknowledge(waiting: Vec<Done>, offset: Offset) {
    for done in waiting {
        let _client_gone = done.sender.send(offset);
    }
}

/// The acknowledging half.
#[derive(Debug)]
struct Acks {
    writer: Arc<Writer>,
    at: TopicPartition,
    rules: MachineRules,
    metrics: LaneMetrics,
}

impl Acks {
    /// In frame order, so that every earlier frame is acknowledged before a later one.
    async fn acknowledge_all(
        self,
        mut frames: mpsc::Receiver<InFlight>,
    ) -> Result<(), IngestError> {
        while let Some(mut frame) = frames.recv().await {
            if broken(Rule::AckAfterDelivery) {
                acknowledge(std::mem::take(&mut frame.done), Offset(0));
            }
            let delivered = frame.delivery.await;
            if delivered.is_err() && broken(Rule::FailureEndsWriter) {
                continue;
            }
            let appended =
                delivered.map_err(|source| self.writer.log_failed("write", &self.at, source))?;
            let limit = self
                .rules
                .max_drift_ns
                .map(|d| appended.append_time_ns.saturating_add(d));
            let ahead = limit.is_some_and(|limit| frame.hlc_last.0 > limit);
            if ahead && !broken(Rule::AckWithinDrift) {
                return Err(IngestError::AheadOfAppendTime {
                    at: self.at.clone(),
                    hlc: frame.hlc_last,
                    append_time_ns: appended.append_time_ns,
                });
            }
            if !self.writer.lease.holds() {
                // dropping `done` answers "indeterminate"
                self.metrics.late.increment(frame.done.len() as u64);
                continue;
            }
            self.metrics.rows.increment(u64::from(frame.rows));
            acknowledge(frame.done, appended.offset);
        }
        Ok(())
    }
}
