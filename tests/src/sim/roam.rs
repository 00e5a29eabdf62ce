//! Assigns partitions to workers as the dice fall: to one, to none, to several. Nothing may depend
//! on that, so the chains must come out as if nobody had moved anything.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tourbillon_core::ids::PartitionId;
use tourbillon_log::{TopicPartition, watch};
use tourbillon_shard_worker::{Assigner, Assignment};

use super::stream::stream_topic;
use super::world::World;

/// Partitions that may exist at most.
const MOST: u32 = 16;

/// What each worker should run, over all its incarnations. The first one begins with everything.
#[derive(Debug)]
pub(crate) struct Roamer(Vec<Arc<Given>>);

/// What one worker is given.
#[derive(Debug)]
struct Given {
    assigned: watch::Sender<Assignment>,
    partitions: Mutex<BTreeSet<u32>>,
}

impl Given {
    fn change(&self, change: impl FnOnce(&mut BTreeSet<u32>)) {
        let mut partitions = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut partitions);
        self.assigned.send_replace(listed(&partitions));
    }
}

impl Assigner for Given {
    fn subscribe(&self) -> watch::Receiver<Assignment> {
        self.assigned.subscribe()
    }

    fn running(&self, _: &BTreeSet<TopicPartition>) {}
}

fn listed(partitions: &BTreeSet<u32>) -> Assignment {
    let at = |partition: &u32| TopicPartition {
        topic: stream_topic(),
        partition: PartitionId(*partition),
    };
    Assignment::Listed(partitions.iter().map(at).collect())
}

impl Roamer {
    pub(crate) fn new(workers: usize) -> Self {
        let given = |number| {
            let partitions = if number == 0 { 0..MOST } else { 0..0 };
            let partitions: BTreeSet<u32> = partitions.collect();
            Arc::new(Given {
                assigned: watch::Sender::new(listed(&partitions)),
                partitions: Mutex::new(partitions),
            })
        };
        Self((0..workers).map(given).collect())
    }

    /// Assigns to the worker of this number.
    pub(crate) fn assigner(&self, number: usize) -> Arc<dyn Assigner> {
        let given = &self.0[number];
        Arc::<Given>::clone(given)
    }

    /// A partition is taken from a worker or given to one; mostly both.
    pub(crate) fn step(&self, world: &World) {
        let dice = &world.dice;
        let partition = u32::try_from(dice.number(0..4)).unwrap_or(0);
        let (from, to) = (dice.index(self.0.len()), dice.index(self.0.len()));
        let (takes, gives) = match dice.number(0..10) {
            0..2 => (true, false),
            2..4 => (false, true),
            _ => (true, true),
        };
        world.trace.note(format_args!(
            "partition {partition}: from {from} {takes}, to {to} {gives}"
        ));
        if takes {
            self.0[from].change(|held| {
                held.remove(&partition);
            });
        }
        if gives {
            self.0[to].change(|held| {
                held.insert(partition);
            });
        }
    }

    /// The first worker has everything, and the others what they have.
    pub(crate) fn settle(&self, world: &World) {
        world.trace.note(format_args!("partitions are settled"));
        self.0[0].change(|held| held.extend(0..MOST));
    }
}
