//! The commit chain: the rules hold, and each is needed.

use tourbillon_model::chain::{Bounds, Break, ChainModel};
use tourbillon_model::{explore, say};

/// Rules, and the invariant that falls without each.
const BROKEN: [(Break, &str); 6] = [
    (Break::Overwrite, "INV-CHAIN"),
    (Break::CommitBeforeData, "INV-CHAIN"),
    (Break::ErrorMeansMine, "INV-CHAIN"),
    (Break::ErrorMeansNothing, "INV-ONCE"),
    (Break::RecoverFromNextOffset, "INV-ACK"),
    (Break::CutByPoll, "INV-PURE"),
];

fn holds(name: &str, bounds: Bounds) {
    let broken = None;
    let found = explore(ChainModel { bounds, broken }, None);
    say(&format!(
        "{name}: {} states, depth {}",
        found.states, found.depth
    ));
    assert!(found.refuted.is_empty(), "{:#?}", found.refuted);
    assert!(found.unseen.is_empty(), "never seen: {:?}", found.unseen);
}

#[test]
fn two_workers_make_one_chain() {
    holds("two workers", Bounds::two_workers());
}

#[test]
fn three_workers_make_one_chain() {
    holds("three workers", Bounds::three_workers());
}

#[test]
fn each_rule_left_out_is_refuted() {
    for (rule, invariant) in BROKEN {
        let model = ChainModel {
            bounds: Bounds::two_workers(),
            broken: Some(rule),
        };
        let found = explore(model, Some(invariant));
        let steps = found.refuted.get(invariant);
        let steps =
            steps.unwrap_or_else(|| panic!("{rule:?}: {invariant} holds: {:?}", found.refuted));
        say(&format!(
            "{rule:?}: {invariant} refuted after {} states by {}",
            found.states,
            steps.join(", ")
        ));
    }
}
