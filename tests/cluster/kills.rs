//! `kill -9` of one role at any moment, again and again, under load.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::Cluster;
use crate::record::{stored, verified};
use crate::support::client::Client;
use crate::support::watermark::{Watermark, complete_through, longest_standstill};
use crate::support::{Service, eventually, setting};

/// How long a role lives at most before it is killed, once it is looked at.
const LATEST: Duration = Duration::from_millis(1500);

/// How long a role may take to be of use again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Role {
    Gateway,
    Worker,
    Query,
}

/// Clients at work at the same time.
const CLIENTS: u64 = 2;

/// Kills a role TOURBILLON_CYCLES times. Every other time it is in the middle of its work; else its
/// start is not long ago, and it may be far from ready.
fn cycles(role: Role) {
    let Some(mut cluster) = Cluster::lingering(20) else {
        return;
    };
    let count = setting("TOURBILLON_CYCLES", 5);
    let mut rng = SmallRng::seed_from_u64(role as u64);
    let gateway = cluster.gateway.url.clone();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| Client::start(&gateway, number))
        .collect();
    let acknowledged = || clients.iter().map(Client::acknowledged).sum::<u64>();
    let watermark = Watermark::watch(&cluster.query.url);
    let begun = Instant::now();
    for cycle in 0..count {
        if cycle % 2 == 0 {
            let (before, through) = (acknowledged(), complete_through(&cluster.query.url));
            cluster.role(role).until_ready();
            eventually("rows are taken", PATIENCE, || acknowledged() > before);
            eventually("T goes on", PATIENCE, || {
                complete_through(&cluster.query.url) > through
            });
        }
        std::thread::sleep(rng.random_range(Duration::ZERO..LATEST));
        cluster.role(role).respawn();
    }
    let took = begun.elapsed();
    let records: Vec<_> = clients.into_iter().map(Client::finish).collect();
    let stood = longest_standstill(&watermark.finish());
    let told = stored(&cluster, &records);
    verified(cluster, &records);
    eprintln!("{role:?}: {count} kills in {took:?}, {told}; T stood for {stood:?} at most");
}

#[test]
fn a_gateway_killed_at_any_moment_loses_and_doubles_nothing() {
    cycles(Role::Gateway);
}

#[test]
fn a_worker_killed_at_any_moment_loses_and_doubles_nothing() {
    cycles(Role::Worker);
}

#[test]
fn a_query_node_killed_at_any_moment_loses_and_doubles_nothing() {
    cycles(Role::Query);
}

impl Cluster {
    fn role(&mut self, role: Role) -> &mut Service {
        match role {
            Role::Gateway => &mut self.gateway,
            Role::Worker => &mut self.worker,
            Role::Query => &mut self.query,
        }
    }
}
