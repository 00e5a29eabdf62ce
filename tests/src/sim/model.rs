//! The plain model: what was sent, what was acknowledged, what readers were shown. It knows
//! nothing of frames, watermarks or commits.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};

/// A client's request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Numbers of its rows.
    pub(crate) rows: Range<i64>,
    /// Whether they were sent with notes.
    pub(crate) noted: bool,
    /// Whether it was acknowledged.
    pub(crate) acked: bool,
    /// Stamps of its rows, where it was acknowledged at its only attempt.
    pub(crate) stamps: Option<(Hlc, Hlc)>,
}

/// A row as a reader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeenRow {
    pub(crate) hlc: i64,
    pub(crate) writer: u32,
    pub(crate) offset: u64,
    pub(crate) n: i64,
}

/// A window that a reader was given.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) is_final: bool,
    pub(crate) snapshot: Vec<(PartitionId, Offset)>,
    pub(crate) rows: Vec<SeenRow>,
}

#[derive(Debug, Default)]
struct State {
    next_row: i64,
    requests: Vec<Request>,
    samples: Vec<Sample>,
    published: Vec<(Duration, Hlc)>,
    landed: BTreeMap<(PartitionId, Offset), Duration>,
}

/// Everything remembered of a run.
#[derive(Debug, Default)]
pub(crate) struct Model(Mutex<State>);

impl Model {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of `count` rows is about to be sent; its index and its rows.
    pub(crate) fn request(&self, count: i64, noted: bool) -> (usize, Range<i64>) {
        let mut state = self.state();
        let rows = state.next_row..state.next_row + count;
        state.next_row = rows.end;
        state.requests.push(Request {
            rows: rows.clone(),
            noted,
            acked: false,
            stamps: None,
        });
        (state.requests.len() - 1, rows)
    }

    /// A request was acknowledged.
    pub(crate) fn acked(&self, request: usize, stamps: Option<(Hlc, Hlc)>) {
        let mut state = self.state();
        let request = &mut state.requests[request];
        (request.acked, request.stamps) = (true, stamps);
    }

    /// A reader was told T.
    pub(crate) fn published(&self, at: Duration, complete_through: Hlc) {
        self.state().published.push((at, complete_through));
    }

    /// A reader was given a window.
    pub(crate) fn sampled(&self, sample: Sample) {
        self.state().samples.push(sample);
    }

    /// A record reached the log.
    pub(crate) fn landed(&self, at: (PartitionId, Offset), when: Duration) {
        self.state().landed.insert(at, when);
    }

    pub(crate) fn when_landed(&self, at: (PartitionId, Offset)) -> Duration {
        self.state().landed.get(&at).copied().unwrap_or_default()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.state().samples.clone()
    }

    /// What readers were told of T: when, and the highest by then.
    pub(crate) fn highest_published(&self) -> Vec<(Duration, Hlc)> {
        let mut highest = Hlc::MIN;
        let published = self.state().published.clone();
        let rising = published.into_iter().map(|(at, through)| {
            highest = highest.max(through);
            (at, highest)
        });
        rising.collect()
    }
}
