//! Running the checker and saying what it found.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Threads of the checker.
const THREADS: usize = 2;

/// What a run of the checker found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Different states looked at.
    pub states: usize,
    /// Steps of the longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Invariants that do not hold, each with the steps that show it.
    pub refuted: BTreeMap<&'static str, Vec<String>>,
    /// Situations that ought to occur and never did.
    pub unseen: Vec<&'static str>,
}

/// Looks at every state of `model`, or until an invariant is refuted.
pub fn explore<M>(model: M) -> Explored
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let properties = model.properties();
    let begun = Instant::now();
    let checker = model.checker().threads(THREADS);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let found = checker.discoveries();
    let named = |wanted: Expectation| {
        let matching = properties.iter().filter(move |p| p.expectation == wanted);
        matching.map(|p| p.name)
    };
    let steps = |name| {
        let path = found.get(name)?.clone();
        let actions = path.into_actions().into_iter();
        Some((name, actions.map(|step| format!("{step:?}")).collect()))
    };
    Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
        refuted: named(Expectation::Always).filter_map(steps).collect(),
        unseen: named(Expectation::Sometimes)
            .filter(|name| !found.contains_key(name))
            .collect(),
    }
}
