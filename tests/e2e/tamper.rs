//! What `verify` says of data that somebody changed: exit code 3, and exactly where.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::json;
use tourbillon_core::manifest::{ChainTip, Commit, CommitBody};

use crate::support::{Service, counted, eventually, put, succeeds, text, tourbillon};
use crate::verify::segments;

const CHAIN: &str = "lake/ticks/commit/p0";

/// The data of a service that is stopped, and the heads that a witness noted of it.
struct Data(tempfile::TempDir);

impl Data {
    /// A copy of its own of data that was recorded once.
    fn copy() -> Self {
        static RECORDED: OnceLock<Data> = OnceLock::new();
        let recorded = RECORDED.get_or_init(|| {
            let data = Self::record(3);
            assert!(data.witnessed(0).contains("noted 1 heads"));
            data
        });
        let copy = Self(tempfile::tempdir().unwrap());
        let (from, to) = (recorded.path(""), copy.path(""));
        let copied = Command::new("cp").arg("-r").args([from, to]).status();
        assert!(copied.unwrap().success());
        copy
    }

    /// Several segments in several commits; `factor` makes the rows unlike others.
    fn record(factor: u64) -> Self {
        let data = Self(tempfile::tempdir().unwrap());
        fs::create_dir(data.path("")).unwrap();
        let service = Service::ready(&["standalone", "--data", &data.text("data")]);
        let stream = json!({
            "columns": [{"name": "symbol", "type": "string"}, {"name": "n", "type": "int64"}],
            "key": ["symbol"], "partitions": 1, "window": "100ms",
        });
        let url = format!("{}/v1/streams/ticks", service.url);
        assert_eq!(put(&url, &stream).0, 200);
        for round in 1..=4 {
            let file = data.path("t.csv");
            let row = |n: u64| format!("s{},{}\n", n % 9, n * factor + round);
            let csv: String = (0..300).map(row).collect();
            fs::write(&file, format!("symbol,n\n{csv}")).unwrap();
            let file = file.to_str().unwrap();
            succeeds(&["load", file, "--stream", "ticks", "--url", &service.url]);
            eventually("all sealed", Duration::from_secs(20), || {
                counted(&service.url, "ticks", "sealed_rows") == 300 * round
            });
        }
        assert!(service.terminate().success());
        data
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join("here").join(below)
    }

    fn text(&self, below: &str) -> String {
        self.path(below).to_str().unwrap().to_owned()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let found = segments(&self.path("data/lake/ticks"));
        assert!(found.len() >= 4, "{found:?}");
        found
    }

    fn commits(&self) -> Vec<PathBuf> {
        let listed = fs::read_dir(self.path("data").join(CHAIN)).unwrap();
        let mut found: Vec<_> = listed.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        assert!(found.len() >= 4, "{found:?}");
        found
    }

    /// What `verify` says, which must end with `code`.
    fn verify(&self, code: i32) -> String {
        told(
            &["verify", "--stream", "ticks", "--data", &self.text("data")],
            code,
        )
    }

    /// What it says with the witness at hand.
    fn witnessed(&self, code: i32) -> String {
        let (data, witness) = (self.text("data"), self.text("witness"));
        let verify = ["verify", "--stream", "ticks", "--data", &data];
        told(&[&verify[..], &["--witness", &witness]].concat(), code)
    }

    /// Writes the chain again so that every link holds.
    fn relink(&self, change: impl Fn(&mut CommitBody)) {
        let mut tip = ChainTip::EMPTY;
        for path in self.commits() {
            let mut body = Commit::decode(&fs::read(&path).unwrap()).unwrap().body;
            change(&mut body);
            let forged = Commit::link(body, &tip, "forger".into()).unwrap();
            let bytes = forged.encode().unwrap();
            tip = forged.tip(&bytes);
            fs::write(&path, bytes).unwrap();
        }
    }
}

fn told(args: &[&str], code: i32) -> String {
    let output = tourbillon(args);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// The objects of the lake that the findings name.
fn named<'a>(told: &str, objects: &'a [PathBuf]) -> Vec<&'a str> {
    let findings = told.lines().filter(|line| line.starts_with("  "));
    let findings: Vec<_> = findings.collect();
    let names = objects.iter().map(|path| name(path));
    names
        .filter(|name| findings.iter().any(|line| line.contains(name)))
        .collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_byte_of_a_segment_is_named() {
    let data = Data::copy();
    let all = data.segments();
    for victim in [&all[0], all.last().unwrap()] {
        let length = fs::metadata(victim).unwrap().len();
        let length = usize::try_from(length).unwrap();
        for at in [0, length / 3, length - 9, length - 1] {
            flip(victim, at);
            assert_eq!(named(&data.verify(3), &all), [name(victim)], "byte {at}");
            flip(victim, at);
        }
    }
    data.verify(0);
}

