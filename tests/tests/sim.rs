//! The simulation as a test: many seeds keep every promise, and every broken rule is caught.

use tourbillon_core::broken::Rule;
use tourbillon_tests::sim::{Options, Outcome, run_seed, run_seeds};

/// Seeds that must be clean; `TOURBILLON_SIM_SEEDS` asks for more.
const SEEDS: u64 = 200;

/// For each rule the seed to begin with and the number of seeds within which breaking it is caught.
const CAUGHT: [(Rule, u64, u64); 32] = [
    (Rule::WatermarkByMin, 0, 5),
    (Rule::OpenAtWatermark, 0, 30),
    (Rule::FrameNumbers, 0, 10),
    (Rule::AboveClosed, 0, 10),
    (Rule::DriftLimit, 0, 5),
    (Rule::ClientDuplicates, 0, 5),
    (Rule::DepartedStayOut, 0, 10),
    (Rule::RecoverFromScan, 0, 10),
    (Rule::RecoverySkips, 0, 10),
    (Rule::RecoverySealed, 0, 10),
    (Rule::SealByWatermark, 0, 5),
    (Rule::SegmentOrder, 0, 5),
    (Rule::DataBeforeCommit, 0, 10),
    (Rule::CommitIfAbsent, 0, 10),
    (Rule::AdoptOnlyEqual, 0, 10),
    (Rule::AckAfterDelivery, 0, 10),
    (Rule::AckUnderLease, 0, 20),
    (Rule::LeaseFromSending, 0, 200),
    (Rule::IntentEndsLease, 0, 200),
    (Rule::FailureEndsWriter, 0, 20),
    (Rule::AckWithinDrift, 0, 20),
    (Rule::FenceWaits, 0, 40),
    (Rule::RaiseAboveWatermark, 0, 10),
    (Rule::StampAndQueue, 0, 10),
    (Rule::SourcesTravel, 0, 5),
    (Rule::TailLeaves, 0, 5),
    (Rule::FinalThroughT, 0, 5),
    (Rule::CutByMin, 0, 20),
    (Rule::CutsAgree, 0, 20),
    (Rule::EarlierAsked, 0, 30),
    (Rule::CompactsAll, 0, 20),
    (Rule::SwapBeforeRemoval, 0, 20),
];

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

#[test]
fn every_seed_keeps_every_promise() {
    let wanted = std::env::var("TOURBILLON_SIM_SEEDS");
    let seeds = wanted.map_or(SEEDS, |text| text.parse().expect("a number of seeds"));
    let (mut failed, mut run) = (Vec::<Outcome>::new(), 0);
    run_seeds(0..seeds, Options::default(), threads(), |outcome| {
        run += 1;
        if !outcome.violations.is_empty() {
            failed.push(outcome);
        }
        failed.is_empty()
    });
    for outcome in &failed {
        println!("{outcome}");
    }
    assert!(
        failed.is_empty() && run == seeds,
        "{run} of {seeds} seeds run"
    );
}

#[test]
fn every_broken_rule_is_caught_within_its_seeds() {
    assert!(
        Rule::ALL
            .iter()
            .all(|(rule, _)| CAUGHT.iter().any(|row| row.0 == *rule))
    );
    let mut missed = Vec::new();
    for (rule, first, count) in CAUGHT {
        let options = Options {
            broken: Some(rule),
            ..Options::default()
        };
        let mut caught = false;
        run_seeds(first..first + count, options, threads(), |outcome| {
            caught |= !outcome.violations.is_empty();
            !caught
        });
        if !caught {
            missed.push(rule);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn a_seed_runs_the_same_each_time() {
    for seed in [5, 6, 7] {
        let run = || {
            let run = move || run_seed(seed, Options::default());
            let thread = std::thread::Builder::new().stack_size(32 << 20).spawn(run);
            thread.unwrap().join().unwrap()
        };
        assert_eq!(run().trace, run().trace, "seed {seed}");
    }
}
