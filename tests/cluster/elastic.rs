//! Workers and gateways come and go under load: only what must move moves, what stays is sealed on
//! as if nothing had happened, and nobody loses a row.

mod commits;
mod crew;

use std::time::{Duration, Instant};

use crate::record::{stored, verified};
use crate::support::client::Client;
use crate::support::{Service, eventually, get, signal};
use crate::{Cluster, joined};
use commits::Commits;
use crew::{Crew, moved};

/// Partitions of `trades`.
const PARTITIONS: u32 = 8;

/// Its window: as often a partition commits.
const WINDOW: Duration = Duration::from_secs(1);

/// The longest that a partition may be without a commit whose worker stays.
const STEADY: Duration = Duration::from_secs(3);

const PATIENCE: Duration = Duration::from_secs(60);

/// The shortest session that brokers allow by default.
const SESSION: &str = "session.timeout.ms=6000";

/// Who has what in a test at work.
struct Play {
    crew: Crew,
    commits: Commits,
}

impl Play {
    /// Changes the crew and waits until the work is spread again and has gone on everywhere.
    /// Exactly `moves` partitions move. Where the worker stays, nothing is held up; `away` says who
    /// does not stay, though it may come back to its partitions.
    fn step(&mut self, what: &str, moves: usize, away: &str, change: impl FnOnce(&mut Crew)) {
        let (before, begun) = (self.crew.owners(), Instant::now());
        change(&mut self.crew);
        eventually("spread", PATIENCE, || self.crew.is_spread());
        let settled = Instant::now();
        eventually("sealed on", PATIENCE, || self.commits.all_since(settled));
        let after = self.crew.owners();
        let moved = moved(&before, &after);
        assert_eq!(moved.len(), moves, "{what}: {before:?} became {after:?}");
        let (mut stayed, mut stood) = (Duration::ZERO, Duration::ZERO);
        for (partition, pause) in (0..PARTITIONS).zip(self.commits.pauses(begun)) {
            let key = ("trades".to_owned(), partition);
            if moved.contains(&key) || before[&key] == [away] {
                stood = stood.max(pause);
            } else {
                stayed = stayed.max(pause);
            }
        }
        eprintln!(
            "{what}: {moves} of {} partitions moved, spread after {:?}; longest time between two \
             commits {stood:?} where the worker left and {stayed:?} where it stayed",
            after.len(),
            settled - begun
        );
        assert!(stayed < STEADY, "{what}: {stayed:?} without a commit");
    }

    /// How many partitions a worker has.
    fn held(&self, name: &str) -> usize {
        let owners = self.crew.owners();
        owners.values().filter(|owners| **owners == [name]).count()
    }
}

#[test]
fn workers_come_and_go_and_only_what_must_move_does() {
    let Some(args) = Cluster::fresh() else {
        return;
    };
    commits::make_stream(&args);
    let first = ["--worker-name", "w0", "--kafka-option", SESSION];
    let cluster = Cluster::on(args.clone(), 0, &first);
    // these write to every partition
    let clients = [1, 5, 15].map(|number| Client::start(&cluster.gateway.url, number));
    let mut play = Play {
        crew: Crew::of(&cluster.worker.url, &args, &["--kafka-option", SESSION]),
        commits: Commits::watch(&args),
    };
    let begun = Instant::now() + WINDOW;
    eventually("sealing", PATIENCE, || play.commits.all_since(begun));

    // twelve partitions with those of `quotes`
    play.step("one more", 6, "", |crew| crew.up("w1", &[]));
    play.step("a third", 4, "", |crew| crew.up("w2", &[]));
    play.step("a fourth", 3, "", |crew| {
        crew.up("w3", &["--leave-on-stop"])
    });
    play.step("a restart", 0, "w1", |crew| {
        assert!(crew.take("w1").terminate().success());
        crew.up("w1", &[]);
    });
    assert_eq!(play.held("w3"), 3);
    play.step("one leaves", 3, "w3", |crew| {
        assert!(crew.take("w3").terminate().success());
    });
    assert_eq!(play.held("w2"), 4);
    play.step("one is killed", 4, "w2", |crew| crew.take("w2").kill());

    let records = clients.map(Client::finish);
    let told = stored(&cluster, &records);
    play.commits.finish();
    assert!(play.crew.take("w1").terminate().success());
    verified(cluster, &records);
    eprintln!("{told}");
}

#[test]
fn a_gateway_that_stops_is_not_ready_first_and_takes_rows_meanwhile() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let role = ["ingest", "--gateway-name", "other", "--drain", "3s"];
    let other = Service::ready(&joined(&role, &cluster.args));
    let (url, pid) = (other.url.clone(), other.pid());
    let client = Client::start(&url, 1);
    eventually("rows are taken", PATIENCE, || client.acknowledged() > 0);
    signal(pid, "TERM");
    let ready = || get(&format!("{url}/readyz")).map(|(status, _)| status);
    eventually("not ready", PATIENCE, || matches!(ready(), Ok(503)));
    let taken = client.acknowledged();
    eventually("rows are taken still", PATIENCE, || {
        client.acknowledged() > taken + 100
    });
    assert!(matches!(ready(), Ok(503)));
    // a client that a balancer sends elsewhere in time never sees a refusal
    let record = client.finish();
    assert_eq!(record.repeats, 0);
    assert!(other.ended().success());
    stored(&cluster, &[record]);
    verified(cluster, &[record]);
}
