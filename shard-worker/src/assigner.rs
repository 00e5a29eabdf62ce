//! Who runs what: says which partitions a worker should run now. It only spreads the work, for the
//! commit chain alone decides what counts; two workers on one partition agree byte for byte.

use std::collections::BTreeSet;
use std::fmt::Debug;

use tourbillon_core::ids::PartitionId;
use tourbillon_log::control::ControlTopic;
use tourbillon_log::{TopicPartition, watch};

/// What a worker should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// Every partition whose number modulo `shares` is `share`, of every stream.
    Share {
        /// The share, counted from 0.
        share: u32,
        /// How many there are; 0 counts as 1.
        shares: u32,
    },
    /// These. Partitions of no stream that is known do no harm.
    Listed(BTreeSet<TopicPartition>),
}

impl Assignment {
    /// Whether a partition is among them.
    pub fn includes(&self, at: &TopicPartition) -> bool {
        match self {
            Self::Share { share, shares } => at.partition.0 % (*shares).max(1) == *share,
            Self::Listed(partitions) => partitions.contains(at),
        }
    }

    /// How many others may act before this worker where one is enough. The worker that runs the
    /// first partition of the first stream has rank 0, so where every partition is run, one has.
    pub(crate) fn rank(&self, control: &ControlTopic) -> u32 {
        let listed = match self {
            Self::Share { share, .. } => return *share,
            Self::Listed(partitions) => partitions,
        };
        let mut before = 0u32;
        for def in control.view().streams.values() {
            let topic = control.stream_topic(&def.name);
            for partition in (0..def.partitions).map(PartitionId) {
                let topic = topic.clone();
                if listed.contains(&TopicPartition { topic, partition }) {
                    return before;
                }
                before = before.saturating_add(1);
            }
        }
        u32::MAX
    }
}

/// Assigns partitions to one worker.
pub trait Assigner: Debug + Send + Sync {
    /// What the worker should run now, and a notice of every change.
    fn subscribe(&self) -> watch::Receiver<Assignment>;

    /// The worker tells what it runs, whenever that changes. A partition that it should run no more
    /// is among these until what was in hand is finished.
    fn running(&self, partitions: &BTreeSet<TopicPartition>);
}

/// A share that is given once and never changes.
#[derive(Debug)]
pub struct Shares(watch::Sender<Assignment>);

impl Shares {
    /// This share of so many.
    pub fn new(share: u32, shares: u32) -> Self {
        Self(watch::Sender::new(Assignment::Share { share, shares }))
    }
}

impl Assigner for Shares {
    fn subscribe(&self) -> watch::Receiver<Assignment> {
        self.0.subscribe()
    }

    fn running(&self, _: &BTreeSet<TopicPartition>) {}
}
