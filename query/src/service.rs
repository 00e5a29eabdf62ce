//! The query service: a reader of every partition, and what they know together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tourbillon_core::control::{ControlRecord, ControlView, StreamDef, WriterPhase};
use tourbillon_core::error::error_chain;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId, StreamName, WriterId};
use tourbillon_lake::Lake;
use tourbillon_log::control::ControlTopic;
use tourbillon_log::{Log, TopicPartition, watch};

use crate::error::{Holder, QueryError};
use crate::follow::PartitionTask;
use crate::partition::Partition;
use crate::subscribe::{Hubs, MAX_SUBSCRIBERS};
use crate::token::{Positions, Token, positions};

type Partitions = BTreeMap<(StreamName, PartitionId), Arc<Partition>>;

/// What had caught up with the log when somebody asked.
#[derive(Debug, Default)]
struct Ready {
    /// Whether everything has, once.
    once: bool,
    partitions: BTreeSet<(StreamName, PartitionId)>,
}

/// A running query service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueryService {
    pub(crate) lake: Lake,
    pub(crate) log: Arc<dyn Log>,
    control: ControlTopic,
    partitions: Arc<Mutex<Partitions>>,
    bell: watch::Sender<()>,
    stop: CancellationToken,
    /// Ends subscriptions, which would go on for ever; with `stop` or before it.
    pub(crate) farewell: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Places for subscribers.
    pub(crate) seats: Arc<Semaphore>,
    /// What subscribers share.
    pub(crate) hubs: Arc<Hubs>,
    ready: Arc<Mutex<Ready>>,
}

impl QueryService {
    /// Starts to follow every partition of every stream, present and future.
    pub fn start(log: Arc<dyn Log>, lake: Lake, control: ControlTopic) -> Self {
        let stop = CancellationToken::new();
        let service = Self {
            lake,
            log,
            control,
            partitions: Arc::default(),
            bell: watch::Sender::new(()),
            farewell: stop.child_token(),
            stop,
            tasks: TaskTracker::new(),
            seats: Arc::new(Semaphore::new(MAX_SUBSCRIBERS)),
            hubs: Arc::default(),
            ready: Arc::default(),
        };
        let assigner = service.clone();
        service
            .tasks
            .spawn(async move { assigner.assign_all().await });
        let observer = service.clone();
        service.tasks.spawn(async move {
            tokio::select! {
                () = observer.stop.cancelled() => {}
                () = observer.observe() => {}
            }
        });
        service
    }

    /// Ends all subscriptions with their cursors, and takes no new ones. Other answers go on.
    pub fn end_subscriptions(&self) {
        self.farewell.cancel();
    }

