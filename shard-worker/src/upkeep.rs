//! Upkeep of one partition's files: segments of an hour become few large files, and what is older
//! than the stream's retention goes.
//!
//! ```text
//! commit chain -> planner -> rewrite + proof -> compaction chain -> (grace) -> segments go
//! compaction chain -> retention -> boundary -> (grace) -> everything before it goes
//! ```
//!
//! Compactions are a function of the commit chain, so several workers may do them at once. A
//! worker waits for the grace by its own monotonic clock, from when it first saw the compaction or
//! boundary in the store; a restart begins the wait anew.

mod removal;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::compaction::{CompactionPlan, CompactionPlanner};
use tourbillon_core::control::StreamDef;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::PartitionId;
use tourbillon_core::manifest::{Boundary, ChainTip, Commit, CompactionBody, SegmentMeta};
use tourbillon_core::replica::Codecs;
use tourbillon_lake::{Appended, Chain, Lake, LakeError, Link};
use tourbillon_log::TopicPartition;
use tourbillon_log::control::ControlTopic;

use crate::error::{Cause, WorkerError};
use crate::metrics;

/// How often the commit chain is looked at: this part of a span, at least and at most.
const LOOKS: u32 = 120;
const LOOK: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Pause after an error: first, and at most. It doubles.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// What a partition's upkeep needs.
#[derive(Clone, Debug)]
pub(crate) struct Upkeep {
    pub(crate) partition: PartitionId,
    pub(crate) at: TopicPartition,
    pub(crate) def: Arc<StreamDef>,
    pub(crate) lake: Lake,
    pub(crate) control: ControlTopic,
    pub(crate) nonce: String,
    /// How long objects stay after something has taken their place.
    pub(crate) grace: Duration,
    /// One rewrite at a time in a process.
    pub(crate) turns: Arc<Semaphore>,
}

/// A compaction whose segments have not been removed yet.
#[derive(Debug)]
struct Unswept {
    since: Instant,
    segments: Vec<SegmentMeta>,
    body: CompactionBody,
}

/// How far the upkeep of a partition has come.
#[derive(Debug)]
struct Upheld {
    planner: CompactionPlanner,
    commits: ChainTip,
    watermark: Hlc,
    compactions: ChainTip,
    unswept: VecDeque<Unswept>,
    boundary: Boundary,
    boundaries: ChainTip,
    /// Since when the newest boundary asks for something to go that may still be there.
    doomed: Option<Instant>,
    /// The first compaction that is kept.
    oldest: Option<Link<CompactionBody>>,
}

