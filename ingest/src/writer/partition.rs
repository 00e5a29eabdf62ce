//! One partition of a writer: rows and beats to frames, in stamp order.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::concat_batches;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::frame::{BodyCodec, FrameHeader, FrameKind, MAX_FRAME_ROWS, SourcePart};
use tourbillon_core::hlc::{Hlc, HlcClock};
use tourbillon_core::ids::WriterId;
use tourbillon_log::{Log, TopicPartition};

use super::acks::{AckSender, InFlight};
use super::WriterSettings;
use crate::error::IngestError;

/// Rows of one request for one partition, at most a frame's worth.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) rows: RecordBatch,
    pub(crate) codec: Arc<BodyCodec>,
    pub(crate) schema_version: u32,
    /// Position of each row in its request; its stamp is `base` plus that.
    pub(crate) positions: UInt32Array,
    /// Stamp of the request's first row, set when the piece is queued.
    pub(crate) base: Hlc,
    pub(crate) source: Option<SourcePart>,
    pub(crate) ack: AckSender,
}

impl Piece {
    fn row_count(&self) -> u32 {
        u32::try_from(self.rows.num_rows()).unwrap_or(u32::MAX)
    }

    fn stamp(&self, position: Option<&u32>) -> i64 {
        self.base.0 + position.map_or(0, |position| i64::from(*position))
    }

    fn first(&self) -> i64 {
        self.stamp(self.positions.values().first())
    }

    fn last(&self) -> i64 {
        self.stamp(self.positions.values().last())
    }
}

/// Owns `pseq` and the order of frames of one partition.
#[derive(Debug)]
pub(super) struct PartitionTask {
    pub(super) writer: WriterId,
    pub(super) at: TopicPartition,
    pub(super) next_pseq: u64,
    pub(super) settings: WriterSettings,
    pub(super) log: Arc<dyn Log>,
    pub(super) hlc: Arc<HlcClock<Arc<dyn PhysicalClock>>>,
    pub(super) stamping: Arc<Mutex<()>>,
    pub(super) queue: mpsc::Receiver<Piece>,
    pub(super) frames: mpsc::Sender<InFlight>,
    pub(super) ended: CancellationToken,
    pub(super) closing: CancellationToken,
}

impl PartitionTask {
    /// Works until the writer ends; when it closes, drains the queue and appends CLOSE.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.work().await {
            let text = tourbillon_core::error::error_chain(&error);
            tracing::error!(error = text, topic = self.at.topic, "partition lost: writer ends");
            self.ended.cancel();
        }
    }

    async fn work(&mut self) -> Result<(), IngestError> {
        let mut carried: Option<Piece> = None;
        loop {
            let piece = match carried.take() {
                Some(piece) => piece,
                None => tokio::select! {
                    biased;
                    () = self.ended.cancelled() => return Ok(()),
                    piece = self.queue.recv() => match piece {
                        Some(piece) => piece,
                        None => return self.close().await,
                    },
                    () = self.closing.cancelled() => {
                        self.queue.close();
                        continue;
                    }
                    () = tokio::time::sleep(self.settings.beat) => {
                        self.beat().await?;
                        continue;
                    }
                },
            };
            let (pieces, next) = self.gather(piece).await;
            carried = next;
            self.send_rows(pieces).await?;
        }
    }

    /// Pieces that share a frame with `first`, and the one that did not fit.
    async fn gather(&mut self, first: Piece) -> (Vec<Piece>, Option<Piece>) {
        let until = Instant::now() + self.settings.linger;
        let (mut rows, stamp) = (first.row_count(), first.first());
        let version = first.schema_version;
        let mut pieces = vec![first];
        while rows < MAX_FRAME_ROWS {
            let next = match self.queue.try_recv() {
                Ok(next) => next,
                Err(_) if self.closing.is_cancelled() => break,
                Err(_) => match timeout_at(until, self.queue.recv()).await {
                    Ok(Some(next)) => next,
                    Ok(None) | Err(_) => break,
                },
            };
            let fits = rows + next.row_count() <= MAX_FRAME_ROWS
                && next.schema_version == version
                && next.last() - stamp <= i64::from(u32::MAX);
            if !fits {
                return (pieces, Some(next));
            }
            rows += next.row_count();
            pieces.push(next);
        }
        (pieces, None)
    }

    async fn send_rows(&mut self, pieces: Vec<Piece>) -> Result<(), IngestError> {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
        let (hlc_first, hlc_last) = (first.first(), last.last());
        let rows: u32 = pieces.iter().map(Piece::row_count).sum();
        let mut header =
            FrameHeader::bare(FrameKind::Data, self.writer, self.next_pseq, Hlc(hlc_first));
        header.hlc_last = Hlc(hlc_last);
        header.rows = rows;
        header.schema_version = first.schema_version;
        header.contiguous = hlc_last - hlc_first == i64::from(rows) - 1;
        if pieces.iter().any(|piece| piece.source.is_some()) {
            let part = |p: &Piece| {
                p.source.clone().unwrap_or_else(|| SourcePart::anonymous(p.row_count()))
            };
            header.sources = pieces.iter().map(part).collect();
        }
        let deltas = (!header.contiguous).then(|| {
            let stamps = pieces.iter().flat_map(|piece| {
                piece.positions.values().iter().map(|p| piece.stamp(Some(p)) - hlc_first)
            });
            // `gather` keeps the span of a frame within 32 bits
            UInt32Array::from_iter_values(stamps.map(|d| u32::try_from(d).unwrap_or(u32::MAX)))
        });
        let body = match &pieces[..] {
            [one] => one.codec.encode(&one.rows, deltas)?,
            many => {
                let batches: Vec<_> = many.iter().map(|piece| &piece.rows).collect();
                let schema = first.codec.schema().data();
                first.codec.encode(&concat_batches(schema, batches)?, deltas)?
            }
        };
        let acks = pieces.into_iter().map(|piece| piece.ack).collect();
        self.send(&header, &body, acks).await
    }

    /// Says that time has passed, unless rows came in meanwhile.
    async fn beat(&mut self) -> Result<(), IngestError> {
        let stamp = {
            let _stamping = self.stamping.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.queue.is_empty() {
                return Ok(());
            }
            self.hlc.now()
        };
        match stamp {
            Ok(hlc) => self.send_bare(FrameKind::Beat, hlc).await,
            // a clock that is ahead only has to wait
            Err(error) if error.kind() == tourbillon_core::error::ErrorKind::Unavailable => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn close(&mut self) -> Result<(), IngestError> {
        let stamp = {
            let _stamping = self.stamping.lock().unwrap_or_else(PoisonError::into_inner);
            self.hlc.now()
        };
        self.send_bare(FrameKind::Close, stamp?).await
    }

    async fn send_bare(&mut self, kind: FrameKind, hlc: Hlc) -> Result<(), IngestError> {
        let header = FrameHeader::bare(kind, self.writer, self.next_pseq, hlc);
        self.send(&header, &[], Vec::new()).await
    }

    async fn send(
        &mut self,
        header: &FrameHeader,
        body: &[u8],
        acks: Vec<AckSender>,
    ) -> Result<(), IngestError> {
        let delivery = self.log.enqueue(&self.at, header.encode(body)?).await?;
        self.next_pseq += 1;
        let hlc_last = header.hlc_last;
        let frame = InFlight { delivery, hlc_last, acks };
        self.frames.send(frame).await.map_err(|_| IngestError::NotReady)
    }
}
