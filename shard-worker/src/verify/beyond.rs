//! What lies in the store beyond the end of a chain. A worker that is behind, or that died, leaves
//! the segments of at most as many commits as it uploads at once; more of them mean that commits
//! were there and are gone.

use std::sync::Arc;

use tourbillon_core::control::StreamDef;
use tourbillon_core::manifest::ChainTip;
use tourbillon_core::sealer::CommitPlan;
use tourbillon_lake::{Chain, LakeError};

use super::{PartitionReport, Verifier, take};
use crate::encode::encode;
use crate::error::WorkerError;
use crate::partition::PARALLEL_UPLOADS;

/// Commits that the log asks for behind the first that the chain does not have.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    /// How many of the first ones were looked for.
    looked: usize,
    /// How many of them have their segments in the store.
    stored: usize,
}

impl Verifier {
    /// Looks whether the segments of an absent commit are there.
    pub(super) async fn look_beyond(
        &self,
        beyond: &mut Beyond,
        def: Arc<StreamDef>,
        plan: CommitPlan,
    ) -> Result<(), WorkerError> {
        let Some(rows) = plan.segments.into_iter().next() else {
            return Ok(());
        };
        if beyond.looked == PARALLEL_UPLOADS {
            return Ok(());
        }
        beyond.looked += 1;
        let made = encode(def, self.partition, rows).await;
        let made = made.map_err(|e| self.failed("encode a segment", e))?;
        match self.lake.get_segment(&self.def.name, &made.meta.name).await {
            Ok(_) => beyond.stored += 1,
            Err(LakeError::Absent { .. }) => {}
            Err(error) => return Err(self.failed("read the store", error)),
        }
        Ok(())
    }

    /// More stored segments than any worker leaves, and still no commit, are a difference.
    pub(super) async fn check_beyond(
        &self,
        beyond: &Beyond,
        chain: &Chain,
        tip: &ChainTip,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        if beyond.stored < PARALLEL_UPLOADS || !report.differences.is_empty() {
            return Ok(());
        }
        // a worker may have gone on since
        let next = take(chain.after_tip(tip).await, report);
        let next = next.map_err(|e| self.failed("read the commit chain", e))?;
        if next.is_some_and(|next| next.is_none()) {
            report.differences.push(format!(
                "the chain was cut: commit {} is absent, and the segments of it and of later commits \
                 are in the store",
                chain.path(tip.next_seq)
            ));
        }
        Ok(())
    }
}
