//! Leases, fences and acknowledgements around one partition.
//!
//! Two writers send frames that may land late, repeat or get lost; they prove in the control topic
//! that they live, and acknowledge. Someone announces a fence, waits twice the lease by a clock of
//! another rate, and appends FENCE. The log is judged by the real
//! [`PartitionMachine`](tourbillon_core::machine::PartitionMachine). Data frame `n` of either writer
//! carries request `n` of one client, which so repeats every request through the other gateway.

mod partition;
mod rules;
mod steps;
mod writer;

use stateright::{Model, Property};

pub use partition::{Entry, Outcome, Partition};
pub use rules::{Bounds, Break, Clocks};
pub use steps::Step;
pub use writer::Writer;

use partition::Kind;

/// Number of writers.
pub const WRITERS: usize = 2;

/// Length of a lease, local units. The suspect's clock counts 2 or 3 of them a tick.
pub const LEASE: u8 = 6;

/// A word in the control topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// ALIVE of a writer.
    Alive {
        /// The writer.
        writer: u8,
        /// Which of its ALIVEs.
        number: u8,
    },
    /// FENCE_INTENT for a writer.
    Intent {
        /// The writer.
        writer: u8,
    },
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// How the clocks differ; fixed from the start.
    pub clocks: Clocks,
    /// True time, ticks.
    pub now: u8,
    /// The control topic.
    pub control: Vec<Word>,
    /// The partition's log.
    pub partition: Partition,
    /// The writers.
    pub writers: [Writer; WRITERS],
    /// When a fence was announced, true time.
    pub announced: [Option<u8>; WRITERS],
    /// Whether FENCE is in the log.
    pub fenced: [bool; WRITERS],
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
            control: Vec::new(),
            partition: Partition::default(),
            writers: [Writer::opening(), Writer::opening()],
            announced: [None; WRITERS],
            fenced: [false; WRITERS],
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
            Property::always("INV-ACK", |_, state: &State| acknowledged_is_stored(state)),
            Property::always("INV-ONCE", |_, s: &State| s.partition.stores_nothing_twice()),
            Property::always("INV-FINAL", |_, s: &State| s.partition.is_final()),
            Property::always("INV-REJECT", |_, s: &State| s.partition.counts_every_row()),
            Property::sometimes("both writers acknowledge", |_, state: &State| {
                state.writers.iter().all(|writer| writer.acked.count() > 0)
            }),
            Property::sometimes("a zombie's frame is rejected", |_, state: &State| {
                state.fenced[0] && state.partition.has(Outcome::Rejected)
            }),
            Property::sometimes("a request is repeated", |_, state: &State| {
                state.partition.has(Outcome::Duplicate)
            }),
            Property::sometimes("a fence moves the watermark on", |_, state: &State| {
                state.partition.moved_on_by(Kind::Fence)
            }),
        ]
    }
}

/// Nothing acknowledged lies behind a FENCE, was refused, or never landed.
fn acknowledged_is_stored(state: &State) -> bool {
    let mut writers = (0u8..).zip(&state.writers);
    writers.all(|(id, writer)| {
        let mut acked = writer.acked.iter();
        acked.all(|pseq| state.partition.stored(id, pseq))
    })
}
