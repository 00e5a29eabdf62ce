//! Leases, fences and acknowledgements: the rules hold, and each is needed.

use tourbillon_model::lease::{Bounds, Break, Clocks, LeaseModel};
use tourbillon_model::{explore, say};

/// Rules, and the invariant that falls without each.
const BROKEN: [(Break, &str); 13] = [
    (Break::FenceWithoutWait, "INV-ACK"),
    (Break::FenceAfterOneLease, "INV-ACK"),
    (Break::AckWithoutLease, "INV-ACK"),
    (Break::LeaseLookedAtWhenSent, "INV-ACK"),
    (Break::LeaseFromReadBack, "INV-ACK"),
    (Break::RenewAfterIntent, "INV-ACK"),
    (Break::AckBeforeDelivery, "INV-ACK"),
    (Break::AckOutOfOrder, "INV-ACK"),
    (Break::AckWithoutAppendTime, "INV-ACK"),
    (Break::StampBelowWatermark, "INV-ACK"),
    (Break::WatermarkByMax, "INV-FINAL"),
    (Break::AcceptAfterFence, "INV-FINAL"),
    (Break::ForgetSources, "INV-ONCE"),
];

fn holds(name: &str, bounds: Bounds) {
    let broken = None;
    let found = explore(LeaseModel { bounds, broken }, None);
    say(&format!(
        "{name}: {} states, depth {}",
        found.states, found.depth
    ));
    assert!(found.refuted.is_empty(), "{:#?}", found.refuted);
    assert!(found.unseen.is_empty(), "never seen: {:?}", found.unseen);
}

fn refutes(name: &str, model: LeaseModel, invariant: &'static str) {
    let found = explore(model, Some(invariant));
    let steps = found.refuted.get(invariant);
    let steps = steps.unwrap_or_else(|| panic!("{name}: {invariant} holds: {:?}", found.refuted));
    say(&format!(
        "{name}: {invariant} refuted after {} states by {}",
        found.states,
        steps.join(", ")
    ));
}

#[test]
fn one_suspect_writer_cannot_break_an_invariant() {
    holds("one suspect", Bounds::one_suspect());
}

#[test]
fn two_suspect_writers_cannot_break_an_invariant() {
    holds("two suspects", Bounds::two_suspects());
}

#[test]
fn a_producer_that_repeats_cannot_break_an_invariant() {
    holds("repeating producer", Bounds::repeating_producer());
}

#[test]
fn each_rule_left_out_is_refuted() {
    for (rule, invariant) in BROKEN {
        let model = LeaseModel {
            bounds: Bounds::one_suspect(),
            broken: Some(rule),
        };
        refutes(&format!("{rule:?}"), model, invariant);
    }
}

#[test]
fn clocks_three_times_apart_are_refuted() {
    let apart = Clocks {
        suspect_rate: 2,
        fencer_rate: 6,
        ahead: 0,
    };
    let bounds = Bounds {
        clocks: vec![apart],
        ..Bounds::one_suspect()
    };
    let broken = None;
    refutes("clocks 3x apart", LeaseModel { bounds, broken }, "INV-ACK");
}
