//! One partition as readers see it: segments in the store, and a tail of rows that are not there.
//!
//! Rows enter the tail when the log has them and leave it in the same step in which the segments
//! that hold them appear, so a reader who looks under the lock sees every row exactly once.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::ids::{Offset, PartitionId, WriterId};
use tourbillon_core::machine::Verdict;
use tourbillon_core::manifest::{Commit, CompactionBody, Kept, RowCounts, SegmentMeta};
use tourbillon_core::open_rows::RowRun;
use tourbillon_core::replica::{Record, Replica};
use tourbillon_log::TopicPartition;

use crate::error::QueryError;
use crate::files::{Files, overlapping};
use crate::order::pieces::Extent;
use crate::rejects::Rejects;
use crate::tail::{self, Queue, Tail};

/// A partition, shared by its task and the readers.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) number: PartitionId,
    pub(crate) at: TopicPartition,
    /// Rung by readers that miss a file.
    pub(crate) moved: Arc<Notify>,
    state: Mutex<State>,
}

/// What is known of a partition.
#[derive(Debug, Default)]
pub(crate) struct State {
    files: Files,
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

/// Rows of a window in one partition, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The partition.
    pub(crate) number: PartitionId,
    /// Segments that reach into the window, in key order.
    pub(crate) segments: Vec<Arc<SegmentMeta>>,
    /// Rows of the window that are in no segment, per writer, in key order.
    pub(crate) tails: Vec<Queue>,
    /// Rows at or above this offset are not part of the view.
    pub(crate) before: Offset,
    /// Rung when a file is missed.
    pub(crate) moved: Arc<Notify>,
}

impl View {
    /// The part of it that lies in a narrower window.
    pub(crate) fn within(&self, window: &Range<Hlc>) -> Self {
        let segments = overlapping(&self.segments, window).to_vec();
        let tails = self.tails.iter().map(|queue| tail::cut(queue, window));
        self.with(segments, tails.filter(|queue| !queue.is_empty()))
    }

    /// The same view of these rows of it.
    pub(crate) fn with(
        &self,
        segments: Vec<Arc<SegmentMeta>>,
        tails: impl Iterator<Item = Queue>,
    ) -> Self {
        Self {
            number: self.number,
            segments,
            tails: tails.collect(),
            before: self.before,
            moved: Arc::clone(&self.moved),
        }
    }

    /// How many rows there are between which stamps.
    pub(crate) fn extents(&self) -> impl Iterator<Item = Extent> {
        let segments = self.segments.iter().map(|segment| Extent {
            first: segment.first_key.hlc.0,
            last: segment.last_key.hlc.0,
            rows: segment.rows,
        });
        segments.chain(self.tails.iter().filter_map(tail::extent))
    }
}

impl Partition {
    pub(crate) fn new(number: PartitionId, at: TopicPartition) -> Self {
        Self {
            number,
            at,
            moved: Arc::default(),
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
            segments: state.files.len(),
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

    /// The watermark, or why there is none to rely on.
    pub(crate) fn watermark(&self, stream: &str) -> Result<Hlc, QueryError> {
        Ok(self.settled(stream)?.watermark)
    }

    /// The state, if it can be relied on.
    fn settled(&self, stream: &str) -> Result<MutexGuard<'_, State>, QueryError> {
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

    /// The offset after the last record that was read.
    pub(crate) fn position(&self, stream: &str) -> Result<Offset, QueryError> {
        Ok(self.settled(stream)?.next_offset)
    }

    /// Everything that lies in a window, or what of it lies below an offset, without copying rows.
    /// The partition may have begun anew since its watermark was looked at, and then it has no view
    /// to give, or have begun after the offset.
    pub(crate) fn view(
        &self,
        stream: &str,
        window: &Range<Hlc>,
        before: Option<Offset>,
    ) -> Result<View, QueryError> {
        let state = self.settled(stream)?;
        let before = before.unwrap_or(state.next_offset);
        if before > state.next_offset {
            return Err(QueryError::Behind {
                stream: stream.to_owned(),
                partition: self.number.0,
                position: state.next_offset.0,
                wanted: before.0,
            });
        }
        Ok(View {
            number: self.number,
            segments: state.files.overlapping(window).to_vec(),
            moved: Arc::clone(&self.moved),
            tails: state.tail.within(window, before),
            before,
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

    pub(crate) fn committed(&self, commit: &Commit) {
        self.state().committed(commit);
    }

    pub(crate) fn compacted(&self, compaction: &CompactionBody) {
        self.state().compacted(compaction);
    }

    pub(crate) fn let_go(&self, kept: Kept) {
        self.state().let_go(kept);
    }

    /// The stamp at or above which all rows are that retention has left.
    pub(crate) fn kept_from(&self) -> Hlc {
        self.state().files.kept().map_or(Hlc::MIN, |kept| kept.from)
    }
}

impl State {
    pub(crate) fn committed(&mut self, commit: &Commit) {
        let body = &commit.body;
        self.files.committed(body);
        self.rejects.committed(body);
        self.sealed_key = body.sealed_key;
        self.sealed_rows = body.sealed_rows;
        self.commits = body.seq + 1;
        if let Some(sealed) = body.sealed_key.filter(|_| !broken(Rule::TailLeaves)) {
            self.tail.drop_through(sealed);
        }
    }

    pub(crate) fn compacted(&mut self, compaction: &CompactionBody) {
        self.files.compacted(compaction);
        self.rejects.compacted(compaction);
    }

    pub(crate) fn let_go(&mut self, kept: Kept) {
        self.files.let_go(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        let number = PartitionId(3);
        let topic = "t.ticks".to_owned();
        Partition::new(
            number,
            TopicPartition {
                topic,
                partition: number,
            },
        )
    }

    #[test]
    fn a_partition_that_begins_anew_gives_no_view_until_it_has_caught_up() {
        let partition = partition();
        let everything = Hlc::MIN..Hlc(i64::MAX);
        let caught_up = State {
            caught_up: true,
            next_offset: Offset(7),
            ..State::default()
        };
        partition.begin(caught_up);
        assert_eq!(
            partition.view("ticks", &everything, None).unwrap().before,
            Offset(7)
        );
        let error = partition.view("ticks", &everything, Some(Offset(8)));
        let error = error.unwrap_err();
        assert!(matches!(
            error,
            QueryError::Behind {
                position: 7,
                wanted: 8,
                ..
            }
        ));
        // a reader that has already looked at the watermark must not take this for an empty window
        partition.begin(State::default());
        let error = partition.view("ticks", &everything, None).unwrap_err();
        assert!(matches!(error, QueryError::CatchingUp { partition: 3, .. }));
        partition.stop("damaged".into());
        let error = partition.view("ticks", &everything, None).unwrap_err();
        assert!(matches!(error, QueryError::Stopped { .. }));
    }
}
