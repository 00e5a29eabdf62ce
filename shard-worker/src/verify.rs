//! Proof that a partition's commits are what its log says: everything is made again and compared.

use std::sync::Arc;

use bytes::Bytes;
use tourbillon_core::control::StreamDef;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::manifest::{Body, ChainTip, CommitBody, SegmentMeta};
use tourbillon_core::replica::Replica;
use tourbillon_core::sealer::{CommitPlan, Sealer};
use tourbillon_lake::{
    Chain, EncodedSegment, Lake, LakeError, Link, encode_rejects, off_thread, same_content,
    verify_segment,
};
use tourbillon_log::control::ControlTopic;
use tourbillon_log::follow::{Follower, as_record};
use tourbillon_log::{Log, LogRange, TopicPartition};

use crate::encode::encode;
use crate::error::{Cause, WorkerError};

mod beyond;
mod compacted;
mod past;
mod strays;

use beyond::Beyond;
use compacted::Compactions;
pub use past::ByHash;

/// Is told how far the work is: the offset reached, and the offset where the log ends.
pub type Tell<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// What verifying a partition found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionReport {
    /// Commits made again and compared, or checked [by hash](Self::by_hash).
    pub commits: u64,
    /// Segments made again and compared, or checked by hash.
    pub segments: u64,
    /// Rows in those segments.
    pub sealed_rows: u64,
    /// Rows accepted but not in a segment yet.
    pub open_rows: u64,
    /// Rows that clients or producers sent again.
    pub duplicate_rows: u64,
    /// Rows in the rejects sidecars.
    pub rejected_rows: u64,
    /// Whether the chain has every commit that the log asks for.
    pub complete: bool,
    /// What could not be made again because the log does not hold its records any more.
    pub by_hash: Option<ByHash>,
    /// Compactions planned again and proven.
    pub compactions: u64,
    /// Files in them.
    pub compacted_files: u64,
    /// Rows that retention let go, and that nobody can check any more.
    pub gone_rows: u64,
    /// Watermark of the newest commit.
    pub watermark: Hlc,
    /// What differs, one line each. Empty if all is well.
    pub differences: Vec<String>,
    /// Rows in a partition that their key does not belong to: the first of each segment, one line
    /// each. The files say what the log says, but a writer broke the protocol.
    pub strays: Vec<String>,
}

/// What to verify.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub lake: Lake,
    /// The control topic.
    pub control: ControlTopic,
    /// The stream.
    pub def: Arc<StreamDef>,
    /// The partition.
    pub partition: PartitionId,
}

impl Verifier {
    /// Reads the partition's log to its present end and compares every commit on the way. Starts
    /// at the log's first record, or at the first commit that needs nothing older; what lies before
    /// that commit is checked by hash.
    pub async fn run(&self) -> Result<PartitionReport, WorkerError> {
        self.run_telling(&|_, _| {}).await
    }

    /// The same, and tells how far it is.
    pub async fn run_telling(&self, tell: Tell<'_>) -> Result<PartitionReport, WorkerError> {
        let topic = self.control.stream_topic(&self.def.name);
        let at = TopicPartition {
            topic,
            partition: self.partition,
        };
        let range = self.range(&at).await?;
        let chain = Chain::new(&self.lake, &self.def.name, self.partition);
        let mut report = PartitionReport::default();
        let mut compactions = self.compactions(&mut report).await?;
        let begin = self
            .begin(&at, &chain, range, &mut compactions, &mut report, tell)
            .await?;
        let Some((replica, mut sealer, mut tip)) = begin else {
            return Ok(report);
        };
        report.complete = true;
        let mut beyond = Beyond::default();
        tell(replica.machine().next_offset().0, range.end.0);
        let mut follower = self.follower(&at, replica).await?;
        while follower.replica().position() < range.end {
            let records = follower
                .read()
                .await
                .map_err(|e| self.failed("read the log", e))?;
            for record in records
                .iter()
                .take_while(|record| record.offset < range.end)
            {
                let applied = follower.apply(record).await;
                let applied = applied.map_err(|e| self.failed("apply a record", e))?;
                let def = Arc::clone(follower.def());
                let plan = sealer
                    .step(as_record(record), applied, follower.replica(), def.as_ref())
                    .map_err(|e| self.failed("seal rows", e))?;
                let Some(plan) = plan else { continue };
                if !report.complete {
                    self.look_beyond(&mut beyond, def, plan).await?;
                    continue;
                }
                // reading goes fast; making segments again is what takes time
                tell(record.offset.0, range.end.0);
                let compared = self.compare(def, plan, &chain, &tip, &compactions, &mut report);
                let Some(found) = compared.await? else {
                    report.complete = false;
                    continue;
                };
                let (tips, body) = ((tip, found.tip), &found.commit.body);
                self.check_compactions(&mut compactions, body, tips, &mut report)
                    .await?;
                tip = found.tip;
            }
            let position = follower.replica().position();
            tell(position.min(range.end).0, range.end.0);
        }
        tell(range.end.0, range.end.0);
        if report.complete {
            self.check_end(&at, &chain, &tip, range.end, &mut report)
                .await?;
        }
        self.check_beyond(&beyond, &chain, &tip, &mut report)
            .await?;
        self.check_compactions_end(&compactions, &mut report)
            .await?;
        let counts = follower.replica().machine().counts();
        report.open_rows = sealer.open_rows();
        report.duplicate_rows = counts.duplicate;
        report.rejected_rows = counts.rejected;
        Ok(report)
    }

