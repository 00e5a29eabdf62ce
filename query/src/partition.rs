//! One partition as readers see it: segments in the store, and a tail of rows that are not there.
//!
//! Rows enter the tail when the log has them and leave it in the same step in which the segments
//! that hold them appear, so a reader who looks under the lock sees every row exactly once.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::ids::{Offset, PartitionId, WriterId};
use tourbillon_core::machine::Verdict;
use tourbillon_core::manifest::{Commit, RowCounts, SegmentMeta};
use tourbillon_core::open_rows::RowRun;
use tourbillon_core::replica::{Record, Replica};
use tourbillon_lake::{Chain, Lake};
use tourbillon_log::control::ControlTopic;
use tourbillon_log::follow::{FollowError, Follower, as_record};
use tourbillon_log::{Log, TopicPartition, watch};

use crate::error::QueryError;
use crate::rejects::Rejects;
use crate::tail::{self, Queue, Tail};

/// A partition, shared by its task and the readers.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) number: PartitionId,
    pub(crate) at: TopicPartition,
/// What is known of a partition.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    segments: Vec<Arc<SegmentMeta>>,
    sealed_key: Option<Key>,
    sealed_rows: u64,
    commits: u64,
    tail: Tail,
    watermark: Hlc,
    next_offset: Offset,
    members: Vec<(WriterId, Hlc)>,
    counts: RowCounts,
    rejects: Rejects,
    caught_up: bool,
    stopped: Option<String>,
}

/// What a partition shows of itself.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) commits: u64,
    pub(crate) segments: usize,
    pub(crate) sealed_rows: u64,
    pub(crate) tail_rows: u64,
    pub(crate) watermark: Hlc,
    pub(crate) next_offset: Offset,
    pub(crate) members: Vec<(WriterId, Hlc)>,
    pub(crate) counts: RowCounts,
    pub(crate) caught_up: bool,
    pub(crate) stopped: Option<String>,
}

    /// Segments that reach into the window, in key order.
/// Rows of a window in one partition, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) segments: Vec<Arc<SegmentMeta>>,
    /// Rows of the window that are in no segment, per writer, in key order.
    pub(crate) tails: Vec<Queue>,
    /// Rows at or above this offset are not part of the view.
impl View {
    /// The part of it that lies in a narrower window.
    pub(crate) fn within(&self, window: &Range<Hlc>) -> Self {
        let tails = self.tails.iter().map(|queue| tail::cut(queue, window));
        Self {
            segments: overlapping(&self.segments, window).to_vec(),
            tails: tails.filter(|queue| !queue.is_empty()).collect(),
            before: self.before,
        }
    }

    /// The lowest stamp in it and the highest; rows need not be there for every one of them.
    pub(crate) fn span(&self) -> Option<(Hlc, Hlc)> {
        let segments = self.segments.iter();
        let segments = segments.map(|s| (s.first_key.hlc, s.last_key.hlc));
        let tails = self.tails.iter().filter_map(tail::span);
        segments
            .chain(tails)
            .reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }
}

/// The segments, which follow one another, that reach into `window`.
fn overlapping<'a>(
    segments: &'a [Arc<SegmentMeta>],
    window: &Range<Hlc>,
) -> &'a [Arc<SegmentMeta>] {
    let from = segments.partition_point(|s| s.last_key.hlc < window.start);
    let to = segments.partition_point(|s| s.first_key.hlc < window.end);
    &segments[from..to.max(from)]
}

    pub(crate) before: Offset,
}

