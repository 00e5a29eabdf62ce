//! Partitions that come and go while workers are at work.

use std::collections::BTreeSet;
use std::sync::Mutex;

use object_store::throttle::{ThrottleConfig, ThrottledStore};
use tokio::time::{Instant, sleep};
use tourbillon_log::{TopicPartition, watch};

use super::*;
use crate::rig::WINDOW;
use crate::supervise::FINISH;

/// Assigns what a test says, and remembers what it was told.
#[derive(Debug)]
struct Hand {
    given: watch::Sender<Assignment>,
    told: Mutex<Vec<BTreeSet<TopicPartition>>>,
}

impl Hand {
    fn new(rig: &Rig, partitions: &[u32]) -> Arc<Self> {
        Arc::new(Self {
            given: watch::Sender::new(listed(rig, partitions)),
            told: Mutex::default(),
        })
    }

    fn give(&self, rig: &Rig, partitions: &[u32]) {
        self.given.send_replace(listed(rig, partitions));
    }

    /// Everything that was told so far, oldest first.
    fn told(&self) -> Vec<Vec<u32>> {
        let told = self.told.lock().unwrap();
        let numbers =
            |set: &BTreeSet<TopicPartition>| set.iter().map(|at| at.partition.0).collect();
        told.iter().map(numbers).collect()
    }

    fn runs(&self, partitions: &[u32]) -> bool {
        self.told().last().is_some_and(|told| told == partitions)
    }
}

impl Assigner for Hand {
    fn subscribe(&self) -> watch::Receiver<Assignment> {
        self.given.subscribe()
    }

    fn running(&self, partitions: &BTreeSet<TopicPartition>) {
        self.told.lock().unwrap().push(partitions.clone());
    }
}

fn listed(rig: &Rig, partitions: &[u32]) -> Assignment {
    Assignment::Listed(partitions.iter().map(|p| rig.at(*p)).collect())
}

impl Rig {
    /// A worker that runs what the hand gives it.
    fn handed(&self, hand: &Arc<Hand>, nonce: &str) -> Worker {
        let means = Means {
            log: self.log(),
            lake: self.lake.clone(),
            control: self.control.clone(),
            nonce: nonce.into(),
            grace: Duration::from_secs(3600),
        };
        Worker::assigned(Arc::<Hand>::clone(hand), means)
    }

    fn key(&self, partition: u32) -> (StreamName, PartitionId) {
        (self.def.name.clone(), PartitionId(partition))
    }

    /// Waits until every partition has been read to its end by a worker that runs it.
    async fn all_read(&self, workers: &[Worker]) {
        for partition in 0..self.def.partitions {
            let (key, end) = (self.key(partition), self.end(partition).await);
            until(|| async {
                let reached = |worker: &Worker| Some(worker.progress().get(&key)?.next_offset());
                workers
                    .iter()
                    .filter_map(reached)
                    .any(|at| Offset(at) == end)
            })
            .await;
        }
    }

    /// Fails unless the chains are those of a worker that nobody disturbed.
    async fn assert_undisturbed(&self) {
        let alone = self.with_lake(memory());
        alone.seal().await;
        let (found, wanted) = (self.outcome().await, alone.outcome().await);
        assert!(wanted.iter().all(|links| links.len() > 3));
        assert_eq!(found, wanted);
    }
}

/// A store whose calls take as long as the test says.
fn slow() -> (Arc<ThrottledStore<InMemory>>, Lake) {
    let store = ThrottledStore::new(InMemory::new(), ThrottleConfig::default());
    let store = Arc::new(store);
    let lake = Lake::with_store(Arc::clone(&store) as _, "slow://");
    (store, lake)
}

