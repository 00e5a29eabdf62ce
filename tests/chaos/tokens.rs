//! Query nodes are alike: a token gives the same bytes from each, whatever happens behind them.

use std::time::Instant;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tourbillon_core::time::format_time_ns;

use crate::account::{arrow, wall_ns};
use crate::deployment::Plan;
use crate::scene::Scene;

const TOKENS: usize = 200;

/// Tokens between two deaths.
const CALM: usize = 10;

#[test]
fn two_query_nodes_give_the_same_bytes_while_workers_are_killed() {
    let Some(scene) = Scene::begin(&Plan::default()) else {
        return;
    };
    let begun = wall_ns();
    scene.play("200 tokens while workers are killed", |scene| {
        let mut rng = SmallRng::seed_from_u64(7);
        let queries = scene.deployment.queries();
        let workers = scene.deployment.names("worker");
        let (started, mut bytes) = (Instant::now(), 0);
        for number in 0..TOKENS {
            if number % CALM == 0 {
                let worker = workers.choose(&mut rng).unwrap();
                scene.deployment.service(worker).respawn();
            }
            let how = question(&mut rng, begun);
            let asked = rng.random_range(0..queries.len());
            let (token, first) = arrow(&queries[asked], &how);
            let other = queries.iter().cycle().nth(asked + 1).unwrap();
            for query in [other, &queries[asked]] {
                let (again, answer) = arrow(query, &format!("{how}&snapshot={token}&wait=30s"));
                assert!(
                    answer == first,
                    "{query} answers {how} of {token} otherwise"
                );
                assert_eq!(again, token);
            }
            bytes += first.len();
        }
        let deaths = TOKENS / CALM;
        eprintln!(
            "{TOKENS} tokens, {bytes} bytes, {deaths} deaths in {:?}",
            started.elapsed()
        );
    });
}

/// A window at random: anywhere since the beginning, up to half a minute long, of final rows or all.
fn question(rng: &mut SmallRng, begun: i64) -> String {
    let second = 1_000_000_000;
    let now = wall_ns();
    let start = rng.random_range(begun - second..now);
    let end = start + rng.random_range(1_000_000..30 * second);
    let order = ["asc", "desc"].choose(rng).unwrap();
    let consistency = if end < now - 2 * second && rng.random_bool(0.5) {
        "final"
    } else {
        "latest"
    };
    let limit = [1, 100, 10_000].choose(rng).unwrap();
    let (start, end) = (format_time_ns(start), format_time_ns(end));
    format!("start={start}&end={end}&order={order}&consistency={consistency}&limit={limit}")
}
