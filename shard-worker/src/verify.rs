//! Proof that a partition's commits are what its log says: everything is made again and compared.

use std::sync::Arc;

use tourbillon_core::control::StreamDef;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::manifest::ChainTip;
use tourbillon_core::replica::Replica;
use tourbillon_core::sealer::{CommitPlan, Sealer};
use tourbillon_lake::{Chain, Lake, encode_rejects, verify_segment};
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
    /// Segments made again and compared, byte for byte.
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
        let mut follower = Follower::start(&*self.log, at, replica, control, stream)
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
                let cause = tourbillon_lake::LakeError::Damaged {
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
        let found = match chain.after_tip(tip).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => {
                report
                    .differences
                    .push(tourbillon_core::error::error_chain(&error));
                return Ok(None);
            }
        };
        for rows in plan.segments {
            let made = encode(Arc::clone(&def), self.partition, rows).await;
            let made = made.map_err(|e| self.failed("encode a segment", e))?;
            report.segments += 1;
            report.sealed_rows += made.meta.rows;
            match self.lake.get_segment(&self.def.name, &made.meta.name).await {
                Ok(stored) if stored == made.bytes => {}
                Ok(stored) => {
                    let what = verify_segment(&made.meta.name, &stored, &made.meta);
                    let what = what.err().map(|e| e.to_string());
                    let what = what.unwrap_or_else(|| format!("{} differs", made.meta.name));
                    report.differences.push(what);
                }
                Err(error) => report.differences.push(error.to_string()),
            }
            body.segments.push(made.meta);
        }
        if !plan.rejects.is_empty() {
            body.rejects = Some(encode_rejects(self.partition, body.seq, &plan.rejects).0);
        }
        if body != found.commit.body {
            report.differences.push(format!(
                "commit {} of {} partition {} does not say what the log says",
                body.seq, self.def.name, self.partition
            ));
        }
        report.commits += 1;
        Ok(Some(found.tip))
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
