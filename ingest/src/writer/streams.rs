//! The streams of a writer, and their growth.
//!
//! A grown stream takes rows in its new partitions as soon as this writer has declared the new count
//! in the old ones. Rows that name their source wait longer: they
//! are cut by the new count only when every partition's cut has reached it (docs/PROTOCOL.md, 5),
//! and nothing is cut by the old one any more, because this writer declared the new one behind
//! all that it had queued.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::control::{ControlView, StreamDef};
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::hlc::{Hlc, HlcError};
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::machine::{PartitionMachine, SOURCE_EXPIRY_NS};
use tourbillon_log::TopicPartition;

use super::draft::Queued;
use super::follow::{HeaderFollower, PARALLEL_LOOKS};
use super::{Writer, lane, lease};
use crate::earlier::Earlier;
use crate::error::IngestError;

/// How long a request waits for its stream to be opened, or to settle after it grew.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause before something is tried again that may work a moment later.
const PAUSE: Duration = Duration::from_millis(50);

type Lane = mpsc::Sender<Queued>;

/// A stream, open in as many partitions as it has lanes.
#[derive(Clone, Debug)]
pub(crate) struct OpenStream {
    /// Queues of its partitions.
    pub(crate) lanes: Arc<[Lane]>,
    /// The partition count declared last in every lane. Changes under the writer's stamp lock.
    declared: Arc<AtomicU32>,
    /// Whether no partition takes rows cut by fewer partitions any more.
    settled: bool,
    /// What had landed of those by then.
    pub(crate) earlier: Arc<Earlier>,
}

impl OpenStream {
    /// How many partitions it has.
    pub(crate) fn partitions(&self) -> u32 {
        u32::try_from(self.lanes.len()).unwrap_or(u32::MAX)
    }

    /// Whether its count stands in every lane: before that no row may be cut by it, because the
    /// stamps of a new partition's rows must lie above the declaration in the old ones. Readers
    /// that know only those learn from it that there is more.
    fn is_declared(&self) -> bool {
        self.declared.load(Ordering::Relaxed) >= self.partitions()
    }

    /// Whether the stream grew since. Ask under the writer's stamp lock.
    pub(crate) fn is_outdated(&self) -> bool {
        self.declared.load(Ordering::Relaxed) != self.partitions() && !broken(Rule::CutsAgree)
    }
}

impl Writer {
    /// Opens what `view` names and is not open yet. A view that fences this writer is the last
    /// that it looks at: whoever fences looks for partitions in a later one.
    pub(super) async fn open_streams(
        self: &Arc<Self>,
        view: &ControlView,
    ) -> Result<(), IngestError> {
        lease::look(self, view)?;
        try_join_all(view.streams.values().map(|def| self.open_stream(def))).await?;
        Ok(())
    }

    /// Partitions are opened in ascending order: a new one only by a writer that is open in all
    /// older ones, so that the stream's watermark cannot fall.
    async fn open_stream(self: &Arc<Self>, def: &Arc<StreamDef>) -> Result<(), IngestError> {
        let known = self.streams.borrow().get(&def.name).cloned();
        let old = known.as_ref().map_or(&[][..], |open| &open.lanes);
        if old.len() >= def.partitions as usize {
            return Ok(());
        }
        let mut lanes = old.to_vec();
        let mut followers: Vec<_> = old.iter().map(|_| None).collect();
        // to find out where to begin takes longest, and may be done in any order
        let new = (0..def.partitions).skip(old.len()).map(PartitionId);
        let mut begun = stream::iter(new.map(|partition| self.at(def, partition)))
            .map(|at| HeaderFollower::start(&self.env, def, at))
            .buffered(PARALLEL_LOOKS);
        while let Some(follower) = begun.try_next().await? {
            let (lane, follower) = self.open_partition(def, follower).await?;
            lanes.push(lane);
            followers.push(Some(follower));
        }
        drop(begun);
        let declared = known.as_ref().map(|open| Arc::clone(&open.declared));
        let open = OpenStream {
            lanes: lanes.into(),
            declared: declared.unwrap_or_else(|| Arc::new(AtomicU32::new(def.partitions))),
            settled: false,
            earlier: Arc::default(),
        };
        // first, so that nobody goes on by the old count in a circle
        self.streams.send_modify(|streams| {
            streams.insert(def.name.clone(), open.clone());
        });
        self.declare(&open, old).await?;
        // whoever waits for the declaration looks again
        self.streams.send_modify(|_| {});
        let settling = Arc::clone(self).settle(Arc::clone(def), followers);
        tokio::spawn(self.attend(settling));
        Ok(())
    }

    fn at(&self, def: &StreamDef, partition: PartitionId) -> TopicPartition {
        TopicPartition {
            topic: self.env.control.stream_topic(&def.name),
            partition,
        }
    }

    async fn open_partition(
        self: &Arc<Self>,
        def: &StreamDef,
        mut follower: HeaderFollower,
    ) -> Result<(Lane, HeaderFollower), IngestError> {
        let at = follower.at().clone();
        let range = self.env.log.range(&at).await;
        follower
            .through(range.map_err(|e| self.log_failed("read", &at, e))?.end)
            .await?;
        let clock = self.stamps.clock();
        self.raise_above(follower.machine().watermark());
        let cut = def.partitions;
        let header = FrameHeader::bare(FrameKind::Open, self.id, 0, clock.last());
        let frame = header.cut_by(cut).encode(&[]);
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
        let lane = lane::run(Arc::clone(self), at, def.rules, cut, queue);
        self.drained.spawn(self.attend(lane));
        Ok((sender, follower))
    }

