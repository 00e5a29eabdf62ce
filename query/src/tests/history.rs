//! Random windows, by stamps and by event time, of random snapshots of a history that goes on: it
//! is appended to, sealed and compacted between them, and another node answers too.
//!
//! `ORACLE_SEED=n` runs one history again; the messages name it.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::oracle::{Case, World};
use super::snapshots::below;
use super::*;
use crate::rig::feed::Row;
use crate::token::Token;

const SPAN: i64 = 1_000_000_000;

/// Rows that a token names.
struct Past {
    token: Token,
    rows: Vec<Row>,
}

struct Life {
    seed: u64,
    rng: SmallRng,
    feed: Feed,
    nodes: Vec<Bench>,
    past: Vec<Past>,
    asked: usize,
}

impl Life {
    async fn begin(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let partitions = rng.random_range(1..4);
        let rig = Rig::keeping(memory(), partitions, Some(SPAN), None).await;
        let mut feed = Feed::new(&rig, seed, rng.random_range(1..5)).await;
        // from hardly out of order to hardly in any, back to before the epoch
        feed.late = *[1_000_000, 300_000_000, 5 * SPAN, 2_000_000_000 * SPAN]
            .choose(&mut rng)
            .unwrap();
        feed.coarse = *[1, 1_000_000, 500_000_000].choose(&mut rng).unwrap();
        let nodes = vec![Bench::on(&rig).await];
        Self {
            seed,
            rng,
            feed,
            nodes,
            past: Vec::new(),
            asked: 0,
        }
    }

    /// Waits until a node has read the whole log.
    async fn follow(&self, node: &Bench) {
        let def = &node.rig.def;
        until(|| async {
            let mut all = true;
            for (number, partition) in (0..).zip(node.service.partitions(def).unwrap()) {
                let summary = partition.summary();
                all &= summary.caught_up && summary.next_offset == node.rig.end(number).await;
            }
            all
        })
        .await;
    }

    /// Takes a token from a node.
    async fn remember(&mut self) {
        let node = self.nodes.choose(&mut self.rng).unwrap();
        self.follow(node).await;
        let token = node.service.now(&self.feed.rig.def).unwrap();
        let mut token: Token = token;
        match self.rng.random_range(0..3) {
            // one that names less of some partition, as if written by hand
            0 => {
                for offset in &mut token.offsets {
                    offset.0 = self.rng.random_range(0..=offset.0);
                }
                token.complete_through = None;
            }
            1 => token.columns = None,
            _ => {}
        }
        let rows = below(&self.feed.rows, &token);
        self.past.push(Past { token, rows });
    }

    /// Asks for a window of what is there, or of a snapshot.
    async fn ask(&mut self) {
        let node = self.nodes.choose(&mut self.rng).unwrap();
        let past = self.past.choose(&mut self.rng);
        let past = past.filter(|_| self.rng.random_bool(0.7));
        self.follow(node).await;
        let columns = self.feed.rig.def.schema().columns().len();
        let world = match past {
            Some(past) => World {
                rows: &past.rows,
                complete: past.token.complete_through,
                token: Some(&past.token),
                has_note: past.token.columns.unwrap_or(columns) > 9,
            },
            None => World {
                rows: &self.feed.rows,
                complete: Some(node.service.complete_through(&node.rig.def).unwrap()),
                token: None,
                has_note: columns > 9,
            },
        };
        let case = Case::random(&mut self.rng, &world);
        let when = format!("ORACLE_SEED={} window {}", self.seed, self.asked);
        case.check(node, self.asked, &when).await;
        self.asked += 1;
    }

    async fn round(&mut self) {
        let steps = self.rng.random_range(10..120);
        self.feed.run(steps, 3_000_000).await;
        // the worker seals and compacts meanwhile, as far as it happens to get
        sleep(Duration::from_millis(self.rng.random_range(0..500))).await;
        self.remember().await;
        for _ in 0..self.rng.random_range(5..25) {
            self.ask().await;
        }
    }
}

fn worker(rig: &Rig) -> Worker {
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "w".into(),
        grace: Duration::from_secs(60),
    };
    Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone())
}

/// One history; how many windows were asked for.
async fn live(seed: u64) -> usize {
    let mut life = Life::begin(seed).await;
    let worker = worker(&life.feed.rig);
    let evolves = life.rng.random_range(0..16);
    for round in 0..16 {
        if round == evolves {
            let mut rig = life.feed.rig.clone();
            rig.evolve().await;
            life.feed.rig = rig;
            for node in &mut life.nodes {
                node.rig.def = std::sync::Arc::clone(&life.feed.rig.def);
            }
        }
        if round == 8 {
            life.nodes.push(Bench::on(&life.feed.rig).await);
        }
        life.round().await;
    }
    assert!(worker.is_healthy());
    // what the compacted files replaced is cleared away
    sleep(Duration::from_secs(150)).await;
    life.nodes.push(Bench::on(&life.feed.rig).await);
    for _ in 0..20 {
        life.ask().await;
    }
    worker.shutdown().await;
    for node in &life.nodes {
        node.service.shutdown().await;
    }
    life.asked
}

#[tokio::test(start_paused = true)]
async fn every_snapshot_is_what_sorting_and_filtering_gives() {
    if let Ok(seed) = std::env::var("ORACLE_SEED") {
        live(seed.parse().unwrap()).await;
        return;
    }
    let mut asked = 0;
    for seed in 0..7 {
        asked += live(seed).await;
    }
    assert!(asked > 1000, "{asked} windows");
}
