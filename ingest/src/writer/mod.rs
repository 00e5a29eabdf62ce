//! One incarnation of a gateway: joined, holding a lease, open in every partition.
//!
//! Its tasks (lease keeper, stream opener, fencer, one lane a partition) report the first error
//! through [`Writer::end`], which stops them all; a writer never comes back. [`Writer::leave`]
//! drains instead: CLOSE in every partition, then LEAVE.

mod draft;
mod fence;
mod follow;
mod lane;
mod lease;
mod stamps;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::control::{ControlRecord, ControlView, StreamDef};
use tourbillon_core::error::error_chain;
use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{PartitionId, StreamName, WriterId};
use tourbillon_log::{LogError, TopicPartition, watch};

pub(crate) use draft::{Done, Message};
use follow::HeaderFollower;
pub(crate) use lease::Lease;
pub(crate) use stamps::Stamps;

use crate::error::IngestError;
use crate::metrics;
use crate::settings::{Environment, GatewaySettings};

/// How long a request waits for its stream to be opened.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// How long a leaving writer waits for the log to take what is queued.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);

/// Queues of a stream's partitions.
pub(crate) type Lanes = Arc<[mpsc::Sender<Message>]>;

/// A writer.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) id: WriterId,
    pub(crate) stamps: Stamps,
    pub(crate) lease: Lease,
    env: Environment,
    settings: Arc<GatewaySettings>,
    lanes: watch::Sender<BTreeMap<StreamName, Lanes>>,
    closing: CancellationToken,
    ended: CancellationToken,
    /// The lanes.
    drained: TaskTracker,
}

