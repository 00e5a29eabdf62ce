//! Partitions and workers are added under load.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::ipc::reader::StreamReader;
use serde_json::Value;

use crate::account::arrow;
use crate::deployment::{Deployment, Plan};
use crate::failures::wait;
use crate::scene::{PATIENCE, Scene, fault};
use crate::support::{eventually, get, put};

/// Partitions of `trades` before and after, and of `quotes`.
const BEFORE: u32 = 4;
const AFTER: u32 = 16;
const OTHERS: usize = 4;

#[test]
fn partitions_and_workers_are_added() {
    let plan = Plan {
        absent: &["worker-2", "worker-3"],
        ..Plan::default()
    };
    let Some(scene) = Scene::begin(&plan) else {
        return;
    };
    scene.play("4 to 16 partitions and 1 to 4 workers", |scene| {
        wait();
        let before = scene.rate(fault());
        grow(&scene.deployment);
        for number in 2..=4 {
            let name = format!("worker-{number}");
            scene.deployment.like("worker-1", &name);
        }
        eventually("shared out", PATIENCE, || is_spread(&scene.deployment));
        wait();
        let after = scene.rate(fault());
        eprintln!(
            "{before:.0} rows/s before, {after:.0} after; {}",
            moves(&scene.deployment)
        );
    });
}

/// Asks for more partitions as a user would.
fn grow(deployment: &Deployment) {
    let url = format!("{}/v1/streams/trades", deployment.entry()[0]);
    let (_, body) = get(&url).unwrap();
    let mut stream: Value = serde_json::from_str(&body).unwrap();
    stream["partitions"] = AFTER.into();
    for told_only in ["name", "version"] {
        stream.as_object_mut().unwrap().remove(told_only);
    }
    let (status, body) = put(&url, &stream);
    assert_eq!(status, 200, "{body}");
}

/// Whether every partition has a worker, and none has two more than another.
fn is_spread(deployment: &Deployment) -> bool {
    let counts = deployment.names("worker").into_iter().map(|name| {
        let (_, body) = get(&format!("{}/v1/worker", deployment.url(&name))).unwrap();
        let told: Value = serde_json::from_str(&body).unwrap();
        told["partitions"].as_array().unwrap().len()
    });
    let counts: Vec<_> = counts.collect();
    let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
    let all = usize::try_from(AFTER).unwrap() + OTHERS;
    counts.iter().sum::<usize>() == all && most - least <= 1
}

/// A key with the partition that it was in first, and last.
type Moves = BTreeMap<String, (u32, u32)>;

/// Fails if a key moved but into a new partition, or far more of them than must. What was found.
fn moves(deployment: &Deployment) -> String {
    let mut keys = Moves::new();
    // in the order of partitions: a key moves into a later one only
    for partition in 0..AFTER {
        for key in keys_of(deployment, partition) {
            keys.entry(key).or_insert((partition, partition)).1 = partition;
        }
    }
    let moved: Vec<_> = keys
        .values()
        .filter(|(first, last)| first != last)
        .collect();
    assert!(
        moved
            .iter()
            .all(|(first, last)| *first < BEFORE && *last >= BEFORE),
        "{keys:?}"
    );
    assert!(
        keys.values().all(|(first, _)| *first < BEFORE),
        "a key of no partition before"
    );
    // three quarters by the number of partitions, within four standard deviations
    let (share, count) = (0.75, f64::from(u32::try_from(keys.len()).unwrap()));
    let most = share * count + 4.0 * (count * share * (1.0 - share)).sqrt();
    assert!(
        f64::from(u32::try_from(moved.len()).unwrap()) <= most,
        "{keys:?}"
    );
    format!(
        "{} of {} keys moved, each into a new partition",
        moved.len(),
        keys.len()
    )
}

/// The keys that have rows in a partition.
fn keys_of(deployment: &Deployment, partition: u32) -> Vec<String> {
    let how = format!("partition={partition}&columns=venue,symbol&consistency=latest");
    let (_, answer) = arrow(&deployment.queries()[0], &how);
    let mut keys = Vec::new();
    for batch in StreamReader::try_new(answer.as_slice(), None).unwrap() {
        let batch = batch.unwrap();
        let text = |column: usize| {
            let column =
                arrow::compute::cast(batch.column(column), &arrow::datatypes::DataType::Utf8);
            column.unwrap()
        };
        let (venues, symbols) = (text(0), text(1));
        let pairs = venues
            .as_string::<i32>()
            .iter()
            .zip(symbols.as_string::<i32>());
        keys.extend(pairs.map(|(venue, symbol)| format!("{} {}", venue.unwrap(), symbol.unwrap())));
        keys.sort_unstable();
        keys.dedup();
    }
    keys
}
