//! Removing what nobody needs any more, behind a boundary and after the grace.

use tokio::time::Instant;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::manifest::{Boundary, Commit, Kept};
use tourbillon_lake::{Appended, Chain, LakeError};

use super::{Upheld, Upkeep};
use crate::error::WorkerError;
use crate::metrics;

impl Upkeep {
    /// Removes the segments that compactions have replaced for long enough.
    pub(super) async fn sweep(&self, upheld: &mut Upheld) -> Result<(), WorkerError> {
        let mut swept = upheld.boundary.swept;
        while let Some(next) = upheld.unswept.front()
            && next.since.elapsed() >= self.grace
        {
            let cleared = self
                .lake
                .clear_replaced(&self.def.name, &next.segments, &next.body);
            cleared
                .await
                .map_err(|e| self.failed("remove compacted segments", e))?;
            metrics::removed(&self.at, next.segments.len());
            swept = next.body.seq + 1;
            upheld.unswept.pop_front();
        }
        if swept > upheld.boundary.swept {
            let kept = upheld.boundary.kept.clone();
            self.announce(upheld, swept, kept).await?;
        }
        Ok(())
    }

    /// Lets go what is older than the stream's retention: says so first, acts after the grace.
    pub(super) async fn retain(&self, upheld: &mut Upheld) -> Result<(), WorkerError> {
        if let (Some(since), Some(kept)) = (upheld.doomed, &upheld.boundary.kept) {
            if since.elapsed() < self.grace {
                return Ok(());
            }
            let cleared = self.lake.clear_before(&self.def.name, self.partition, kept);
            cleared
                .await
                .map_err(|e| self.failed("remove what retention let go", e))?;
            upheld.doomed = None;
        }
        let retention_ns = self.newest_def().retention_ns;
        if retention_ns == 0 {
            return Ok(());
        }
        let oldest_kept = Hlc(upheld.watermark.0.saturating_sub(retention_ns));
        if let Some(kept) = self.past(upheld, oldest_kept).await? {
            let swept = upheld.boundary.swept;
            self.announce(upheld, swept, Some(kept)).await?;
            upheld.doomed = Some(Instant::now());
        }
        Ok(())
    }

    /// What is left without the spans whose rows all lie below `oldest_kept`; none if there is none.
    /// The newest compaction whose segments are gone always stays.
    async fn past(
        &self,
        upheld: &mut Upheld,
        oldest_kept: Hlc,
    ) -> Result<Option<Kept>, WorkerError> {
        let chain = self.compactions();
        let mut past = None;
        loop {
            if upheld.oldest.is_none() {
                let kept = past.as_ref().or(upheld.boundary.kept.as_ref());
                let tip = kept.map_or_else(Default::default, |kept| kept.compactions);
                let next = chain.after_tip(&tip).await;
                upheld.oldest = next.map_err(|e| self.failed("read the compactions", e))?;
            }
            let Some(link) = &upheld.oldest else {
                return Ok(past);
            };
            let body = &link.commit.body;
            // a segment may be longer than the span that it begins in
            let from = body.span.1.max(body.last_key.hlc.plus(1));
            if from > oldest_kept || body.seq + 1 >= upheld.boundary.swept {
                return Ok(past);
            }
            past = Some(Kept {
                gone_through: body.last_key,
                from,
                segments: body.segments,
                rows: body.rows,
                through: body.through.next_seq,
                commits: body.scan_from,
                compactions: link.tip,
            });
            upheld.oldest = None;
        }
    }

    /// Puts the next boundary. If another worker put another one there, this upkeep begins anew.
    async fn announce(
        &self,
        upheld: &mut Upheld,
        swept: u64,
        kept: Option<Kept>,
    ) -> Result<(), WorkerError> {
        let chain = Chain::boundaries(&self.lake, &self.def.name, self.partition);
        let boundary = Boundary {
            seq: upheld.boundaries.next_seq,
            swept,
            kept,
            ..upheld.boundary.clone()
        };
        let commit = Commit::link(boundary, &upheld.boundaries, self.nonce.clone());
        let commit = commit.map_err(|e| self.failed("make a boundary", e))?;
        let appended = match chain.append(&commit).await {
            Err(LakeError::Forked { path }) => Err(LakeError::Overtaken { path }),
            appended => appended,
        };
        upheld.boundaries = match appended.map_err(|e| self.failed("append a boundary", e))? {
            Appended::Mine(tip) => tip,
            Appended::Adopted(link) => link.tip,
        };
        upheld.boundary = commit.body;
        let newest = &upheld.boundaries;
        self.lake
            .clear_boundaries(&self.def.name, self.partition, newest)
            .await
            .map_err(|e| self.failed("remove old boundaries", e))
    }
}
