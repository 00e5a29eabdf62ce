//! Clearing away what compaction has replaced and what retention has let go.
//!
//! Nothing here decides: a compaction or a boundary must stand in the store, for longer than any
//! reader may still be at it, before its objects go. Every step may be repeated.

use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::{ChainTip, CompactionBody, Kept, SegmentMeta};

use crate::chain::{Chain, seq_of};
use crate::error::LakeError;
use crate::store::{Lake, object_path};

/// Objects removed at the same time.
const PARALLEL_DELETES: usize = 16;

/// Boundaries that stay. Whoever has slept through fewer finds its next one taken, and a listing
/// that lags still leads to the newest.
const BOUNDARIES_KEPT: u64 = 64;

impl Lake {
    /// Removes segments whose rows a compacted file holds, but for those that are such a file.
    pub async fn clear_replaced(
        &self,
        stream: &StreamName,
        segments: &[SegmentMeta],
        compaction: &CompactionBody,
    ) -> Result<(), LakeError> {
        let stays = |name: &str| compaction.files.iter().any(|file| file.file.name == name);
        let gone = segments.iter().map(|segment| segment.name.as_str());
        self.remove(stream, gone.filter(|name| !stays(name))).await
    }

    /// Removes segments that a worker wrote which had slept through their compaction.
    pub async fn clear_orphans(
        &self,
        stream: &StreamName,
        partition: PartitionId,
        segments: &[SegmentMeta],
    ) -> Result<(), LakeError> {
        let boundary = Chain::boundaries(self, stream, partition)
            .standing()
            .await?;
        let Some(boundary) = boundary.map(|link| link.commit.body) else {
            return Ok(());
        };
        let gone = boundary.kept.as_ref().map(|kept| kept.gone_through);
        let is_gone = |segment: &&SegmentMeta| gone.is_some_and(|key| segment.last_key <= key);
        let names = segments.iter().filter(is_gone).map(|s| s.name.as_str());
        self.remove(stream, names).await?;
        let chain = Chain::compactions(self, stream, partition);
        let first_kept = boundary.kept.map_or(0, |kept| kept.compactions.next_seq);
        for seq in (first_kept..boundary.swept).rev() {
            let Some(link) = chain.get(seq).await? else {
                break;
            };
            let compaction = link.commit.body;
            let (from, to) = compaction.span;
            if segments.iter().all(|segment| segment.first_key.hlc >= to) {
                break;
            }
            let within = |segment: &&SegmentMeta| (from..to).contains(&segment.first_key.hlc);
            let within: Vec<_> = segments.iter().filter(within).cloned().collect();
            self.clear_replaced(stream, &within, &compaction).await?;
        }
        Ok(())
    }

    /// Removes everything that lies before what a boundary keeps: files, then the compactions that
    /// name them, then commits and their sidecars.
    pub async fn clear_before(
        &self,
        stream: &StreamName,
        partition: PartitionId,
        kept: &Kept,
    ) -> Result<(), LakeError> {
        let compactions = Chain::compactions(self, stream, partition);
        let mut old = compactions.listed_below(kept.compactions.next_seq).await?;
        old.sort_unstable();
        for seq in old {
            let Some(link) = compactions.get(seq).await? else {
                continue;
            };
            let body = &link.commit.body;
            let files = body.files.iter().map(|file| file.file.name.as_str());
            self.remove(stream, files).await?;
            self.delete(&compactions.path(seq)).await?;
        }
        let commits = Chain::new(self, stream, partition);
        // whoever lists the chain ties its newest commit to the one before
        let first = kept.commits.next_seq.saturating_sub(1);
        let old = commits.listed_below(first).await?;
        let gone = old.into_iter().map(|seq| commits.path(seq));
        let sidecars = object_path(stream, &format!("rejects/p{partition}"));
        let sidecars = self.list_after(&sidecars, None).await?.into_iter();
        let old = |path: &Path| seq_of(path).is_some_and(|seq| seq < kept.commits.next_seq);
        self.delete_all(sidecars.filter(old).chain(gone)).await
    }

    /// Removes boundaries that newer ones have made useless.
    pub async fn clear_boundaries(
        &self,
        stream: &StreamName,
        partition: PartitionId,
        newest: &ChainTip,
    ) -> Result<(), LakeError> {
        let chain = Chain::boundaries(self, stream, partition);
        let first = newest.next_seq.saturating_sub(BOUNDARIES_KEPT);
        for seq in chain.listed_below(first).await? {
            self.delete(&chain.path(seq)).await?;
        }
        Ok(())
    }

    async fn remove(
        &self,
        stream: &StreamName,
        names: impl Iterator<Item = &str>,
    ) -> Result<(), LakeError> {
        let paths: Vec<_> = names.map(|name| object_path(stream, name)).collect();
        self.delete_all(paths.into_iter()).await
    }

    async fn delete_all(&self, paths: impl Iterator<Item = Path>) -> Result<(), LakeError> {
        stream::iter(paths.collect::<Vec<_>>())
            .map(|path| async move { self.delete(&path).await })
            .buffer_unordered(PARALLEL_DELETES)
            .try_collect()
            .await
    }
}