    fn raise_above(&self, watermark: Hlc) {
        if !broken(Rule::RaiseAboveWatermark) {
            self.stamps.clock().raise(watermark);
        }
    }

    /// Declares the new count in the old lanes, in all of them at once: a request's rows are
    /// queued before the declaration in every lane, or in none.
    async fn declare(&self, open: &OpenStream, old: &[Lane]) -> Result<(), IngestError> {
        if old.is_empty() {
            return Ok(());
        }
        let partitions = open.partitions();
        loop {
            let mut permits = Vec::with_capacity(old.len());
            for lane in old {
                match lane.reserve().await {
                    Ok(permit) => permits.push(permit),
                    // CLOSE comes next
                    Err(_) if self.closing.is_cancelled() => return Ok(()),
                    Err(_) => return Err(IngestError::NotReady),
                }
            }
            let declared = self.stamps.take(1, |hlc| {
                for permit in permits {
                    permit.send(Queued::Cut { hlc, partitions });
                }
                open.declared.store(partitions, Ordering::Relaxed);
            });
            match declared {
                // the wall has to catch up
                Err(HlcError::AheadOfWall { .. }) => sleep(PAUSE).await,
                declared => return Ok(declared?),
            }
        }
    }

    /// Follows every partition until its cut is as high as the stream's count, and then lets
    /// rows with a source go on. `followers` are those at hand.
    async fn settle(
        self: Arc<Self>,
        def: Arc<StreamDef>,
        followers: Vec<Option<HeaderFollower>>,
    ) -> Result<(), IngestError> {
        let partitions = (0..).map(PartitionId).zip(followers);
        let settling = partitions.map(|(partition, follower)| {
            let at = self.at(&def, partition);
            self.settle_partition(&def, at, follower)
        });
        let machines = try_join_all(settling).await?;
        let mut earlier = Earlier::default();
        for (partition, machine) in (0..).map(PartitionId).zip(&machines) {
            earlier.learn(partition, machine);
        }
        drop(machines);
        self.settled_with(&def, earlier);
        // by then all of it has expired
        sleep(Duration::from_nanos(SOURCE_EXPIRY_NS.unsigned_abs())).await;
        self.settled_with(&def, Earlier::default());
        Ok(())
    }

    async fn settle_partition(
        &self,
        def: &StreamDef,
        at: TopicPartition,
        follower: Option<HeaderFollower>,
    ) -> Result<PartitionMachine, IngestError> {
        let mut at_hand = follower;
        loop {
            let reading = async {
                let mut follower = match at_hand.take() {
                    Some(follower) => follower,
                    None => HeaderFollower::start(&self.env, def, at.clone()).await?,
                };
                let settled = |machine: &PartitionMachine| machine.cut() >= def.partitions;
                follower.until(settled).await?;
                Ok::<_, IngestError>(follower.into_machine())
            };
            match reading.await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(error = error_chain(&error), "cannot follow a growth yet");
                    sleep(PAUSE).await;
                }
                settled => return settled,
            }
        }
    }

    fn settled_with(&self, def: &StreamDef, earlier: Earlier) {
        self.streams.send_modify(|streams| {
            // if it has grown again, another task waits for that
            let open = streams.get_mut(&def.name);
            if let Some(open) = open.filter(|open| open.partitions() == def.partitions) {
                open.settled = true;
                open.earlier = Arc::new(earlier);
            }
        });
    }

    /// A stream that is open in `partitions` partitions or more, as soon as it is.
    pub(crate) async fn open(
        &self,
        stream: &StreamName,
        partitions: u32,
    ) -> Result<OpenStream, IngestError> {
        self.wait_for(stream, |open| {
            open.partitions() >= partitions && open.is_declared()
        })
        .await
    }

    /// The same, as soon as rows with a source can be cut by its count.
    pub(crate) async fn settled(
        &self,
        stream: &StreamName,
        partitions: u32,
    ) -> Result<OpenStream, IngestError> {
        let settled = |open: &OpenStream| open.settled || broken(Rule::CutsAgree);
        self.wait_for(stream, |open| {
            open.partitions() >= partitions && settled(open)
        })
        .await
    }

    async fn wait_for(
        &self,
        stream: &StreamName,
        wanted: impl Fn(&OpenStream) -> bool + Send + Sync,
    ) -> Result<OpenStream, IngestError> {
        let mut streams = self.streams.subscribe();
        let wanted = |open: &&OpenStream| wanted(open);
        let ready = streams.wait_for(|streams| streams.get(stream).filter(wanted).is_some());
        let opening = || IngestError::Opening(stream.clone());
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Err(IngestError::NotReady),
            ready = timeout(PATIENCE, ready) => {
                let streams = ready.ok().and_then(Result::ok).ok_or_else(opening)?;
                streams.get(stream).cloned().ok_or_else(opening)
            }
        }
    }
}
