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
use tourbillon_core::manifest::{Boundary, ChainTip, CompactionBody};
use tourbillon_core::replica::Replica;
use tourbillon_lake::{Chain, Lake, LakeError, Link};
use tourbillon_log::control::ControlTopic;
use tourbillon_log::follow::{FollowError, Follower, as_record};
use tourbillon_log::{Log, watch};

use crate::partition::{Partition, State};

/// How often the commit chain is looked at: several times in a window, at least and at most.
const CHAIN_POLL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(250));

/// Compactions and boundaries are looked for once in so many looks at the commit chain: what they
/// replace stays for the grace.
const FILE_POLLS: u32 = 8;

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

/// The chains of a partition.
struct Chains {
    commits: Chain,
    compactions: Chain<CompactionBody>,
    boundaries: Chain<Boundary>,
}

/// How far each was read.
#[derive(Clone, Copy, Debug, Default)]
struct Tips {
    commits: ChainTip,
    compactions: ChainTip,
    boundaries: ChainTip,
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
        let (replica, tips) = self.load().await.map_err(Failure::Lake)?;
        // whoever sealed what was just read may know of more partitions
        self.control.catch_up().await.map_err(Failure::Log)?;
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
            ended = self.follow_chains(tips) => ended,
            ended = self.follow_log(follower, end) => ended,
        };
        ended.map(|never| match never {})
    }

    /// Reads everything from the store. What it says contradicts itself if retention clears it away
    /// meanwhile: then the newest boundary is another one, and it is read again.
    async fn load(&self) -> Result<(Replica, Tips), LakeError> {
        let boundaries = self.chains().boundaries;
        let before = boundaries.standing().await?;
        match self.load_after(before.as_ref()).await {
            Err(error) if error.kind() == ErrorKind::Data => {
                Err(boundaries.overtaken_since(before.as_ref(), error).await?)
            }
            loaded => loaded,
        }
    }

    /// Reads what retention has left: the compactions, then the commits that they do not cover.
    /// Readers see their files from then on.
    async fn load_after(
        &self,
        boundary: Option<&Link<Boundary>>,
    ) -> Result<(Replica, Tips), LakeError> {
        let mut state = State::default();
        let chains = self.chains();
        let mut tips = Tips::default();
        if let Some(boundary) = boundary {
            tips.boundaries = boundary.tip;
            if let Some(kept) = boundary.commit.body.kept.clone() {
                (tips.commits, tips.compactions) = (kept.commits, kept.compactions);
                state.let_go(kept);
            }
        }
        let mut compactions = chains.compactions.links_after(tips.compactions);
        while let Some(link) = compactions.try_next().await? {
            state.compacted(&link.commit.body);
            tips.compactions = link.tip;
            tips.commits = link.commit.body.scan_from;
        }
        let mut newest = None;
        let mut commits = chains.commits.links_after(tips.commits);
        while let Some(link) = commits.try_next().await? {
            state.committed(&link.commit);
            newest = Some(link);
        }
        self.partition.begin(state);
        let rules = self.def.rules;
        let replica = match &newest {
            None => Replica::new(rules),
            Some(link) => Replica::resume(rules, &link.commit.body),
        };
        tips.commits = newest.map_or(tips.commits, |link| link.tip);
        Ok((replica, tips))
    }

    fn chains(&self) -> Chains {
        let (lake, name, number) = (&self.lake, &self.def.name, self.partition.number);
        Chains {
            commits: Chain::new(lake, name, number),
            compactions: Chain::compactions(lake, name, number),
            boundaries: Chain::boundaries(lake, name, number),
        }
    }

    async fn follow_chains(&self, mut tips: Tips) -> Result<Infallible, Failure> {
        let chains = self.chains();
        let mut polls = interval(chain_poll(self.def.window_ns));
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut away, mut polled) = (false, 0u32);
        loop {
            let missed = tokio::select! {
                biased;
                () = self.partition.moved.notified() => true,
                _ = polls.tick() => false,
            };
            polled = polled.wrapping_add(1);
            let all = missed || polled.is_multiple_of(FILE_POLLS);
            match self.take_links(&chains, &mut tips, all).await {
                Ok(()) => away = false,
                Err(error @ LakeError::Overtaken { .. }) => return Err(Failure::Lake(error)),
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

    /// Takes new commits and, if `all`, new compactions and boundaries.
    async fn take_links(
        &self,
        chains: &Chains,
        tips: &mut Tips,
        all: bool,
    ) -> Result<(), LakeError> {
        while let Some(link) = chains.commits.after_tip(&tips.commits).await? {
            self.partition.committed(&link.commit);
            tips.commits = link.tip;
        }
        if !all {
            return Ok(());
        }
        while let Some(link) = chains.compactions.after_tip(&tips.compactions).await?
            && link.commit.body.through.next_seq <= tips.commits.next_seq
        {
            self.partition.compacted(&link.commit.body);
            tips.compactions = link.tip;
        }
        let boundary = chains.boundaries.standing().await?;
        if let Some(link) = boundary.filter(|link| link.tip != tips.boundaries) {
            tips.boundaries = link.tip;
            if let Some(kept) = link.commit.body.kept {
                // what it has not seen yet is gone: it begins anew
                let slept = kept.commits.next_seq > tips.commits.next_seq
                    || kept.compactions.next_seq > tips.compactions.next_seq;
                if slept {
                    let path = chains.boundaries.folder().to_string();
                    return Err(LakeError::Overtaken { path });
                }
                self.partition.let_go(kept);
            }
        }
        Ok(())
    }

    /// Before a watermark is shown that a writer's word on more partitions stands behind, those
    /// partitions must be known: they may hold rows below it.
    async fn learn_of(&self, partitions: u32) -> Result<(), Failure> {
        let view = self.control.view();
        let known = view.streams.get(&self.def.name);
        let known = known.map_or(self.def.partitions, |def| def.partitions);
        if known >= partitions {
            return Ok(());
        }
        self.control.catch_up().await.map_err(Failure::Log)
    }

    async fn follow_log(&self, mut follower: Follower, end: Offset) -> Result<Infallible, Failure> {
        let partition = &self.partition;
        let mut asked = 0;
        loop {
            let records = follower.read().await.map_err(Failure::Follow)?;
            let mut runs = Vec::new();
            for record in &records {
                let applied = follower.apply(record).await.map_err(Failure::Follow)?;
                let told = follower.replica().machine().highest_cut();
                if told > asked {
                    self.learn_of(told).await?;
                    asked = told;
                }
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
