//! The task that keeps a partition's state up to date: it follows the log and the commit chain.
//!
//! The two run side by side, so that a store that is slow or away for a while delays neither fresh
//! rows nor the watermark; the tail only grows in the meantime. Losing the log, or damage in
//! either, ends both: what may come right starts again, the rest stops the partition.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tourbillon_core::control::StreamDef;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::ids::Offset;
use tourbillon_core::manifest::ChainTip;
use tourbillon_core::replica::Replica;
use tourbillon_lake::{Chain, Lake, LakeError};
use tourbillon_log::control::ControlTopic;
use tourbillon_log::follow::{FollowError, Follower, as_record};
use tourbillon_log::{Log, watch};

use crate::partition::{Partition, State};

/// How often the commit chain is looked at: several times in a window, at least and at most.
const CHAIN_POLL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(250));

/// Pause before a partition that lost the log or the store starts again.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// What a partition's task works with.
#[derive(Clone, Debug)]
pub(crate) struct PartitionTask {
    pub(crate) partition: Arc<Partition>,
    pub(crate) def: Arc<StreamDef>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) lake: Lake,
    pub(crate) control: ControlTopic,
    /// Rung whenever a watermark has moved.
    pub(crate) bell: watch::Sender<()>,
    pub(crate) stop: CancellationToken,
}

enum Failure {
    Follow(FollowError),
    Lake(LakeError),
    Log(tourbillon_log::LogError),
}

impl Failure {
    fn describe(&self) -> (ErrorKind, String) {
        match self {
            Self::Follow(error) => (error.kind(), error_chain(error)),
            Self::Lake(error) => (error.kind(), error_chain(error)),
            Self::Log(error) => (error.kind(), error_chain(error)),
        }
    }
}

impl PartitionTask {
    /// Follows until `stop`, or until the data is beyond help.
    pub(crate) async fn run(self) {
        loop {
            let Err(failure) = self.follow().await else {
                return;
            };
            let (kind, text) = failure.describe();
            let topic = &self.partition.at.topic;
            let partition = self.partition.number.0;
            if kind != ErrorKind::Unavailable {
                tracing::error!(error = text, topic, partition, "partition stopped");
                self.partition.stop(text);
                self.bell.send_replace(());
                return;
            }
            tracing::warn!(error = text, topic, partition, "partition starts again");
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(RESTART_PAUSE) => {}
            }
        }
    }

    /// Returns only when told to stop, or with what went wrong.
    async fn follow(&self) -> Result<(), Failure> {
        let partition = &self.partition;
        let chain = Chain::new(&self.lake, &self.def.name, partition.number);
        let (replica, tip) = self.load(&chain).await.map_err(Failure::Lake)?;
        let (at, control) = (partition.at.clone(), self.control.clone());
        let end = self.log.range(&at).await.map_err(Failure::Log)?.end;
        let follower = Follower::start(&*self.log, at, replica, control, self.def.name.clone())
            .await
            .map_err(Failure::Follow)?;
        let caught_up = end <= follower.replica().position();
        partition.followed(Vec::new(), follower.replica(), caught_up);
        self.bell.send_replace(());
        let ended = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(()),
            ended = self.follow_chain(&chain, tip) => ended,
            ended = self.follow_log(follower, end) => ended,
        };
        ended.map(|never| match never {})
    }

    /// Reads the whole chain; readers see its segments from then on.
    async fn load(&self, chain: &Chain) -> Result<(Replica, ChainTip), LakeError> {
        let (mut state, mut newest) = (State::default(), None);
        let mut links = chain.links();
        while let Some(link) = links.try_next().await? {
            state.committed(&link.commit);
            newest = Some(link);
        }
        self.partition.begin(state);
        let rules = self.def.rules;
        Ok(match newest {
            None => (Replica::new(rules), ChainTip::EMPTY),
            Some(link) => (Replica::resume(rules, &link.commit.body), link.tip),
        })
    }

    async fn follow_chain(&self, chain: &Chain, mut tip: ChainTip) -> Result<Infallible, Failure> {
        let mut polls = interval(chain_poll(self.def.window_ns));
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut away = false;
        loop {
            polls.tick().await;
            match self.take_commits(chain, &mut tip).await {
                Ok(()) => away = false,
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    if !away {
                        tracing::warn!(error = error_chain(&error), "commit chain out of reach");
                    }
                    away = true;
                }
                Err(error) => return Err(Failure::Lake(error)),
            }
        }
    }

    async fn take_commits(&self, chain: &Chain, tip: &mut ChainTip) -> Result<(), LakeError> {
        while let Some(link) = chain.after_tip(tip).await? {
            self.partition.committed(&link.commit);
            *tip = link.tip;
        }
        Ok(())
    }

    async fn follow_log(&self, mut follower: Follower, end: Offset) -> Result<Infallible, Failure> {
        let partition = &self.partition;
        loop {
            let records = follower.read().await.map_err(Failure::Follow)?;
            let mut runs = Vec::new();
            for record in &records {
                let applied = follower.apply(record).await.map_err(Failure::Follow)?;
                partition.refused(as_record(record), applied.verdict.as_ref());
                runs.extend(applied.runs);
            }
            let caught_up = follower.replica().position() >= end;
            partition.followed(runs, follower.replica(), caught_up);
            self.bell.send_replace(());
        }
    }
}

/// Commits come once a window. Rows are in the tail until one is seen, so nothing waits for it.
fn chain_poll(window_ns: i64) -> Duration {
    let eighth = Duration::from_nanos(window_ns.unsigned_abs() / 8);
    eighth.clamp(CHAIN_POLL.1, CHAIN_POLL.0)
}
