//! Every target on its corpus and on mutations of it, without libFuzzer.

use std::fs;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tourbillon_fuzz_smoke::TARGETS;

/// Mutations of a target's corpus.
const MUTATIONS: u64 = 2000;

/// Longest input, bytes.
const MAX_LEN: usize = 4096;

/// Bytes that mean something to some parser.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xff\n\r\t \"\\',:{}[]()=#.+-0123456789eEtTnull";

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let files = fs::read_dir(folder.join(target)).expect("every target has a corpus");
    let mut files: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| fs::read(path).expect("readable");
    files.iter().map(read).collect()
}

/// Changes `input` in one place or two.
fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut SmallRng) {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=input.len());
        let end = (at + rng.random_range(0..16)).min(input.len());
        match rng.random_range(0..6) {
            0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            1 if at < input.len() => input[at] = *TELLING.choose(rng).unwrap_or(&0),
            2 => input.insert(at, *TELLING.choose(rng).unwrap_or(&0)),
            3 => {
                input.drain(at..end);
            }
            4 => input.extend_from_within(at..end),
            _ => {
                let other = others.choose(rng).map_or(&[][..], Vec::as_slice);
                let from = rng.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
        input.truncate(MAX_LEN);
    }
}

fn run(target: &str) {
    let (_, body) = TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .expect("a target");
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no seeds");
    corpus.iter().for_each(|input| body(input));
    for seed in 0..MUTATIONS {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut input = corpus.choose(&mut rng).cloned().unwrap_or_default();
        mutate(&mut input, &corpus, &mut rng);
        let failed = std::panic::catch_unwind(|| body(&input)).is_err();
        assert!(
            !failed,
            "{target}, seed {seed}: {:?}",
            input.escape_ascii().to_string()
        );
    }
}

macro_rules! smoke {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn no_target_is_left_out() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

smoke! { arrow_stream commit control csv frame json line_protocol ndjson rejects subscription text window }
