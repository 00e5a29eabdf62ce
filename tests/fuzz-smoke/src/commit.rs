//! Commit objects.

use tourbillon_core::digest::Digest;
use tourbillon_core::ids::StreamName;
use tourbillon_core::machine::{MachineRules, PartitionMachine};
use tourbillon_core::manifest::{
    Body, Boundary, COMMIT_VERSION, Commit, CommitBody, CompactionBody,
};
use tourbillon_core::replica::Replica;
use tourbillon_core::sealer::Sealer;

/// Any object is answered; what can be read survives being written again, and work can begin
/// after it. Sealed here, because no fuzzer finds the hash that a changed commit needs.
pub fn run(data: &[u8]) {
    let _flipped = Commit::<CommitBody>::decode(data);
    link::<CompactionBody>(data);
    link::<Boundary>(data);
    let parsed: Result<Commit, _> = serde_json::from_slice(data);
    let Some(commit) = parsed
        .ok()
        .filter(|commit| commit.version == COMMIT_VERSION)
    else {
        return;
    };
    let commit = commit.seal().expect("a commit that was read");
    let bytes = commit.encode().expect("a commit that was read");
    let again = Commit::<CommitBody>::decode(&bytes).expect("a commit just written");
    assert_eq!(again, commit, "the commit changed");
    let _altered = commit.check_root(Digest::ZERO);
    let tip = commit.tip(&bytes);
    assert_eq!(tip.hash, Digest::of(&bytes), "another digest");
    resume(&commit);
}

/// A link of another chain is answered, and survives being written again.
fn link<B: Body>(data: &[u8]) {
    let _flipped = Commit::<B>::decode(data);
    let parsed: Result<Commit<B>, _> = serde_json::from_slice(data);
    let Some(link) = parsed.ok().filter(|link| link.version == COMMIT_VERSION) else {
        return;
    };
    let link = link.seal().expect("a link that was read");
    let bytes = link.encode().expect("a link that was read");
    let again = Commit::<B>::decode(&bytes).expect("a link just written");
    assert_eq!(again, link, "the link changed");
    let _altered = link.check_root(Digest::ZERO);
}

fn resume(commit: &Commit) {
    let (body, rules) = (&commit.body, MachineRules { max_drift_ns: None });
    let machine = PartitionMachine::restore(rules, &body.state, body.next_offset);
    let state = machine.state();
    let again = PartitionMachine::restore(rules, &state, body.next_offset);
    assert_eq!(again.state(), state, "the state changed");
    let replica = Replica::resume(rules, body);
    assert_eq!(replica.position(), body.scan_from, "another position");
    if let Ok(name) = StreamName::new(body.stream.clone()) {
        let sealer = Sealer::resume(name, 10_000_000_000, body);
        assert_eq!(sealer.open_rows(), 0, "rows from nowhere");
    }
}
