//! Partitions as a consumer group of Kafka spreads them.
//!
//! The group's own thread brings a new assignment and waits, within a bound, until the partitions
//! that are not in it have finished what was in hand; only then the group gives them to others. So
//! as a rule a partition has one worker. Nothing rests on that: a worker that is too slow to let go
//! meets the next one at the commit chain.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tourbillon_log::kafka::GroupListener;
use tourbillon_log::{TopicPartition, watch};

use crate::assigner::{Assigner, Assignment};
use crate::supervise::FINISH;

/// How long the group waits at most: partitions end within their own bound, so longer means that
/// the process is stuck.
const PATIENCE: Duration = FINISH.saturating_add(Duration::from_secs(1));

/// Passes on what a group assigns. Nothing is assigned at first.
#[derive(Debug)]
pub struct Group {
    assigned: watch::Sender<Assignment>,
    running: Mutex<BTreeSet<TopicPartition>>,
    changed: Condvar,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            assigned: watch::Sender::new(Assignment::Listed(BTreeSet::new())),
            running: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Assigner for Group {
    fn subscribe(&self) -> watch::Receiver<Assignment> {
        self.assigned.subscribe()
    }

    fn running(&self, partitions: &BTreeSet<TopicPartition>) {
        self.lock().clone_from(partitions);
        self.changed.notify_all();
    }
}

impl GroupListener for Group {
    fn assigned(&self, all: &BTreeSet<TopicPartition>) {
        let assignment = Assignment::Listed(all.clone());
        if *self.assigned.borrow() == assignment {
            return;
        }
        self.assigned.send_replace(assignment);
        let lingers = |running: &mut BTreeSet<TopicPartition>| !running.is_subset(all);
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, lingers);
        let timed_out = waited.unwrap_or_else(PoisonError::into_inner).1;
        if timed_out.timed_out() {
            tracing::warn!("partitions were not let go in time: the group goes on without waiting");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use tourbillon_core::ids::PartitionId;

    use super::*;

    fn set(partitions: &[u32]) -> BTreeSet<TopicPartition> {
        let at = |p: &u32| TopicPartition {
            topic: "t".into(),
            partition: PartitionId(*p),
        };
        partitions.iter().map(at).collect()
    }

    #[test]
    fn the_group_waits_until_what_goes_is_finished() {
        let group = Arc::new(Group::default());
        let assignments = group.subscribe();
        group.assigned(&set(&[0, 1, 2]));
        assert_eq!(*assignments.borrow(), Assignment::Listed(set(&[0, 1, 2])));
        group.running(&set(&[0, 1, 2]));
        let (told, done) = channel();
        let callback = {
            let group = Arc::clone(&group);
            std::thread::spawn(move || {
                group.assigned(&set(&[1]));
                told.send(()).unwrap();
            })
        };
        let wait = Duration::from_millis(50);
        assert_eq!(done.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        assert_eq!(*assignments.borrow(), Assignment::Listed(set(&[1])));
        group.running(&set(&[0, 1]));
        assert_eq!(done.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        group.running(&set(&[1]));
        done.recv_timeout(PATIENCE).unwrap();
        callback.join().unwrap();
    }
}
