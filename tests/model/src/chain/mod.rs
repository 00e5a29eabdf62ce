//! The commit chain of one partition.
//!
//! Row `i` of the log is sealed by the commit whose `rows` hold bit `i`. Workers recover, upload a
//! segment, put the commit if absent, and ask the chain after any doubt. A request to the store may
//! take effect at any later time or never, whatever its sender was told; workers crash, start
//! again and hold stale views. Segments are named by their content, so that putting one twice is
//! putting it once.

mod rules;
mod steps;
mod worker;

use std::collections::BTreeSet;

use stateright::{Model, Property};

pub use rules::{Bounds, Break};
pub use steps::Step;
pub use worker::{Phase, Tip, Worker};

/// A commit object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit {
    /// Tells whose it is.
    pub nonce: u8,
    /// Digest of the commit before; 0 for the first.
    pub prev: u16,
    /// Rows of its segment, as bits; the segment's name.
    pub rows: u8,
    /// Rows that are sealed with it and before it.
    pub sealed: u8,
}

impl Commit {
    /// Digest of its bytes: unlike for unlike commits of a chain as short as these.
    pub fn hash(&self) -> u16 {
        (self.prev << 4) | u16::from(self.nonce + 1)
    }

    /// Whether it stands for `mine`, which another worker's was put before.
    pub fn is_adopted_for(&self, mine: &Self) -> bool {
        self.nonce != mine.nonce && self.prev == mine.prev && self.rows == mine.rows
    }
}

/// A put of a commit that may still take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Put {
    /// Its number in the chain.
    pub seq: u8,
    /// Its bytes.
    pub commit: Commit,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Commit objects by number.
    pub chain: Vec<Option<Commit>>,
    /// What each object held when it first appeared.
    pub first: Vec<Option<Commit>>,
    /// Segments in the store.
    pub segments: BTreeSet<u8>,
    /// Commits that were put and have not landed.
    pub flying: BTreeSet<Put>,
    /// The workers.
    pub workers: Vec<Worker>,
}

impl State {
    /// The commit numbered `seq`, if it is there.
    pub fn commit(&self, seq: u8) -> Option<Commit> {
        self.chain.get(usize::from(seq)).copied().flatten()
    }

    /// Whether a worker in doubt about its commit will find one for which `what` holds.
    fn in_doubt(&self, what: impl Fn(&Commit, &Commit) -> bool) -> bool {
        self.workers.iter().any(|worker| match worker.phase {
            Phase::Doubting { commit, .. } => {
                let found = self.commit(worker.tip.seq);
                found.is_some_and(|found| what(&commit, &found))
            }
            _ => false,
        })
    }

    fn commits(&self) -> impl Iterator<Item = &Commit> {
        self.chain.iter().flatten()
    }
}

/// The model.
#[derive(Clone, Debug)]
pub struct ChainModel {
    /// How much may happen.
    pub bounds: Bounds,
    /// The rule left out, if any.
    pub broken: Option<Break>,
}

impl ChainModel {
    fn breaks(&self, rule: Break) -> bool {
        self.broken == Some(rule)
    }
}

impl Model for ChainModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let commits = usize::from(self.bounds.commits);
        vec![State {
            chain: vec![None; commits],
            first: vec![None; commits],
            segments: BTreeSet::new(),
            flying: BTreeSet::new(),
            workers: (0..self.bounds.workers).map(Worker::starting).collect(),
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps::possible(self, state, steps);
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        steps::take(self, &mut state, step);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("INV-CHAIN", |_, state: &State| is_one_chain(state)),
            Property::always("INV-ONCE", |_, state: &State| seals_nothing_twice(state)),
            Property::always("INV-ACK", |_, state: &State| loses_nothing(state)),
            Property::always("INV-PURE", |_, state: &State| {
                state.workers.iter().all(|w| w.phase != Phase::Halted)
            }),
            Property::sometimes("every commit is there", |_, state: &State| {
                state.chain.iter().all(Option::is_some)
            }),
            Property::sometimes(
                "a commit of another worker is adopted",
                |_, state: &State| state.in_doubt(|mine, found| found.is_adopted_for(mine)),
            ),
            Property::sometimes(
                "an own commit is found after an error",
                |_, state: &State| state.in_doubt(|mine, found| found == mine),
            ),
            Property::sometimes("all workers commit", |model: &Self, state: &State| {
                let mut workers = 0..model.bounds.workers;
                workers.all(|id| state.commits().any(|c| Worker::of(c.nonce) == id))
            }),
        ]
    }
}

/// Every commit ties to the one before, never changes, and names a segment that is there.
fn is_one_chain(state: &State) -> bool {
    let mut prev = Some(0);
    let mut links = state.chain.iter().zip(&state.first);
    links.all(|(commit, first)| {
        let tied = match commit {
            None => true,
            Some(commit) => prev == Some(commit.prev) && state.segments.contains(&commit.rows),
        };
        prev = commit.map(|commit| commit.hash());
        tied && commit == first
    })
}

fn seals_nothing_twice(state: &State) -> bool {
    let mut seen = 0;
    state.commits().all(|commit| {
        let again = seen & commit.rows;
        seen |= commit.rows;
        again == 0
    })
}

/// The rows that a commit says are sealed are in segments.
fn loses_nothing(state: &State) -> bool {
    let mut seen = 0u8;
    state.commits().all(|commit| {
        seen |= commit.rows;
        seen.trailing_ones() >= u32::from(commit.sealed)
    })
}