#[test]
fn a_flipped_byte_of_a_commit_is_named() {
    let data = Data::copy();
    let all = data.commits();
    for victim in [&all[0], &all[all.len() / 2], all.last().unwrap()] {
        let bytes = fs::read(victim).unwrap();
        let body = text(&bytes);
        let nonce = body.find("\"nonce\":\"").unwrap() + 9;
        for at in [nonce, 0, bytes.len() / 2, bytes.len() - 1] {
            flip(victim, at);
            assert_eq!(named(&data.verify(3), &all), [name(victim)], "byte {at}");
            flip(victim, at);
        }
    }
    data.verify(0);
}

#[test]
fn a_removed_segment_is_named() {
    let data = Data::copy();
    let all = data.segments();
    fs::remove_file(&all[1]).unwrap();
    let told = data.verify(3);
    assert_eq!(named(&told, &all), [name(&all[1])]);
    assert!(told.contains("is absent"), "{told}");
}

#[test]
fn swapped_segments_are_both_named() {
    let data = Data::copy();
    let all = data.segments();
    let (one, other) = (fs::read(&all[1]).unwrap(), fs::read(&all[2]).unwrap());
    fs::write(&all[1], other).unwrap();
    fs::write(&all[2], one).unwrap();
    let swapped = [name(&all[1]), name(&all[2])];
    assert_eq!(named(&data.verify(3), &all), swapped);
}

#[test]
fn a_truncated_chain_is_seen_by_the_log_and_named_by_a_witness() {
    let data = Data::copy();
    let all = data.commits();
    // a slow machine adds commits without segments
    let has_segments = |path: &PathBuf| {
        let commit: Commit<CommitBody> = Commit::decode(&fs::read(path).unwrap()).unwrap();
        !commit.body.segments.is_empty()
    };
    let mut cut = 0;
    for path in all.iter().rev() {
        cut += usize::from(has_segments(path));
        fs::remove_file(path).unwrap();
        if cut == 3 {
            // no worker uploads this far ahead of its commits
            let told = data.verify(3);
            assert_eq!(named(&told, &all), [name(path)]);
            assert!(told.contains("the chain was cut"), "{told}");
            return;
        }
        // a worker that has yet to work leaves the same behind: no finding, but said
        let told = data.verify(0);
        assert!(told.contains("the worker is behind the log"), "{told}");
        let told = data.witnessed(3);
        assert_eq!(named(&told, &all), [name(all.last().unwrap())]);
        assert!(told.contains("it is gone"), "{told}");
    }
    panic!("{cut} commits with segments");
}

#[test]
fn a_commit_missing_below_others_is_named() {
    let data = Data::copy();
    let all = data.commits();
    fs::remove_file(&all[1]).unwrap();
    assert_eq!(named(&data.verify(3), &all), [name(&all[1])]);
}

#[test]
fn a_chain_linked_again_by_another_hand_is_found_by_a_witness() {
    let data = Data::copy();
    let all = data.commits();
    data.relink(|_| {});
    // it says what the log says, and every link holds
    data.verify(0);
    assert_eq!(named(&data.witnessed(3), &all), [name(all.last().unwrap())]);
}

#[test]
fn a_chain_that_says_something_else_is_found_by_the_log() {
    let data = Data::copy();
    let all = data.commits();
    data.relink(|body| body.state.counts.accepted += u64::from(body.seq >= 2));
    let altered: Vec<_> = all[2..].iter().map(|path| name(path)).collect();
    assert_eq!(named(&data.verify(3), &all), altered);
}

#[test]
fn a_history_that_is_whole_but_another_is_found_by_a_witness() {
    let (data, other) = (Data::copy(), Data::record(5));
    let all = data.commits();
    let replace = |what: &str| {
        fs::remove_dir_all(data.path(what)).unwrap();
        fs::rename(other.path(what), data.path(what)).unwrap();
    };
    replace("data/lake");
    let told = data.verify(3);
    assert!(named(&told, &data.commits()).len() >= 4, "{told}");
    replace("data/log");
    // log and files agree again: nothing but the witness remembers
    data.verify(0);
    let told = data.witnessed(3);
    assert!(told.contains(name(all.last().unwrap())), "{told}");
}