impl Partition {
    pub(crate) fn new(number: PartitionId, at: TopicPartition) -> Self {
        Self {
            number,
            at,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn summary(&self) -> Summary {
        let state = self.state();
        Summary {
            commits: state.commits,
            segments: state.segments.len(),
            sealed_rows: state.sealed_rows,
            tail_rows: state.tail.rows(),
            watermark: state.watermark,
            next_offset: state.next_offset,
            members: state.members.clone(),
            counts: state.counts,
            caught_up: state.caught_up,
            stopped: state.stopped.clone(),
        }
    }

    /// A look at the refused frames.
    pub(crate) fn rejects<T>(&self, look: impl FnOnce(&Rejects) -> T) -> T {
        look(&self.state().rejects)
    }

    pub(crate) fn refused(&self, record: Record<'_>, verdict: Option<&Verdict>) {
        if verdict.is_some_and(Verdict::is_rejected) {
            self.state().rejects.note(record, verdict);
        }
    }
        Ok(self.settled(stream)?.watermark)
    }

    /// The state, if it can be relied on.
    fn settled(&self, stream: &str) -> Result<MutexGuard<'_, State>, QueryError> {

    /// The watermark, or why there is none to rely on.
    pub(crate) fn watermark(&self, stream: &str) -> Result<Hlc, QueryError> {
        let state = self.state();
        let (stream, partition) = (stream.to_owned(), self.number.0);
        match (&state.stopped, state.caught_up) {
            (Some(reason), _) => Err(QueryError::Stopped {
                stream,
                partition,
                reason: reason.clone(),
            }),
            (None, false) => Err(QueryError::CatchingUp { stream, partition }),
            (None, true) => Ok(state),
        }
    }

    /// Everything that lies in a window, without copying rows. The partition may have begun anew
    /// since its watermark was looked at, and then it has no view to give.
    pub(crate) fn view(&self, stream: &str, window: &Range<Hlc>) -> Result<View, QueryError> {
        let state = self.settled(stream)?;
        Ok(View {
            segments: overlapping(&state.segments, window).to_vec(),
            tails: state.tail.within(window),
            before: state.next_offset,
        })
    }

    /// Begins anew with what the commit chain says.
    pub(crate) fn begin(&self, state: State) {
        *self.state() = state;
    }

    pub(crate) fn stop(&self, reason: String) {
        self.state().stopped = Some(reason);
    }

    pub(crate) fn followed(&self, runs: Vec<RowRun>, replica: &Replica, caught_up: bool) {
        let mut state = self.state();
        for mut run in runs {
            if let Some(sealed) = state.sealed_key {
                let gone = run.rows_through(sealed);
                run.rows = run.rows.slice(gone, run.rows.num_rows() - gone);
            }
            state.tail.push(run);
        }
        if replica.is_live() {
            state.watermark = replica.machine().watermark();
            state.next_offset = replica.machine().next_offset();
            state.members = replica.machine().members().collect();
            state.counts = replica.machine().counts();
            state.caught_up |= caught_up;
        }
    }

    fn committed(&self, commit: &Commit) {
        let body = &commit.body;
        let mut state = self.state();
        state
            .segments
            .extend(body.segments.iter().cloned().map(Arc::new));
        state.rejects.committed(body);
        state.sealed_key = body.sealed_key;
        state.sealed_rows = body.sealed_rows;
        state.commits = body.seq + 1;
        if let Some(sealed) = body.sealed_key.filter(|_| !broken(Rule::TailLeaves)) {
            state.tail.drop_through(sealed);
        }
    }
}

/// What a partition's task works with.
#[derive(Clone, Debug)]
pub(crate) struct PartitionTask {
    pub(crate) partition: Arc<Partition>,
    pub(crate) def: Arc<StreamDef>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) lake: Lake,
    pub(crate) control: ControlTopic,
    /// Rung whenever a watermark has moved.
    pub(crate) bell: watch::Sender<()>,
    pub(crate) stop: CancellationToken,
}

enum Failure {
    Follow(FollowError),
    Lake(tourbillon_lake::LakeError),
    Log(tourbillon_log::LogError),
}

impl Failure {
    fn describe(&self) -> (ErrorKind, String) {
        match self {
            Self::Follow(error) => (error.kind(), error_chain(error)),
            Self::Lake(error) => (error.kind(), error_chain(error)),
            Self::Log(error) => (error.kind(), error_chain(error)),
        }
    }
}

impl PartitionTask {
    /// Follows until `stop`, or until the data is beyond help.
    pub(crate) async fn run(self) {
        loop {
            let Err(failure) = self.follow().await else {
                return;
            };
            let (kind, text) = failure.describe();
            let topic = &self.partition.at.topic;
            let partition = self.partition.number.0;
            if kind != ErrorKind::Unavailable {
                tracing::error!(error = text, topic, partition, "partition stopped");
                self.partition.state().stopped = Some(text);
                self.bell.send_replace(());
                return;
            }
            tracing::warn!(error = text, topic, partition, "partition starts again");
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(RESTART_PAUSE) => {}
            }
        }
    }

    async fn follow(&self) -> Result<(), Failure> {
        let partition = &self.partition;
        let chain = Chain::new(&self.lake, &self.def.name, partition.number);
        let links = chain.load().await.map_err(Failure::Lake)?;
        *partition.state() = State::default();
        links
            .iter()
            .for_each(|link| partition.committed(&link.commit));
        let mut tip = links.last().map_or(ChainTip::EMPTY, |link| link.tip);
        let rules = self.def.rules;
        let replica = match links.last() {
            None => Replica::new(rules),
            Some(link) => Replica::resume(rules, &link.commit.body),
        };
        drop(links);
        let (at, control) = (partition.at.clone(), self.control.clone());
        let end = self.log.range(&at).await.map_err(Failure::Log)?.end;
        let mut follower = Follower::start(&*self.log, at, replica, control, self.def.name.clone())
            .await
            .map_err(Failure::Follow)?;
        partition.followed(
            Vec::new(),
            follower.replica(),
            end <= follower.replica().position(),
        );
        self.bell.send_replace(());
        let mut polls = tokio::time::interval(CHAIN_POLL);
        loop {
            let records = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                _ = polls.tick() => {
                    while let Some(link) = chain.after_tip(&tip).await.map_err(Failure::Lake)? {
                        partition.committed(&link.commit);
                        tip = link.tip;
                    }
                    continue;
                }
                records = follower.read() => records.map_err(Failure::Follow)?,
            };
            let mut runs = Vec::new();
            for record in &records {
                let applied = follower.apply(record).await.map_err(Failure::Follow)?;
                partition.refused(as_record(record), applied.verdict.as_ref());
                runs.extend(applied.runs);
            }
            let caught_up = follower.replica().position() >= end;
            partition.followed(runs, follower.replica(), caught_up);
            self.bell.send_replace(());
        }
    }
}
