//! Running the checker and saying what it found.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::io::Write;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// What a run of the checker found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Different states looked at.
    pub states: usize,
    /// Steps of the longest of the shortest ways to a state.
    pub depth: usize,
    /// Invariants that do not hold, each with the steps that show it.
    pub refuted: BTreeMap<&'static str, Vec<String>>,
    /// Situations that ought to occur and never did.
    pub unseen: Vec<&'static str>,
}

/// Looks at every state of `model` until `wanted` is refuted, or, if nothing is wanted, until
/// anything is. One thread, so that a run always finds the same shortest way.
pub fn explore<M>(model: M, wanted: Option<&'static str>) -> Explored
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let properties = model.properties();
    let enough = wanted.map_or(HasDiscoveries::AnyFailures, |name| {
        HasDiscoveries::AllOf([name].into())
    });
    let checker = model.checker().finish_when(enough).spawn_bfs().join();
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
        refuted: named(Expectation::Always).filter_map(steps).collect(),
        unseen: named(Expectation::Sometimes)
            .filter(|name| !found.contains_key(name))
            .collect(),
    }
}

/// A line on standard output, even where tests keep their output to themselves.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _reader_gone = writeln!(out, "{text}");
}
