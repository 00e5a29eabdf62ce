//! Where a joining gateway begins to read a partition.

use std::fmt::Debug;

use async_trait::async_trait;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::CommitBody;
use tourbillon_lake::{Chain, Lake, LakeError};

/// Finds a partition's newest commit.
#[async_trait]
pub trait CommitSource: Send + Sync + Debug {
    /// The newest commit; none if nothing was sealed yet.
    async fn newest(
        &self,
        stream: &StreamName,
        partition: PartitionId,
    ) -> Result<Option<CommitBody>, LakeError>;
}

/// There are no commits: every partition is read from its first record.
#[derive(Clone, Copy, Debug)]
pub struct NoCommits;

#[async_trait]
impl CommitSource for NoCommits {
    async fn newest(
        &self,
        _stream: &StreamName,
        _partition: PartitionId,
    ) -> Result<Option<CommitBody>, LakeError> {
        Ok(None)
    }
}

#[async_trait]
impl CommitSource for Lake {
    async fn newest(
        &self,
        stream: &StreamName,
        partition: PartitionId,
    ) -> Result<Option<CommitBody>, LakeError> {
        let newest = Chain::new(self, stream, partition).newest_kept().await?;
        Ok(newest.map(|link| link.commit.body))
    }
}