    async fn follower(
        &self,
        at: &TopicPartition,
        replica: Replica,
    ) -> Result<Follower, WorkerError> {
        let (stream, control) = (self.def.name.clone(), self.control.clone());
        Follower::start(&*self.log, at.clone(), replica, control, stream)
            .await
            .map_err(|e| self.failed("follow the log", e))
    }

    async fn range(&self, at: &TopicPartition) -> Result<LogRange, WorkerError> {
        let range = self.log.range(at).await;
        range.map_err(|e| self.failed("read the log's range", lost(at, e)))
    }

    async fn begin(
        &self,
        at: &TopicPartition,
        chain: &Chain,
        log: LogRange,
        compactions: &mut Compactions,
        report: &mut PartitionReport,
        tell: Tell<'_>,
    ) -> Result<Option<past::Begin>, WorkerError> {
        if log.start > Offset(0) || compactions.kept.is_some() {
            return self.past(at, chain, log, compactions, report, tell).await;
        }
        let (stream, window_ns) = (self.def.name.clone(), self.def.window_ns);
        let sealer = Sealer::new(stream, self.partition, window_ns);
        Ok(Some((
            Replica::new(self.def.rules),
            sealer,
            ChainTip::EMPTY,
        )))
    }

    /// Compares one commit; none if the chain does not have it yet.
    async fn compare(
        &self,
        def: Arc<StreamDef>,
        plan: CommitPlan,
        chain: &Chain,
        tip: &ChainTip,
        compactions: &Compactions,
        report: &mut PartitionReport,
    ) -> Result<Option<Link>, WorkerError> {
        let mut body = plan.body;
        let found = take(chain.after_tip(tip).await, report)
            .map_err(|e| self.failed("read the store", e))?;
        let Some(found) = found.flatten() else {
            self.check_gap(chain, tip, report).await?;
            return Ok(None);
        };
        let said = &found.commit.body;
        for (i, rows) in plan.segments.into_iter().enumerate() {
            let stray = self.stray(&def, &rows).await?;
            report.strays.extend(stray);
            let made = encode(Arc::clone(&def), self.partition, rows).await;
            let made = made.map_err(|e| self.failed("encode a segment", e))?;
            report.segments += 1;
            report.sealed_rows += made.meta.rows;
            let said = said.segments.get(i).filter(|s| s.name == made.meta.name);
            self.check_segment(&made, said.unwrap_or(&made.meta), compactions, report)
                .await?;
            body.segments.push(made.meta);
        }
        if !plan.rejects.is_empty() {
            let (made, _) = encode_rejects(self.partition, body.seq, &plan.rejects);
            let stored = self.lake.get_rejects(&self.def.name, &made).await;
            take(stored, report).map_err(|e| self.failed("read the store", e))?;
            body.rejects = Some(made);
        }
        if !same_content(&body, said) {
            let path = chain.path(body.seq);
            let what = format!("commit {path} does not say what the log says");
            report.differences.push(what);
        }
        report.commits += 1;
        Ok(Some(found))
    }