#[tokio::test(start_paused = true)]
async fn moved_partitions_go_on_and_the_others_notice_nothing() {
    let rig = Rig::new(memory(), 4).await;
    let mut feed = Feed::new(&rig, 21, 3).await;
    let hands = [Hand::new(&rig, &[0, 1]), Hand::new(&rig, &[2, 3])];
    let workers = [rig.handed(&hands[0], "a"), rig.handed(&hands[1], "b")];
    feed.run(300, 2_000_000).await;
    rig.all_read(&workers).await;
    let stays = Arc::clone(&workers[0].progress()[&rig.key(0)]);
    let rounds: [[&[u32]; 2]; 6] = [
        [&[0], &[1, 2, 3]],
        [&[0, 3], &[1, 2]],
        // nobody has 1 for a while, then both
        [&[0, 3], &[2]],
        [&[0, 1], &[1, 2, 3]],
        // a partition of no stream does no harm
        [&[0, 1, 9], &[2, 3]],
        [&[0, 1, 2, 3], &[]],
    ];
    for round in rounds {
        for (hand, partitions) in hands.iter().zip(round) {
            hand.give(&rig, partitions);
        }
        feed.run(120, 2_000_000).await;
        let known = |p: &&u32| **p < rig.def.partitions;
        until(|| async {
            hands.iter().zip(round).all(|(hand, partitions)| {
                let partitions: Vec<u32> = partitions.iter().filter(known).copied().collect();
                hand.runs(&partitions)
            })
        })
        .await;
    }
    rig.all_read(&workers).await;
    assert!(Arc::ptr_eq(&stays, &workers[0].progress()[&rig.key(0)]));
    assert!(workers[1].progress().is_empty());
    for worker in &workers {
        assert!(worker.is_healthy());
        worker.shutdown().await;
    }
    assert!(hands.iter().all(|hand| hand.runs(&[])));
    rig.assert_undisturbed().await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_taken_away_during_its_recovery_goes_at_once() {
    let (store, lake) = slow();
    let rig = Rig::new(lake, 1).await;
    let mut feed = Feed::new(&rig, 22, 2).await;
    feed.run(300, 2_000_000).await;
    let hand = Hand::new(&rig, &[0]);
    let first = rig.handed(&hand, "a");
    rig.all_read(std::slice::from_ref(&first)).await;
    first.shutdown().await;
    store.config_mut(|config| {
        config.wait_list_per_call = Duration::from_secs(3600);
        config.wait_get_per_call = Duration::from_secs(3600);
    });
    let worker = rig.handed(&hand, "b");
    until(|| async { hand.runs(&[0]) }).await;
    sleep(Duration::from_secs(1)).await;
    let taken = Instant::now();
    hand.give(&rig, &[]);
    until(|| async { hand.runs(&[]) }).await;
    assert!(taken.elapsed() < Duration::from_millis(100));
    assert!(worker.progress().is_empty());
    store.config_mut(|config| *config = ThrottleConfig::default());
    feed.run(300, 2_000_000).await;
    hand.give(&rig, &[0]);
    rig.all_read(std::slice::from_ref(&worker)).await;
    worker.shutdown().await;
    rig.assert_undisturbed().await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_given_back_while_it_finishes_starts_anew_when_it_has() {
    const UPLOAD: Duration = Duration::from_secs(1);
    let (store, lake) = slow();
    let rig = Rig::new(lake, 1).await;
    let mut feed = Feed::new(&rig, 23, 2).await;
    store.config_mut(|config| config.wait_put_per_call = UPLOAD);
    let hand = Hand::new(&rig, &[0]);
    let worker = rig.handed(&hand, "a");
    until(|| async { hand.runs(&[0]) }).await;
    let before = Arc::clone(&worker.progress()[&rig.key(0)]);
    // a window and a bit: one segment is being uploaded
    feed.run(80, WINDOW / 50).await;
    sleep(UPLOAD / 2).await;
    assert_eq!(before.commits(), 0);
    hand.give(&rig, &[]);
    sleep(UPLOAD / 4).await;
    hand.give(&rig, &[0]);
    let same = || {
        let now = worker.progress();
        let now = now.get(&rig.key(0));
        now.is_some_and(|now| Arc::ptr_eq(now, &before))
    };
    sleep(UPLOAD / 4).await;
    assert!(same(), "it finishes what is in hand first");
    until(|| async { !same() }).await;
    assert!(before.commits() > 0, "what was in hand is committed");
    assert!(hand.told().iter().all(|told| told == &[0]));
    feed.run(300, 2_000_000).await;
    store.config_mut(|config| *config = ThrottleConfig::default());
    rig.all_read(std::slice::from_ref(&worker)).await;
    worker.shutdown().await;
    rig.assert_undisturbed().await;
}

#[tokio::test(start_paused = true)]
async fn uploads_that_take_too_long_are_cut_off_and_made_again_by_the_next() {
    let (store, lake) = slow();
    let rig = Rig::new(lake, 1).await;
    let mut feed = Feed::new(&rig, 24, 2).await;
    store.config_mut(|config| config.wait_put_per_call = Duration::from_secs(3600));
    let hand = Hand::new(&rig, &[0]);
    let worker = rig.handed(&hand, "a");
    feed.run(300, 2_000_000).await;
    sleep(Duration::from_secs(1)).await;
    let taken = Instant::now();
    hand.give(&rig, &[]);
    until(|| async { hand.runs(&[]) }).await;
    let took = taken.elapsed();
    assert!((FINISH..FINISH * 2).contains(&took), "{took:?}");
    store.config_mut(|config| *config = ThrottleConfig::default());
    let other = Hand::new(&rig, &[0]);
    let next = rig.handed(&other, "b");
    rig.all_read(std::slice::from_ref(&next)).await;
    next.shutdown().await;
    worker.shutdown().await;
    rig.assert_undisturbed().await;
}
