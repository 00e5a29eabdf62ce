//! A gateway that stands still for longer than its lease, and wakes.

use std::time::{Duration, Instant};

use crate::Cluster;
use crate::accounts::assert_balanced;
use crate::record::{stored, verified};
use crate::support::client::Client;
use crate::support::watermark::{Watermark, complete_through, longest_standstill};
use crate::support::{eventually, setting, signal};

/// How long T may stand because of a gateway that is gone.
const STANDSTILL: Duration = Duration::from_secs(10);

const PATIENCE: Duration = Duration::from_secs(60);

/// TOURBILLON_FREEZE_S=30 makes it as long as the acceptance asks.
#[test]
fn a_frozen_gateway_wakes_as_a_zombie_and_does_no_harm() {
    let Some(cluster) = Cluster::lingering(300) else {
        return;
    };
    let (other, query) = (cluster.gateway("other"), cluster.query.url.clone());
    let watermark = Watermark::watch(&query);
    let victims: Vec<_> = (0..8)
        .map(|n| Client::start(&cluster.gateway.url, n))
        .collect();
    let bystander = Client::start(&other.url, 9);
    let served = |rows: u64| victims.iter().all(|client| client.acknowledged() > rows);
    eventually("under load", PATIENCE, || {
        served(300) && bystander.acknowledged() > 300
    });

    signal(cluster.gateway.pid(), "STOP");
    let (frozen, at) = (Instant::now(), crate::wall_ns());
    eventually("complete beyond the freeze", STANDSTILL * 2, || {
        complete_through(&query) > Some(at)
    });
    let before = bystander.acknowledged();
    let freeze = Duration::from_secs(setting("TOURBILLON_FREEZE_S", 12));
    std::thread::sleep(freeze.saturating_sub(frozen.elapsed()));
    assert!(
        bystander.acknowledged() > before,
        "the other gateway works on"
    );
    let known = victims.iter().map(Client::acknowledged).max().unwrap();
    let (woken, awake) = (Instant::now(), crate::wall_ns());
    signal(cluster.gateway.pid(), "CONT");
    eventually("served again", PATIENCE, || served(known));
    eventually("complete beyond the waking", PATIENCE, || {
        complete_through(&query) > Some(awake)
    });

    let clients = victims.into_iter().chain([bystander]);
    let records: Vec<_> = clients.map(Client::finish).collect();
    let samples = watermark.finish();
    let passed = |since: Instant, stamp: i64| {
        let later = samples.iter().find(|sample| sample.1 > stamp);
        later.expect("T passed it").0 - since
    };
    // its last frames may have told a bit more than the moment of the freeze: so look at both
    let (beyond, stood) = (passed(frozen, at), longest_standstill(&samples));
    assert!(
        beyond.max(stood) < STANDSTILL,
        "T stood for {stood:?}, passed after {beyond:?}"
    );
    let told = stored(&cluster, &records);
    let (refused, balance) = assert_balanced(&cluster);
    assert!(
        refused > 0,
        "what was on its way at the freeze came too late"
    );
    assert!(other.terminate().success());
    verified(cluster, &records);
    eprintln!(
        "frozen for {freeze:?}: {told}; {balance}; T was beyond the freeze after {beyond:?}, beyond \
         the waking after {:?}, stood for {stood:?} at most and never fell in {} samples",
        passed(woken, awake),
        samples.len()
    );
}