    /// Stops following. Answers under way end by themselves.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn assign_all(&self) {
        let mut views = self.control.subscribe();
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            for def in view.streams.values() {
                self.assign(def);
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                changed = views.changed() => if changed.is_err() { return },
            }
        }
    }

    fn assign(&self, def: &Arc<StreamDef>) {
        let mut partitions = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for number in (0..def.partitions).map(PartitionId) {
            let key = (def.name.clone(), number);
            if partitions.contains_key(&key) {
                continue;
            }
            let topic = self.control.stream_topic(&def.name);
            let at = TopicPartition {
                topic,
                partition: number,
            };
            let partition = Arc::new(Partition::new(number, at));
            partitions.insert(key, Arc::clone(&partition));
            let task = PartitionTask {
                partition,
                def: Arc::clone(def),
                log: Arc::clone(&self.log),
                lake: self.lake.clone(),
                control: self.control.clone(),
                bell: self.bell.clone(),
                stop: self.stop.clone(),
            };
            self.tasks.spawn(task.run());
        }
    }

    /// Rung whenever a partition has been followed further.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// What the control topic says.
    pub fn control_view(&self) -> Arc<ControlView> {
        self.control.view()
    }

    /// Announces that a writer is to be fenced; a worker finishes it after twice its lease.
    pub(crate) async fn fence(&self, writer: WriterId) -> Result<WriterPhase, QueryError> {
        self.control.catch_up().await?;
        let phase = |view: &ControlView| view.writers.get(&writer).map(|info| info.phase);
        let now = phase(&self.control.view()).ok_or(QueryError::UnknownWriter(writer.0))?;
        if now != WriterPhase::Joined {
            return Ok(now);
        }
        let intent = ControlRecord::FenceIntent { writer };
        self.control.append(&intent).await?;
        phase(&self.control.view()).ok_or(QueryError::UnknownWriter(writer.0))
    }

    /// A stream by name, even if it was made elsewhere a moment ago.
    pub async fn find(&self, stream: &str) -> Result<Arc<StreamDef>, QueryError> {
        let unknown = || QueryError::UnknownStream(stream.chars().take(128).collect());
        let name = StreamName::new(stream).map_err(|_| unknown())?;
        let known = |view: &ControlView| view.streams.get(&name).map(Arc::clone);
        if let Some(def) = known(&self.control.view()) {
            return Ok(def);
        }
        self.control.catch_up().await?;
        known(&self.control.view()).ok_or_else(unknown)
    }

    /// The stream, read again if the client has been told of more than this node knows of it.
    pub(crate) async fn as_new_as(
        &self,
        def: Arc<StreamDef>,
        pairs: &[(String, String)],
    ) -> Result<Arc<StreamDef>, QueryError> {
        let newer = |(name, value): &(String, String)| match name.as_str() {
            "snapshot" | "cursor" => value.parse::<Token>().is_ok_and(|t| !t.fits(&def)),
            "at_least" => positions(value)
                .is_ok_and(|positions| positions.keys().any(|p| p.0 >= def.partitions)),
            _ => false,
        };
        match pairs.iter().any(newer) {
            true => self.newest(&def).await,
            false => Ok(def),
        }
    }

    /// The stream as the control topic has it by now.
    pub(crate) async fn newest(&self, def: &StreamDef) -> Result<Arc<StreamDef>, QueryError> {
        self.control.catch_up().await?;
        let found = self.control.view().streams.get(&def.name).map(Arc::clone);
        found.ok_or_else(|| QueryError::UnknownStream(def.name.as_str().to_owned()))
    }

    /// The newest version of a stream that this node has heard of.
    pub(crate) fn known(&self, def: &Arc<StreamDef>) -> Arc<StreamDef> {
        let view = self.control.view();
        let now = view.streams.get(&def.name);
        let now = now.filter(|now| now.partitions >= def.partitions);
        Arc::clone(now.unwrap_or(def))
    }

    /// How many partitions the stream has by now.
    fn known_partitions(&self, def: &StreamDef) -> u32 {
        let view = self.control.view();
        let now = view.streams.get(&def.name);
        now.map_or(def.partitions, |now| now.partitions.max(def.partitions))
    }

    /// The partitions that the stream has by now, by number.
    pub(crate) fn partitions(&self, def: &StreamDef) -> Result<Vec<Arc<Partition>>, QueryError> {
        let count = self.known_partitions(def);
        let partitions = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let of = |partition: u32| {
            let found = partitions.get(&(def.name.clone(), PartitionId(partition)));
            let stream = || def.name.as_str().to_owned();
            let unknown = || QueryError::CatchingUp {
                stream: stream(),
                partition,
            };
            found.map(Arc::clone).ok_or_else(unknown)
        };
        (0..count).map(of).collect()
    }

    /// Whether every partition has caught up with the log once and none has stopped.
    pub fn is_ready(&self) -> bool {
        self.hindrance().is_none()
    }

    /// Which partition has not caught up with the log yet, or why it has stopped. One that came
    /// later and never has is no reason: every node would be out of work at once whenever a stream
    /// is made.
    pub fn hindrance(&self) -> Option<String> {
        let view = self.control.view();
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let mut behind = None;
        for def in view.streams.values() {
            let of_stream = |number| (def.name.clone(), PartitionId(number));
            match self.complete_through(def) {
                Ok(_) => ready.partitions.extend((0..def.partitions).map(of_stream)),
                Err(QueryError::CatchingUp { partition, .. })
                    if ready.once && !ready.partitions.contains(&of_stream(partition)) => {}
                Err(error) => behind = behind.or(Some(error)),
            }
        }
        ready.once |= behind.is_none();
        behind.map(|behind| error_chain(&behind))
    }

    /// T: how far the stream is complete. Unknown for the moment in which a stream that has begun
    /// gains partitions which have not: T never falls.
    pub fn complete_through(&self, def: &StreamDef) -> Result<Hlc, QueryError> {
        loop {
            let known = self.known_partitions(def);
            let complete = self.lowest_watermark(def)?;
            // a watermark that stands behind a growth is shown only once the growth is known
            if self.known_partitions(def) == known {
                return Ok(complete);
            }
        }
    }

    fn lowest_watermark(&self, def: &StreamDef) -> Result<Hlc, QueryError> {
        let (stream, partitions) = (def.name.as_str(), self.partitions(def)?);
        let (mut lowest, mut begun, mut fresh) = (None, false, None);
        for partition in &partitions {
            let watermark = partition.watermark(stream)?;
            match watermark > Hlc::MIN {
                true => begun = true,
                false => fresh = Some(partition.number.0),
            }
            lowest = Some(lowest.map_or(watermark, |lowest: Hlc| lowest.min(watermark)));
        }
        match fresh {
            Some(partition) if begun => Err(QueryError::CatchingUp {
                stream: stream.to_owned(),
                partition,
            }),
            _ => Ok(lowest.unwrap_or(Hlc::MIN)),
        }
    }

    /// Waits until the stream is complete through `through`; T at the end, reached or not.
    pub(crate) async fn wait_complete(
        &self,
        def: &StreamDef,
        through: Hlc,
        until: Instant,
    ) -> Result<Hlc, QueryError> {
        let mut bell = self.bell.subscribe();
        loop {
            let complete = self.complete_through(def);
            match &complete {
                Ok(complete) if *complete >= through => return Ok(*complete),
                Ok(_) | Err(QueryError::CatchingUp { .. }) => {}
                Err(_) => return complete,
            }
            if timeout_at(until, bell.changed()).await.is_err() {
                return complete;
            }
        }
    }

    /// Waits until every partition is followed as far as `positions` say.
    pub(crate) async fn wait_reached(
        &self,
        def: &StreamDef,
        positions: &Positions,
        until: Instant,
    ) -> Result<(), QueryError> {
        let mut bell = self.bell.subscribe();
        loop {
            let reached = self.reached(def, positions);
            match &reached {
                Err(QueryError::CatchingUp { .. } | QueryError::Behind { .. }) => {}
                _ => return reached,
            }
            if timeout_at(until, bell.changed()).await.is_err() {
                return reached;
            }
        }
    }

    fn reached(&self, def: &StreamDef, positions: &Positions) -> Result<(), QueryError> {
        let (stream, partitions) = (def.name.as_str(), self.partitions(def)?);
        let wanted = |number| positions.get(&number).copied().unwrap_or(Offset(0));
        for partition in partitions {
            let wanted = wanted(partition.number);
            if wanted > Offset(0) {
                partition.view(stream, &(Hlc::MIN..Hlc::MIN), Some(wanted))?;
            }
        }
        Ok(())
    }

    /// The partitions and writers that keep the stream from being complete through `through`.
    pub(crate) fn holders(&self, def: &StreamDef, through: Hlc) -> Vec<Holder> {
        let partitions = self.partitions(def).unwrap_or_default();
        let summaries = partitions.iter().map(|p| (p.number, p.summary()));
        let behind = summaries.filter(|(_, summary)| summary.watermark < through);
        let holder = |(number, summary): (PartitionId, crate::partition::Summary)| Holder {
            partition: number.0,
            watermark: summary.watermark.0,
            writers: summary
                .members
                .iter()
                .filter(|(_, closed)| *closed < through)
                .map(|(writer, _)| writer.0)
                .collect(),
        };
        behind.map(holder).collect()
    }

    /// Segments in all commits, rows in them, and rows that are not in one yet.
    pub fn totals(&self, def: &StreamDef) -> Result<(usize, u64, u64), QueryError> {
        let summaries = self.partitions(def)?.into_iter().map(|p| p.summary());
        Ok(summaries.fold((0, 0, 0), |sum, s| {
            (
                sum.0 + s.segments,
                sum.1 + s.sealed_rows,
                sum.2 + s.tail_rows,
            )
        }))
    }
}
