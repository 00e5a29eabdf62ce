//! Leases, fences and acknowledgements around one partition.
//!
//! Two writers send frames that may land late, repeat or get lost; they prove in the control topic
//! that they live, and acknowledge. Someone announces a fence, waits twice the lease by a clock of
//! another rate, and appends FENCE. The log is judged by the real
//! [`PartitionMachine`](tourbillon_core::machine::PartitionMachine). Data frame `n` of either writer
//! carries request `n` of one client, which so repeats every request through the other gateway.

mod partition;
mod promise;
mod rules;
mod steps;
mod writer;

use stateright::{Model, Property};

pub use partition::{Faults, Frame, Kind, Landed, Outcome, Partition};
pub use rules::{Bounds, Break, Clocks};
pub use steps::Step;
pub use writer::{Ask, Writer};

/// Number of writers.
pub const WRITERS: usize = 2;

/// Length of a lease, local units.
pub const LEASE: u8 = 3;

/// How far the removal of a writer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fence {
    /// Nobody has announced it.
    None,
    /// FENCE_INTENT is in the control topic.
    Announced {
        /// Since when, true time.
        when: u8,
    },
    /// The wait is over.
    Due,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// How the clocks differ; fixed from the start.
    pub clocks: Clocks,
    /// True time, ticks.
    pub now: u8,
    /// The partition's log.
    pub partition: Partition,
    /// The writers.
    pub writers: [Writer; WRITERS],
    /// Their removal.
    pub fences: [Fence; WRITERS],
}

impl State {
    /// Local time of a writer.
    fn local(&self, writer: u8) -> u8 {
        self.now * self.clocks.rate(writer)
    }
}

/// The model.
#[derive(Clone, Debug)]
pub struct LeaseModel {
    /// How much may happen.
    pub bounds: Bounds,
    /// The rule left out, if any.
    pub broken: Option<Break>,
}

impl LeaseModel {
    fn breaks(&self, rule: Break) -> bool {
        self.broken == Some(rule)
    }
}

impl Model for LeaseModel {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let begin = |clocks: &Clocks| State {
            clocks: *clocks,
            now: 0,
            partition: Partition::default(),
            writers: self.bounds.alives.map(Writer::opening),
            fences: [Fence::None; WRITERS],
        };
        self.bounds.clocks.iter().map(begin).collect()
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
            Property::always("INV-ACK", Self::keeps_its_promises),
            Property::always("INV-ONCE", |_, s: &State| !s.partition.faults.twice),
            Property::always("INV-FINAL", |_, s: &State| !s.partition.faults.not_final),
            Property::always("INV-REJECT", |_, s: &State| !s.partition.faults.uncounted),
            Property::sometimes("both writers acknowledge", |model: &Self, state: &State| {
                [0, 1]
                    .into_iter()
                    .all(|id| model.promised(state, id).next().is_some())
            }),
            Property::sometimes("a zombie's frame is rejected", |_, state: &State| {
                state.partition.fenced[0] && state.partition.has(0, Outcome::Rejected)
            }),
            Property::sometimes("a request is repeated", |_, state: &State| {
                state.partition.has(1, Outcome::Duplicate)
            }),
            Property::sometimes(
                "the watermark passes a fenced writer",
                |_, state: &State| {
                    let suspect = &state.writers[0];
                    let spoke = state.partition.has(0, Outcome::Accepted);
                    spoke && state.partition.fenced[0] && suspect.last < state.partition.watermark
                },
            ),
        ]
    }
}
