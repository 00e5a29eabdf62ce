//! Proof that a partition's commits are what its log says: everything is made again and compared.

use std::sync::Arc;

use tourbillon_core::control::StreamDef;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::manifest::{ChainTip, SegmentMeta};
use tourbillon_core::replica::Replica;
use tourbillon_core::sealer::{CommitPlan, Sealer};
use tourbillon_lake::{
    Chain, EncodedSegment, Lake, LakeError, encode_rejects, off_thread, same_content,
    verify_segment,
};
use tourbillon_log::control::ControlTopic;
use tourbillon_log::follow::{Follower, as_record};
use tourbillon_log::{Log, TopicPartition};

use crate::encode::encode;
use crate::error::{Cause, WorkerError};

/// What verifying a partition found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionReport {
    /// Commits made again and compared.
    pub commits: u64,
    /// Segments made again and compared.
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
    /// What differs, one line each. Empty if all is well.
    pub differences: Vec<String>,
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
    /// at the log's first record, or at the first commit that needs nothing older.
    pub async fn run(&self) -> Result<PartitionReport, WorkerError> {
        let topic = self.control.stream_topic(&self.def.name);
        let at = TopicPartition {
            topic,
            partition: self.partition,
        };
        let range = self.log.range(&at).await;
        let range = range.map_err(|e| self.failed("read the log's range", lost(&at, e)))?;
        let chain = Chain::new(&self.lake, &self.def.name, self.partition);
        let (replica, mut sealer, mut tip) = self.begin(&chain, range.start).await?;
        let (stream, control) = (self.def.name.clone(), self.control.clone());
        let mut follower = Follower::start(&*self.log, at.clone(), replica, control, stream)
            .await
            .map_err(|e| self.failed("follow the log", e))?;
        let mut report = PartitionReport {
            complete: true,
            ..PartitionReport::default()
        };
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
                let Some(plan) = plan.filter(|_| report.complete) else {
                    continue;
                };
                match self.compare(def, plan, &chain, &tip, &mut report).await? {
                    Some(next) => tip = next,
                    None => report.complete = false,
                }
            }
        }
        if report.complete {
            self.check_end(&at, &chain, &tip, range.end, &mut report)
                .await?;
        }
        let counts = follower.replica().machine().counts();
        report.open_rows = sealer.open_rows();
        report.duplicate_rows = counts.duplicate;
        report.rejected_rows = counts.rejected;
        Ok(report)
    }

    async fn begin(
        &self,
        chain: &Chain,
        log_start: Offset,
    ) -> Result<(Replica, Sealer, ChainTip), WorkerError> {
        let (stream, window_ns) = (self.def.name.clone(), self.def.window_ns);
        if log_start == Offset(0) {
            let sealer = Sealer::new(stream, self.partition, window_ns);
            return Ok((Replica::new(self.def.rules), sealer, ChainTip::EMPTY));
        }
        let mut tip = ChainTip::EMPTY;
        loop {
            let link = chain.after_tip(&tip).await;
            let link = link.map_err(|e| self.failed("read the commit chain", e))?;
            let Some(link) = link else {
                let cause = LakeError::Damaged {
                    path: chain.folder().to_string(),
                    reason: format!("no commit goes on from the log's first offset {log_start}"),
                };
                return Err(self.failed("find where to begin", cause));
            };
            tip = link.tip;
            let body = &link.commit.body;
            if body.scan_from >= log_start {
                let sealer = Sealer::resume(stream, window_ns, body);
                return Ok((Replica::resume(self.def.rules, body), sealer, tip));
            }
        }
    }

    /// Compares one commit; none if the chain does not have it yet.
    async fn compare(
        &self,
        def: Arc<StreamDef>,
        plan: CommitPlan,
        chain: &Chain,
        tip: &ChainTip,
        report: &mut PartitionReport,
    ) -> Result<Option<ChainTip>, WorkerError> {
        let mut body = plan.body;
        let found = take(chain.after_tip(tip).await, report)
            .map_err(|e| self.failed("read the store", e))?;
        let Some(found) = found.flatten() else {
            self.check_gap(chain, tip, report).await?;
            return Ok(None);
        };
        let said = &found.commit.body;
        for (i, rows) in plan.segments.into_iter().enumerate() {
            let made = encode(Arc::clone(&def), self.partition, rows).await;
            let made = made.map_err(|e| self.failed("encode a segment", e))?;
            report.segments += 1;
            report.sealed_rows += made.meta.rows;
            let said = said.segments.get(i).filter(|s| s.name == made.meta.name);
            self.check_segment(&made, said.unwrap_or(&made.meta), report)
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
        Ok(Some(found.tip))
    }

    /// Compares a stored segment with the one made again. Another release may have encoded it: it
    /// must be what its commit says, and hold the same rows.
    async fn check_segment(
        &self,
        made: &EncodedSegment,
        said: &SegmentMeta,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        let stored = self.lake.get_segment(&self.def.name, &said.name).await;
        let Some(stored) = take(stored, report).map_err(|e| self.failed("read the store", e))?
        else {
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

    /// A commit that is absent while later ones are there was lost.
    async fn check_gap(
        &self,
        chain: &Chain,
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
            let what = format!("commit {path} is absent and a later commit is there");
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
        let (path, sealed) = (chain.path(tip.next_seq), link.commit.body.next_offset);
        if sealed <= log_end {
            let what = format!("commit {path} is not one that the log asks for");
            report.differences.push(what);
            return Ok(());
        }
        // records may have come since, and a worker may have sealed them
        let range = self.log.range(at).await;
        let now = range
            .map_err(|e| self.failed("read the log's range", lost(at, e)))?
            .end;
        if sealed > now {
            let what = format!(
                "the log was truncated: commit {path} seals its records below offset {sealed} \
                 and the log ends at {now}"
            );
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