impl Writer {
    /// Joins as incarnation `number` of this process, with stamps above `floor`, and opens every
    /// stream there is.
    pub(crate) async fn join(
        env: Environment,
        settings: Arc<GatewaySettings>,
        number: u64,
        floor: Hlc,
    ) -> Result<Arc<Self>, IngestError> {
        let nonce = format!("{}-{number}", settings.nonce);
        let join = ControlRecord::Join {
            gateway: settings.name.clone(),
            nonce,
            lease_ns: i64::try_from(settings.lease.as_nanos()).unwrap_or(i64::MAX),
        };
        let joined = env
            .control
            .append(&join)
            .await
            .map_err(IngestError::ControlTopic)?;
        let id =
            u32::try_from(joined.offset.0).map_err(|_| IngestError::WriterIds(joined.offset))?;
        let writer = Arc::new(Self {
            id: WriterId(id),
            stamps: Stamps::new(Arc::clone(&env.clock), settings.clock, floor),
            lease: Lease::new(Arc::clone(&env.clock), settings.lease),
            env,
            settings,
            lanes: watch::Sender::default(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            drained: TaskTracker::new(),
        });
        // whether joining fails or is given up, its tasks stop
        let unfinished = writer.ended.clone().drop_guard();
        writer.begin().await?;
        unfinished.disarm();
        Ok(writer)
    }

    async fn begin(self: &Arc<Self>) -> Result<(), IngestError> {
        lease::renew(self, 0).await?;
        tokio::spawn(self.attend(lease::keep(Arc::clone(self))));
        let mut views = self.env.control.subscribe();
        let view = Arc::clone(&views.borrow_and_update());
        fence::fence_own(self).await?;
        self.open_streams(&view).await?;
        tokio::spawn(self.attend(fence::fence_others(Arc::clone(self))));
        let writer = Arc::clone(self);
        tokio::spawn(self.attend(async move {
            while views.changed().await.is_ok() {
                let view = Arc::clone(&views.borrow_and_update());
                writer.open_streams(&view).await?;
            }
            Ok(())
        }));
        Ok(())
    }

    /// A task that stops with the writer, and whose error ends it.
    fn attend<T>(self: &Arc<Self>, task: T) -> impl Future<Output = ()> + use<T>
    where
        T: Future<Output = Result<(), IngestError>>,
    {
        let writer = Arc::clone(self);
        async move {
            let outcome = tokio::select! {
                biased;
                () = writer.ended.cancelled() => return,
                outcome = task => outcome,
            };
            if let Err(error) = outcome {
                writer.end(&error);
            }
        }
    }

    /// Ends the writer.
    pub(crate) fn end(&self, error: &IngestError) {
        if !self.ended.is_cancelled() {
            tracing::error!(
                writer = self.id.0,
                error = error_chain(error),
                "writer ended"
            );
            metrics::writer_ended();
        }
        self.ended.cancel();
    }

    /// Resolves when the writer has ended.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Opens what `view` names and is not open yet. A view that fences this writer is the last
    /// that it looks at: whoever fences looks for partitions in a later one.
    async fn open_streams(self: &Arc<Self>, view: &ControlView) -> Result<(), IngestError> {
        lease::look(self, view)?;
        try_join_all(view.streams.values().map(|def| self.open_stream(def))).await?;
        Ok(())
    }

    /// Partitions are opened in ascending order: a new one only by a writer that is open in all
    /// older ones, so that the stream's watermark cannot fall.
    async fn open_stream(self: &Arc<Self>, def: &StreamDef) -> Result<(), IngestError> {
        let open = self.lanes.borrow().get(&def.name).map(Arc::clone);
        let mut lanes = open.map_or_else(Vec::new, |lanes| lanes.to_vec());
        if lanes.len() >= def.partitions as usize {
            return Ok(());
        }
        let topic = self.env.control.stream_topic(&def.name);
        for partition in (0..def.partitions).skip(lanes.len()).map(PartitionId) {
            let at = TopicPartition {
                topic: topic.clone(),
                partition,
            };
            lanes.push(self.open_partition(def, at).await?);
        }
        self.lanes.send_modify(|open| {
            open.insert(def.name.clone(), lanes.into());
        });
        Ok(())
    }

    async fn open_partition(
        self: &Arc<Self>,
        def: &StreamDef,
        at: TopicPartition,
    ) -> Result<mpsc::Sender<Message>, IngestError> {
        let mut follower = HeaderFollower::start(&self.env, def, at.clone()).await?;
        let range = self.env.log.range(&at).await;
        follower
            .through(range.map_err(|e| self.log_failed("read", &at, e))?.end)
            .await?;
        let clock = self.stamps.clock();
        self.raise_above(follower.machine().watermark());
        let frame = FrameHeader::bare(FrameKind::Open, self.id, 0, clock.last()).encode(&[]);
        let frame = frame.map_err(|source| IngestError::Frame {
            at: at.clone(),
            source,
        })?;
        let failed = |source| self.log_failed("open", &at, source);
        let opened = self
            .env
            .log
            .enqueue(&at, frame)
            .await
            .map_err(failed)?
            .await
            .map_err(failed)?;
        follower.through(opened.offset.next()).await?;
        if !follower.machine().is_open(self.id) {
            return Err(IngestError::NotOpened {
                writer: self.id,
                at,
            });
        }
        self.raise_above(follower.machine().watermark());
        let (sender, queue) = mpsc::channel(lane::MAX_QUEUED_MESSAGES);
        let lane = lane::run(Arc::clone(self), at, def.rules, queue);
        self.drained.spawn(self.attend(lane));
        Ok(sender)
    }

    fn raise_above(&self, watermark: Hlc) {
        if !broken(Rule::RaiseAboveWatermark) {
            self.stamps.clock().raise(watermark);
        }
    }

    /// The queues of a stream's first `partitions` partitions or more, as soon as they are open.
    pub(crate) async fn lanes(
        &self,
        stream: &StreamName,
        partitions: u32,
    ) -> Result<Lanes, IngestError> {
        let mut open = self.lanes.subscribe();
        let enough = |lanes: &&Lanes| lanes.len() >= partitions as usize;
        let ready = open.wait_for(|open| open.get(stream).filter(enough).is_some());
        let opening = || IngestError::Opening(stream.clone());
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Err(IngestError::NotReady),
            ready = timeout(OPEN_PATIENCE, ready) => {
                let open = ready.ok().and_then(Result::ok).ok_or_else(opening)?;
                open.get(stream).map(Arc::clone).ok_or_else(opening)
            }
        }
    }

    /// Drains every lane, closes every partition and leaves. Takes nothing new from then on. If
    /// the log does not take what is queued, it gives up, and the next writer fences this one.
    pub(crate) async fn leave(&self) {
        self.closing.cancel();
        self.drained.close();
        if timeout(DRAIN_PATIENCE, self.drained.wait()).await.is_err() {
            self.end(&IngestError::Indeterminate);
        }
        if self.ended.is_cancelled() {
            return;
        }
        let left = self
            .env
            .control
            .append(&ControlRecord::Leave { writer: self.id })
            .await;
        if let Err(error) = left {
            tracing::warn!(
                error = error_chain(&error),
                "could not leave; the next writer fences"
            );
        }
        self.ended.cancel();
    }

    fn log_failed(&self, step: &'static str, at: &TopicPartition, source: LogError) -> IngestError {
        IngestError::Log {
            step,
            at: at.clone(),
            source: Box::new(source),
        }
    }
}
