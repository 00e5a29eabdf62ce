//! Compactions and what retention let go, as verification sees them: planned again from the commits
//! that were just checked, and each compacted file held against the segments that it replaced.

use tourbillon_core::compaction::{CompactionPlan, CompactionPlanner};
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::manifest::{
    ChainTip, CommitBody, CompactedFile, CompactionBody, Kept, SegmentMeta,
};
use tourbillon_lake::{Chain, Link};

use super::{PartitionReport, Verifier, take};
use crate::error::WorkerError;

/// The compaction chain while the commit chain is read along with it.
#[derive(Debug)]
pub(super) struct Compactions {
    chain: Chain<CompactionBody>,
    tip: ChainTip,
    /// None if the stream has no compaction, or after a difference.
    planner: Option<CompactionPlanner>,
    /// Rows at or below this key are in compacted files, or gone.
    through: Option<Key>,
    /// What retention has left.
    pub(super) kept: Option<Kept>,
}

impl Compactions {
    /// Whether a segment may be absent because another file has its rows, or nothing has any more.
    pub(super) fn replace(&self, segment: &SegmentMeta) -> bool {
        self.through
            .is_some_and(|through| segment.last_key <= through)
    }

    /// Whether retention let a segment go.
    pub(super) fn let_go(&self, segment: &SegmentMeta) -> bool {
        let gone = self.kept.as_ref().map(|kept| kept.gone_through);
        gone.is_some_and(|gone| segment.last_key <= gone)
    }
}

impl Verifier {
    /// Looks at what there is of compactions and boundaries.
    pub(super) async fn compactions(
        &self,
        report: &mut PartitionReport,
    ) -> Result<Compactions, WorkerError> {
        let (lake, def) = (&self.lake, &self.def);
        let boundaries = Chain::boundaries(lake, &def.name, self.partition);
        let boundary = take(boundaries.standing().await, report)
            .map_err(|e| self.failed("read the boundary", e))?
            .flatten();
        let kept = boundary.and_then(|link| link.commit.body.kept);
        let chain = Chain::compactions(lake, &def.name, self.partition);
        let tip = kept
            .as_ref()
            .map_or(ChainTip::EMPTY, |kept| kept.compactions);
        let newest = take(chain.newest_after(&tip).await, report)
            .map_err(|e| self.failed("read the compactions", e))?
            .flatten();
        let gone = kept.as_ref().map(|kept| kept.gone_through);
        let (name, window, span) = (def.name.clone(), def.window_ns, def.compaction_ns);
        let planner = match &kept {
            _ if span == 0 => None,
            None => Some(CompactionPlanner::new(name, self.partition, window, span)),
            Some(kept) => Some(CompactionPlanner::resume_kept(
                name,
                self.partition,
                window,
                span,
                kept,
            )),
        };
        report.gone_rows = kept.as_ref().map_or(0, |kept| kept.rows);
        Ok(Compactions {
            chain,
            tip,
            planner,
            through: newest.map(|link| link.commit.body.last_key).or(gone),
            kept,
        })
    }

    /// Takes a commit that was found right, and checks the compactions that it makes due.
    pub(super) async fn check_compactions(
        &self,
        compactions: &mut Compactions,
        commit: &CommitBody,
        (before, after): (ChainTip, ChainTip),
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        report.watermark = commit.state.watermark;
        let Some(planner) = &mut compactions.planner else {
            return Ok(());
        };
        for plan in planner.take(commit, before, after) {
            let found = take(compactions.chain.after_tip(&compactions.tip).await, report)
                .map_err(|e| self.failed("read the compactions", e))?
                .flatten();
            let Some(link) = found else {
                // not made yet, unless a later one is there
                self.check_gap(&compactions.chain, &compactions.tip, report)
                    .await?;
                compactions.planner = None;
                return Ok(());
            };
            compactions.tip = link.tip;
            self.check_compaction(compactions, &plan, &link, report)
                .await?;
        }
        Ok(())
    }

    async fn check_compaction(
        &self,
        compactions: &Compactions,
        plan: &CompactionPlan,
        link: &Link<CompactionBody>,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        let found = &link.commit.body;
        if !plan.is(found) {
            let path = compactions.chain.path(found.seq);
            let what = format!("compaction {path} is not one that the commits ask for");
            report.differences.push(what);
            return Ok(());
        }
        for (file, group) in found.files.iter().zip(&plan.groups) {
            self.check_compacted(file, group, report).await?;
        }
        report.compactions += 1;
        report.compacted_files += found.files.len() as u64;
        Ok(())
    }

    async fn check_compacted(
        &self,
        file: &CompactedFile,
        group: &[SegmentMeta],
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        if let [segment] = group {
            // its bytes were checked with its commit
            if file.file != *segment {
                let what = format!("{} is not the segment of its commit", file.file.name);
                report.differences.push(what);
            }
            return Ok(());
        }
        let name = &self.def.name;
        let proven = self.lake.prove_compacted(name, &file.file, group).await;
        take(proven, report).map_err(|e| self.failed("check a compacted file", e))?;
        Ok(())
    }

    /// The compactions must not go on with ones that the commits do not ask for, and retention must
    /// not have let go what no setting of the stream allowed.
    pub(super) async fn check_compactions_end(
        &self,
        compactions: &Compactions,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        if compactions.planner.is_some() && report.differences.is_empty() {
            let next = take(compactions.chain.after_tip(&compactions.tip).await, report)
                .map_err(|e| self.failed("read the compactions", e))?
                .flatten();
            if let Some(link) = next.filter(|link| link.commit.body.span.1 <= report.watermark) {
                let path = compactions.chain.path(link.commit.body.seq);
                let what = format!("compaction {path} is not one that the commits ask for");
                report.differences.push(what);
            }
        }
        if let Some(kept) = &compactions.kept {
            let shortest = self.def.shortest_retention_ns;
            let allowed = Hlc(report.watermark.0.saturating_sub(shortest));
            if shortest == 0 || kept.from > allowed {
                report.differences.push(format!(
                    "rows below {} are gone, and no retention that the stream ever had allowed that",
                    kept.from
                ));
            }
        }
        Ok(())
    }
}