    /// Compares a stored segment with the one made again. Another release may have encoded it: it
    /// must be what its commit says, and hold the same rows.
    async fn check_segment(
        &self,
        made: &EncodedSegment,
        said: &SegmentMeta,
        compactions: &Compactions,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        let Some(stored) = self.stored(said, compactions, report).await? else {
            return Ok(());
        };
        if stored == made.bytes && *said == made.meta {
            return Ok(());
        }
        let path = format!("{}/{}", self.def.name, said.name);
        let said = SegmentMeta {
            rows_root: made.meta.rows_root,
            ..said.clone()
        };
        let verified = off_thread(move || verify_segment(&path, &stored, &said)).await;
        let verified = verified.map_err(|e| self.failed("verify a segment", e))?;
        take(verified, report).map_err(|e| self.failed("read the store", e))?;
        Ok(())
    }

    /// The bytes of a segment. None if they are not there, which is a difference unless a compacted
    /// file has taken its place.
    async fn stored(
        &self,
        segment: &SegmentMeta,
        compactions: &Compactions,
        report: &mut PartitionReport,
    ) -> Result<Option<Bytes>, WorkerError> {
        let stored = self.lake.get_segment(&self.def.name, &segment.name).await;
        if stored.as_ref().is_err_and(LakeError::is_absent) {
            if compactions.replace(segment) {
                return Ok(None);
            }
            // a worker may have compacted it since the verification began
            let name = &self.def.name;
            let now = self.lake.is_replaced(name, self.partition, segment);
            let replaced =
                take(now.await, report).map_err(|e| self.failed("read the compactions", e))?;
            if replaced.unwrap_or(false) {
                return Ok(None);
            }
        }
        take(stored, report).map_err(|e| self.failed("read the store", e))
    }

    /// A commit that is absent while later ones are there was lost.
    async fn check_gap<B: Body>(
        &self,
        chain: &Chain<B>,
        tip: &ChainTip,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        let newest = take(chain.newest_listed(tip.next_seq).await, report)
            .map_err(|e| self.failed("read the store", e))?
            .flatten();
        let absent = chain
            .get(tip.next_seq)
            .await
            .is_ok_and(|found| found.is_none());
        if absent && newest.is_some_and(|newest| newest > tip.next_seq) {
            let path = chain.path(tip.next_seq);
            let what = format!("{path} is absent and a later one is there");
            report.differences.push(what);
        }
        Ok(())
    }

    /// The chain must not go on with commits that the log does not ask for, or whose records it
    /// does not have any more.
    async fn check_end(
        &self,
        at: &TopicPartition,
        chain: &Chain,
        tip: &ChainTip,
        log_end: Offset,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        let next = take(chain.after_tip(tip).await, report)
            .map_err(|e| self.failed("read the store", e))?
            .flatten();
        let Some(link) = next else { return Ok(()) };
        let sealed = link.commit.body.next_offset;
        if sealed <= log_end {
            let path = chain.path(tip.next_seq);
            let what = format!("commit {path} is not one that the log asks for");
            report.differences.push(what);
            return Ok(());
        }
        // records may have come since, and a worker may have sealed them
        let now = self.range(at).await?.end;
        if sealed > now {
            let what = truncated(chain, &link.commit.body, now);
            report.differences.push(what);
        }
        Ok(())
    }

    fn failed(&self, step: &'static str, cause: impl Into<Cause>) -> WorkerError {
        let (stream, partition) = (self.def.name.clone(), self.partition);
        WorkerError {
            stream,
            partition,
            step,
            cause: cause.into(),
        }
    }
}

fn lost(at: &TopicPartition, source: tourbillon_log::LogError) -> Cause {
    let (at, from) = (at.clone(), Offset(0));
    Cause::Follow(tourbillon_log::follow::FollowError::Read { at, from, source })
}

fn truncated(chain: &Chain, body: &CommitBody, log_end: Offset) -> String {
    format!(
        "the log was truncated: commit {} seals its records below offset {} and the log ends at \
         {log_end}",
        chain.path(body.seq),
        body.next_offset,
    )
}

/// Damage is a difference; a store that does not answer ends the verification.
fn take<T>(
    result: Result<T, LakeError>,
    report: &mut PartitionReport,
) -> Result<Option<T>, LakeError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::Data => {
            report.differences.push(error_chain(&error));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
