//! Becoming a writer: join, fence the own predecessors, open partitions above their watermarks.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tourbillon_core::control::{ControlRecord, StreamDef};
use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::hlc::{Hlc, HlcClock};
use tourbillon_core::ids::{Offset, PartitionId, WriterId};
use tourbillon_core::machine::PartitionMachine;
use tourbillon_lake::Chain;
use tourbillon_log::TopicPartition;

use super::acks::{AckTask, MAX_UNACKED_FRAMES};
use super::lease::{self, Lease};
use super::partition::PartitionTask;
use super::{Ground, MAX_QUEUED_PIECES, Queues, Writer};
use crate::error::IngestError;

/// Partitions that are opened at the same time.
const PARALLEL_OPENS: usize = 16;

impl Writer {
    /// Joins as a new writer whose clock starts at or above `floor`, and opens every partition.
    pub(crate) async fn join(ground: Ground, floor: Hlc) -> Result<Arc<Self>, IngestError> {
        let join =
            ControlRecord::Join { gateway: ground.gateway.clone(), nonce: ground.nonce.clone() };
        let joined = ground.control.append(&join).await?;
        let id = WriterId(u32::try_from(joined.offset.0).map_err(|_| IngestError::NotReady)?);
        let hlc = HlcClock::new(Arc::clone(&ground.clock), ground.settings.hlc);
        hlc.raise(floor);
        let writer = Arc::new(Self {
            id,
            hlc: Arc::new(hlc),
            lease: Arc::new(Lease::new()),
            stamping: Arc::new(Mutex::new(())),
            queues: Mutex::new(Queues::new()),
            opening: AsyncMutex::new(()),
            ended: CancellationToken::new(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            ground,
        });
        writer.fence_predecessors().await?;
        if !writer.lease.renew(&writer.ground, id, &writer.hlc, 0).await {
            return Err(IngestError::NotReady);
        }
        writer.tasks.spawn(lease::keep(
            Arc::clone(&writer.lease),
            writer.ground.clone(),
            id,
            Arc::clone(&writer.hlc),
            writer.ended.clone(),
            writer.closing.clone(),
        ));
        let view = writer.ground.control.view();
        for def in view.streams.values() {
            writer.open_stream(def).await?;
        }
        tracing::info!(writer = id.0, gateway = writer.ground.gateway, "joined");
        Ok(writer)
    }

    /// Opens the partitions of a stream that are not open yet.
    pub(crate) async fn open_stream(&self, def: &StreamDef) -> Result<(), IngestError> {
        let _opening = self.opening.lock().await;
        let missing: Vec<PartitionId> = (0..def.partitions)
            .map(PartitionId)
            .filter(|partition| self.queue(&def.name, *partition).is_none())
            .collect();
        let opens = missing.into_iter().map(|partition| self.open_partition(def, partition));
        stream::iter(opens).buffer_unordered(PARALLEL_OPENS).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn open_partition(
        &self,
        def: &StreamDef,
        partition: PartitionId,
    ) -> Result<(), IngestError> {
        let ground = &self.ground;
        let at = TopicPartition { topic: ground.control.stream_topic(&def.name), partition };
        let mut follower = HeaderFollower::start(ground, def, &at).await?;
        let end = ground.log.range(&at).await?.end;
        self.hlc.raise(follower.follow_to(end).await?);
        let open = FrameHeader::bare(FrameKind::Open, self.id, 0, self.hlc.last());
        let appended = ground.log.enqueue(&at, open.encode(&[])?).await?.await?;
        self.hlc.raise(follower.follow_to(appended.offset.next()).await?);
        let (queue, pieces) = mpsc::channel(MAX_QUEUED_PIECES);
        let (frames, in_flight) = mpsc::channel(MAX_UNACKED_FRAMES);
        self.tasks.spawn(
            PartitionTask {
                writer: self.id,
                at,
                next_pseq: 1,
                settings: ground.settings,
                log: Arc::clone(&ground.log),
                hlc: Arc::clone(&self.hlc),
                stamping: Arc::clone(&self.stamping),
                queue: pieces,
                frames,
                ended: self.ended.clone(),
                closing: self.closing.clone(),
            }
            .run(),
        );
        self.tasks.spawn(
            AckTask {
                frames: in_flight,
                max_drift_ns: def.rules.max_drift_ns,
                lease: Arc::clone(&self.lease),
                clock: Arc::clone(&ground.clock),
                ended: self.ended.clone(),
            }
            .run(),
        );
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.insert((def.name.clone(), partition), queue);
        Ok(())
    }

    /// Fences older writers of this gateway that did not leave. Where the log is this process's
    /// alone they are dead for sure; elsewhere they get the time of two leases to notice.
    async fn fence_predecessors(&self) -> Result<(), IngestError> {
        let ground = &self.ground;
        let old = ground.control.view().lingering(&ground.gateway, self.id);
        if old.is_empty() {
            return Ok(());
        }
        if !ground.log.exclusive() {
            for writer in &old {
                ground.control.append(&ControlRecord::FenceIntent { writer: *writer }).await?;
            }
            tokio::time::sleep(ground.settings.lease * 2).await;
        }
        let view = ground.control.view();
        for writer in old {
            let fence = FrameHeader::bare(FrameKind::Fence, writer, 0, self.hlc.last());
            let fence = fence.encode(&[])?;
            for def in view.streams.values() {
                let topic = ground.control.stream_topic(&def.name);
                for partition in (0..def.partitions).map(PartitionId) {
                    let at = TopicPartition { topic: topic.clone(), partition };
                    ground.log.enqueue(&at, fence.clone()).await?.await?;
                }
            }
            ground.control.append(&ControlRecord::Fenced { writer }).await?;
            tracing::info!(writer = writer.0, "fenced an earlier run of this gateway");
        }
        Ok(())
    }
}

/// Follows a partition's watermark, looking at headers only.
struct HeaderFollower {
    machine: PartitionMachine,
    reader: Box<dyn tourbillon_log::LogReader>,
    position: Offset,
}

impl HeaderFollower {
    async fn start(
        ground: &Ground,
        def: &StreamDef,
        at: &TopicPartition,
    ) -> Result<Self, IngestError> {
        let newest = Chain::new(&ground.lake, &def.name, at.partition).newest().await?;
        let machine = match &newest {
            None => PartitionMachine::new(def.rules),
            Some(link) => {
                let body = &link.commit.body;
                PartitionMachine::restore(def.rules, &body.state, body.next_offset)
            }
        };
        let position = machine.next_offset();
        let range = ground.log.range(at).await?;
        if position < range.start || position > range.end {
            return Err(IngestError::LostLog { stream: def.name.clone() });
        }
        let reader = ground.log.read(at, position).await?;
        Ok(Self { machine, reader, position })
    }

    /// Takes every record below `end`, perhaps more, and returns the watermark.
    async fn follow_to(&mut self, end: Offset) -> Result<Hlc, IngestError> {
        while self.position < end {
            for record in self.reader.next().await? {
                let header = FrameHeader::decode(&record.payload).ok().map(|(header, _)| header);
                self.machine.apply(record.offset, record.append_time_ns, header.as_ref());
                self.position = record.offset.next();
            }
        }
        Ok(self.machine.watermark())
    }
}
