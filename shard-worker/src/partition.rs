//! One partition's pipeline: follow, cut, encode and upload in parallel, commit in order.
//!
//! ```text
//! log -> Follower -> Sealer -> [plans] -> encode + upload (2 at a time) -> chain, in order
//! ```
//!
//! Everything up to the chain is a pure function of the log, so a crash at any point only means
//! that the same bytes are made again. Data objects stand before the commit that names them.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::control::StreamDef;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::{ChainTip, Commit, CommitBody, SegmentMeta};
use tourbillon_core::replica::Replica;
use tourbillon_core::sealer::{CommitPlan, Sealer};
use tourbillon_lake::{Appended, Chain, EncodedSegment, Lake, LakeError};
use tourbillon_log::control::ControlTopic;
use tourbillon_log::follow::{Follower, as_record};
use tourbillon_log::{Log, TopicPartition};

use crate::encode::encode;
use crate::error::{Cause, WorkerError};
use crate::metrics;
use crate::progress::Progress;

/// Commits that may wait for their upload; beyond, reading the log pauses.
const MAX_PLANS: usize = 2;

/// Commits whose objects are encoded and uploaded at the same time.
pub(crate) const PARALLEL_UPLOADS: usize = 2;

/// What a partition's work needs.
#[derive(Clone, Debug)]
pub(crate) struct PartitionJob {
    pub(crate) stream: StreamName,
    pub(crate) partition: PartitionId,
    pub(crate) at: TopicPartition,
    pub(crate) def: Arc<StreamDef>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) lake: Lake,
    pub(crate) control: ControlTopic,
    pub(crate) nonce: String,
    pub(crate) grace: Duration,
    pub(crate) progress: Arc<Progress>,
}

impl PartitionJob {
    /// Works until `stop`, finishing the upload in hand.
    pub(crate) async fn run(&self, stop: CancellationToken) -> Result<(), WorkerError> {
        let begun = tokio::select! {
            biased;
            // nothing is in hand yet
            () = stop.cancelled() => return Ok(()),
            begun = self.begin() => begun?,
        };
        self.work(begun, stop).await
    }

    /// Where the newest commit left off.
    async fn begin(&self) -> Result<(Replica, Sealer, ChainTip), WorkerError> {
        let chain = Chain::new(&self.lake, &self.stream, self.partition);
        let newest = chain
            .newest_kept()
            .await
            .map_err(|e| self.failed("read the commit chain", e))?;
        let rules = self.def.rules;
        Ok(match &newest {
            None => {
                let sealer = Sealer::new(self.stream.clone(), self.partition, self.def.window_ns);
                (Replica::new(rules), sealer, ChainTip::EMPTY)
            }
            Some(link) => {
                let body = &link.commit.body;
                self.progress.resumed(body);
                let sealer = Sealer::resume(self.stream.clone(), self.def.window_ns, body);
                (Replica::resume(rules, body), sealer, link.tip)
            }
        })
    }

    /// Works from a point of the log on, until `stop`.
    pub(crate) async fn work(
        &self,
        (replica, sealer, tip): (Replica, Sealer, ChainTip),
        stop: CancellationToken,
    ) -> Result<(), WorkerError> {
        let chain = Chain::new(&self.lake, &self.stream, self.partition);
        let control = self.control.clone();
        let follower = Follower::start(
            &*self.log,
            self.at.clone(),
            replica,
            control,
            self.stream.clone(),
        )
        .await
        .map_err(|e| self.failed("follow the log", e))?;
        let (plans, due) = mpsc::channel(MAX_PLANS);
        let reading = self.read(follower, sealer, plans, stop);
        let writing = self.write(chain, tip, due);
        tokio::try_join!(reading, writing)?;
        Ok(())
    }