impl Upkeep {
    /// Works until `stop`. Errors only pause it: sealing goes on without.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut pause = None;
        loop {
            let begun = Instant::now();
            let error = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                error = self.uphold() => match error {
                    Ok(never) => match never {},
                    Err(error) => error,
                },
            };
            let next = next_pause(pause, begun.elapsed());
            pause = Some(next);
            let (kind, text) = (error.kind(), error_chain(&error));
            metrics::upkeep_failed(&self.at);
            if kind == ErrorKind::Unavailable {
                tracing::warn!(error = text, "upkeep of files pauses");
            } else {
                tracing::error!(
                    error = text,
                    "upkeep of files pauses: its data needs a look"
                );
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(next) => {}
            }
        }
    }

    async fn uphold(&self) -> Result<Infallible, WorkerError> {
        let span = Duration::from_nanos(self.def.compaction_ns.unsigned_abs());
        let look = (span / LOOKS).clamp(LOOK.0, LOOK.1);
        let mut upheld = self.begin().await?;
        loop {
            // what is to go must not wait until all that is behind has been compacted
            let is_behind = self.compact(&mut upheld).await?;
            self.sweep(&mut upheld).await?;
            self.retain(&mut upheld).await?;
            if !is_behind {
                sleep(look).await;
            }
        }
    }

    /// Goes on where the newest boundary says that everything is done.
    async fn begin(&self) -> Result<Upheld, WorkerError> {
        let newest = Chain::boundaries(&self.lake, &self.def.name, self.partition)
            .standing()
            .await
            .map_err(|e| self.failed("read the boundary", e))?;
        let (boundary, boundaries) = match newest {
            Some(link) => (link.commit.body, link.tip),
            None => (self.first_boundary(), ChainTip::EMPTY),
        };
        let last = match boundary.swept.checked_sub(1) {
            None => None,
            Some(seq) => Some(self.swept(seq).await?),
        };
        let (name, window, span) = self.lengths();
        let kept = boundary.kept.as_ref();
        let planner = match &last {
            Some((body, _)) => CompactionPlanner::resume(name, window, span, body),
            None => CompactionPlanner::new(name, self.partition, window, span),
        };
        Ok(Upheld {
            planner,
            commits: last
                .as_ref()
                .map_or(ChainTip::EMPTY, |(body, _)| body.scan_from),
            watermark: Hlc::MIN,
            compactions: last.map_or(ChainTip::EMPTY, |(_, tip)| tip),
            unswept: VecDeque::new(),
            doomed: kept.map(|_| Instant::now()),
            boundary,
            boundaries,
            oldest: None,
        })
    }

    /// The newest compaction whose segments are gone. Retention always leaves it.
    async fn swept(&self, seq: u64) -> Result<(CompactionBody, ChainTip), WorkerError> {
        let chain = self.compactions();
        let link = chain.get(seq).await;
        let link = link.map_err(|e| self.failed("read the compactions", e))?;
        let path = || chain.path(seq).to_string();
        let link = link.ok_or_else(|| LakeError::Absent { path: path() });
        let link = link.map_err(|e| self.failed("read the compactions", e))?;
        Ok((link.commit.body, link.tip))
    }

    fn first_boundary(&self) -> Boundary {
        Boundary {
            stream: self.def.name.as_str().to_owned(),
            partition: self.partition,
            seq: 0,
            swept: 0,
            kept: None,
        }
    }

    fn lengths(&self) -> (tourbillon_core::ids::StreamName, i64, i64) {
        let def = &self.def;
        (def.name.clone(), def.window_ns, def.compaction_ns)
    }

    fn compactions(&self) -> Chain<CompactionBody> {
        Chain::compactions(&self.lake, &self.def.name, self.partition)
    }

    /// Takes new commits up to one that makes compactions due, and makes or finds those. Whether
    /// there was one.
    async fn compact(&self, upheld: &mut Upheld) -> Result<bool, WorkerError> {
        let chain = Chain::new(&self.lake, &self.def.name, self.partition);
        loop {
            let link = chain.after_tip(&upheld.commits).await;
            let link = link.map_err(|e| self.failed("read the commit chain", e))?;
            let Some(link) = link else { return Ok(false) };
            let body = &link.commit.body;
            upheld.watermark = body.state.watermark;
            let due = upheld.planner.take(body, upheld.commits, link.tip);
            upheld.commits = link.tip;
            let some_due = !due.is_empty();
            for plan in due {
                let segments = plan.groups.iter().flatten().cloned().collect();
                let (body, tip) = self.compacted(plan, &upheld.compactions).await?;
                upheld.compactions = tip;
                upheld.unswept.push_back(Unswept {
                    since: Instant::now(),
                    segments,
                    body,
                });
            }
            if some_due {
                return Ok(true);
            }
        }
    }

    /// The compaction of a plan, found in the store or made.
    async fn compacted(
        &self,
        plan: CompactionPlan,
        tip: &ChainTip,
    ) -> Result<(CompactionBody, ChainTip), WorkerError> {
        let chain = self.compactions();
        let found = chain.after_tip(tip).await;
        if let Some(link) = found.map_err(|e| self.failed("read the compactions", e))? {
            if plan.is(&link.commit.body) {
                return Ok((link.commit.body, link.tip));
            }
            let path = chain.path(plan.body.seq).to_string();
            return Err(self.failed("read the compactions", LakeError::Forked { path }));
        }
        let early = broken(Rule::SwapBeforeRemoval).then(|| plan.groups.concat());
        let body = self.rewrite(plan).await?;
        if let Some(segments) = early {
            let cleared = self.lake.clear_replaced(&self.def.name, &segments, &body);
            cleared.await.map_err(|e| self.failed("remove", e))?;
        }
        let commit = Commit::link(body, tip, self.nonce.clone());
        let commit = commit.map_err(|e| self.failed("make a compaction", e))?;
        let appended = chain.append(&commit).await;
        Ok(
            match appended.map_err(|e| self.failed("append a compaction", e))? {
                Appended::Mine(tip) => {
                    metrics::compacted(&self.at, commit.body.files.len());
                    (commit.body, tip)
                }
                Appended::Adopted(link) => (link.commit.body, link.tip),
            },
        )
    }

    async fn rewrite(&self, plan: CompactionPlan) -> Result<CompactionBody, WorkerError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let mut body = plan.body;
        for group in plan.groups {
            let version = group.first().map_or(0, |segment| segment.schema_version);
            let codec = self.newest_def().codec(version);
            let schema = codec.map(|codec| Arc::new(codec.schema().clone()));
            let schema = schema.unwrap_or_else(|| Arc::new(self.def.schema().clone()));
            let file = self
                .lake
                .compact(&self.def.name, self.partition, schema, &group)
                .await;
            body.files
                .push(file.map_err(|e| self.failed("compact segments", e))?);
        }
        drop(turn);
        Ok(body)
    }

    /// The stream as it is now: its retention and schema may have changed.
    fn newest_def(&self) -> Arc<StreamDef> {
        let view = self.control.view();
        let newest = view.streams.get(&self.def.name).map(Arc::clone);
        newest.unwrap_or_else(|| Arc::clone(&self.def))
    }

    fn failed(&self, step: &'static str, cause: impl Into<Cause>) -> WorkerError {
        WorkerError {
            stream: self.def.name.clone(),
            partition: self.partition,
            step,
            cause: cause.into(),
        }
    }
}

/// The pause after work that went well for `ran`, and `before` which there was another.
fn next_pause(before: Option<Duration>, ran: Duration) -> Duration {
    match before {
        Some(before) if ran <= PAUSE.1 => (before * 2).min(PAUSE.1),
        _ => PAUSE.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew_after_a_good_while() {
        let (mut pause, soon) = (None, Duration::from_secs(5));
        let grown = (0..12).map(|_| {
            pause = Some(next_pause(pause, soon));
            pause.map_or(0, |pause| pause.as_secs())
        });
        let grown: Vec<u64> = grown.collect();
        assert_eq!(grown, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(next_pause(pause, PAUSE.1 * 2), PAUSE.0);
    }
}