    async fn read(
        &self,
        mut follower: Follower,
        mut sealer: Sealer,
        plans: mpsc::Sender<(Arc<StreamDef>, CommitPlan)>,
        stop: CancellationToken,
    ) -> Result<(), WorkerError> {
        // where the newest commit reaches the log's end there may be nothing to read for long
        self.progress
            .followed(follower.replica(), sealer.open_rows());
        loop {
            let records = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                records = follower.read() => records,
            };
            for record in &records.map_err(|e| self.failed("read the log", e))? {
                let applied = follower.apply(record).await;
                let applied = applied.map_err(|e| self.failed("apply a record", e))?;
                metrics::refused(&self.at, applied.verdict.as_ref());
                let def = Arc::clone(follower.def());
                let plan = sealer
                    .step(as_record(record), applied, follower.replica(), def.as_ref())
                    .map_err(|e| self.failed("seal rows", e))?;
                let Some(plan) = plan else { continue };
                if plans.send((def, plan)).await.is_err() {
                    return Ok(());
                }
            }
            self.progress
                .followed(follower.replica(), sealer.open_rows());
        }
    }

    async fn write(
        &self,
        chain: Chain,
        mut tip: ChainTip,
        plans: mpsc::Receiver<(Arc<StreamDef>, CommitPlan)>,
    ) -> Result<(), WorkerError> {
        let due = stream::unfold(plans, |mut plans| async move {
            plans.recv().await.map(|plan| (plan, plans))
        });
        let mut ready = due
            .map(|(def, plan)| self.upload(def, plan))
            .buffered(PARALLEL_UPLOADS)
            .boxed();
        // when this worker last saw the chain's end: what it puts soon after cannot be outlived,
        // because a boundary stands for the grace before anything goes
        let mut seen = Instant::now();
        while let Some(body) = ready.next().await {
            let body = body?;
            let commit = Commit::link(body, &tip, self.nonce.clone())
                .map_err(|e| self.failed("make a commit", e))?;
            let appended = chain.append(&commit).await;
            tip = match appended.map_err(|e| self.failed("append a commit", e))? {
                Appended::Mine(tip) => {
                    if seen.elapsed() >= self.grace / 2 {
                        self.outlive(&chain, &commit.body).await?;
                    }
                    tip
                }
                Appended::Adopted(link) => {
                    self.clear_orphans(&commit.body).await?;
                    link.tip
                }
            };
            seen = Instant::now();
            metrics::committed(&self.at, commit.body.segments.len());
            self.progress.committed(&commit.body);
        }
        Ok(())
    }

    /// A commit that retention has let go of was put by a worker that slept for ages: it and its
    /// segments go again, and the partition begins where the others are.
    async fn outlive(&self, chain: &Chain, commit: &CommitBody) -> Result<(), WorkerError> {
        let boundaries = Chain::boundaries(&self.lake, &self.stream, self.partition);
        let newest = boundaries.standing().await;
        let newest = newest.map_err(|e| self.failed("read the boundary", e))?;
        let kept = newest.and_then(|link| link.commit.body.kept);
        if kept.is_none_or(|kept| kept.commits.next_seq <= commit.seq) {
            return Ok(());
        }
        self.clear_orphans(commit).await?;
        let removed = chain.remove_outlived(commit.seq).await;
        removed.map_err(|e| self.failed("remove a commit that came too late", e))?;
        let path = chain.path(commit.seq).to_string();
        Err(self.failed("append a commit", LakeError::Overtaken { path }))
    }

    /// Another worker was first. If it was long ago, the segments that were just stored again are
    /// in a compacted file, or gone.
    async fn clear_orphans(&self, commit: &CommitBody) -> Result<(), WorkerError> {
        let cleared = self
            .lake
            .clear_orphans(&self.stream, self.partition, &commit.segments);
        cleared
            .await
            .map_err(|e| self.failed("remove segments that came too late", e))
    }

    async fn store(&self, segment: EncodedSegment) -> Result<SegmentMeta, LakeError> {
        if broken(Rule::DataBeforeCommit) {
            let (lake, stream, meta) =
                (self.lake.clone(), self.stream.clone(), segment.meta.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                drop(lake.put_segment(&stream, &segment).await);
            });
            return Ok(meta);
        }
        self.lake.put_segment(&self.stream, &segment).await
    }

    /// Writes what a commit names, all but the commit itself.
    async fn upload(
        &self,
        def: Arc<StreamDef>,
        plan: CommitPlan,
    ) -> Result<CommitBody, WorkerError> {
        let mut body = plan.body;
        for rows in plan.segments {
            let segment = encode(Arc::clone(&def), self.partition, rows).await;
            let segment = segment.map_err(|e| self.failed("encode a segment", e))?;
            let stored = self.store(segment).await;
            body.segments
                .push(stored.map_err(|e| self.failed("store a segment", e))?);
        }
        if !plan.rejects.is_empty() {
            let stored = self
                .lake
                .put_rejects(&self.stream, self.partition, body.seq, &plan.rejects)
                .await;
            body.rejects = Some(stored.map_err(|e| self.failed("store rejected frames", e))?);
        }
        Ok(body)
    }

    fn failed(&self, step: &'static str, cause: impl Into<Cause>) -> WorkerError {
        let (stream, partition) = (self.stream.clone(), self.partition);
        WorkerError {
            stream,
            partition,
            step,
            cause: cause.into(),
        }
    }
}
