//! Witnesses of a commit chain: heads noted at some time and kept where nobody who can write to the
//! store can change them.
//!
//! Every commit holds the hash of the one before, so a head vouches for all history behind it.
//! Whoever rewrites, truncates or forks that history, however consistently, contradicts the head.

use serde::{Deserialize, Serialize};
use tourbillon_core::digest::Digest;
use tourbillon_core::ids::{PartitionId, StreamName};

use crate::chain::Chain;
use crate::error::LakeError;
use crate::store::Lake;

/// The newest commit of a chain at some time. One line of a witness file, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// When it was noted, RFC 3339; for people.
    pub noted: String,
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: PartitionId,
    /// Number of the commit.
    pub seq: u64,
    /// Digest of the commit's bytes.
    pub hash: Digest,
}

impl Head {
    /// The head of a chain now; none if it has no commit.
    pub async fn of(
        lake: &Lake,
        stream: &StreamName,
        partition: PartitionId,
        noted: &str,
    ) -> Result<Option<Self>, LakeError> {
        let newest = Chain::new(lake, stream, partition).newest_kept().await?;
        Ok(newest.map(|link| Self {
            noted: noted.to_owned(),
            stream: stream.as_str().to_owned(),
            partition,
            seq: link.commit.body.seq,
            hash: link.tip.hash,
        }))
    }

    /// Whether it is about this chain.
    pub fn is_of(&self, stream: &StreamName, partition: PartitionId) -> bool {
        self.stream == stream.as_str() && self.partition == partition
    }

    /// Checks that the chain still holds this head, unless retention has let it go. That the commits
    /// behind it tie to one another is for the reader of the chain to check, and so is whether
    /// retention could let it go.
    pub async fn check(&self, lake: &Lake, stream: &StreamName) -> Result<Held, LakeError> {
        let chain = Chain::new(lake, stream, self.partition);
        let damaged = |reason: String| LakeError::Damaged {
            path: chain.path(self.seq).to_string(),
            reason,
        };
        let seen = format!("a witness saw it on {}", self.noted);
        match chain.get(self.seq).await? {
            None if self.let_go(lake, stream).await? => Ok(Held::LetGo),
            None => Err(damaged(format!("it is gone: {seen}"))),
            Some(link) if link.tip.hash != self.hash => {
                let (was, is) = (self.hash, link.tip.hash);
                Err(damaged(format!("it was {was} when {seen}, and is {is}")))
            }
            Some(_) => Ok(Held::Yes),
        }
    }

    async fn let_go(&self, lake: &Lake, stream: &StreamName) -> Result<bool, LakeError> {
        let boundaries = Chain::boundaries(lake, stream, self.partition);
        let standing = boundaries.standing().await?;
        let kept = standing.and_then(|link| link.commit.body.kept);
        Ok(kept.is_some_and(|kept| kept.commits.next_seq > self.seq))
    }
}

/// What became of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The chain holds it.
    Yes,
    /// Retention let it go, and nobody can compare it any more.
    LetGo,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use object_store::PutMode;
    use tourbillon_core::hlc::{Hlc, Key};
    use tourbillon_core::ids::Offset;
    use tourbillon_core::manifest::{Boundary, ChainTip, Commit, CommitBody, Kept, MachineState};

    use super::*;

    fn stream() -> StreamName {
        StreamName::new("trades").unwrap()
    }

    fn body(seq: u64, sealed_rows: u64) -> CommitBody {
        CommitBody {
            stream: "trades".into(),
            partition: PartitionId(0),
            seq,
            segments: vec![],
            sealed_key: None,
            sealed_rows,
            next_offset: Offset(seq),
            scan_from: Offset(seq),
            skips: vec![],
            state: MachineState::default(),
            rejects: None,
        }
    }

    /// Writes a consistent chain, whatever stood there before.
    async fn write(lake: &Lake, rows: &[u64]) {
        let chain = Chain::new(lake, &stream(), PartitionId(0));
        let mut tip = ChainTip::EMPTY;
        for (seq, rows) in (0..).zip(rows) {
            let commit = Commit::link(body(seq, *rows), &tip, "n".into()).unwrap();
            let bytes = Bytes::from(commit.encode().unwrap());
            tip = commit.tip(&bytes);
            let path = chain.path(seq);
            lake.put(&path, bytes, PutMode::Overwrite).await.unwrap();
        }
    }

    async fn head(lake: &Lake) -> Option<Head> {
        Head::of(lake, &stream(), PartitionId(0), "then")
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn growth_is_fine_and_any_other_history_is_noticed() {
        let lake = Lake::open("memory://").unwrap();
        assert_eq!(head(&lake).await, None);
        write(&lake, &[1, 2, 3]).await;
        let seen = head(&lake).await.unwrap();
        assert_eq!(seen.seq, 2);
        write(&lake, &[1, 2, 3, 4]).await;
        seen.check(&lake, &stream()).await.unwrap();
        // consistent in itself, yet not what was seen
        write(&lake, &[1, 9, 3, 4]).await;
        let error = seen.check(&lake, &stream()).await.unwrap_err().to_string();
        assert!(
            error.contains("then") && error.contains(&seen.hash.to_string()),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_chain_that_shrank_is_noticed() {
        let lake = Lake::open("memory://").unwrap();
        write(&lake, &[1, 2, 3]).await;
        let seen = head(&lake).await.unwrap();
        let chain = Chain::new(&lake, &stream(), PartitionId(0));
        lake.delete(&chain.path(2)).await.unwrap();
        let error = seen.check(&lake, &stream()).await.unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
        // what retention lets go is no lie
        let kept = Kept {
            gone_through: Key::default(),
            from: Hlc(1),
            segments: 1,
            rows: 1,
            through: 3,
            commits: ChainTip {
                next_seq: 3,
                ..ChainTip::EMPTY
            },
            compactions: ChainTip::EMPTY,
        };
        let boundary = Boundary {
            stream: "trades".into(),
            partition: PartitionId(0),
            seq: 0,
            swept: 1,
            kept: Some(kept),
        };
        let boundary = Commit::link(boundary, &ChainTip::EMPTY, "n".into()).unwrap();
        let boundaries = Chain::boundaries(&lake, &stream(), PartitionId(0));
        boundaries.append(&boundary).await.unwrap();
        assert_eq!(seen.check(&lake, &stream()).await.unwrap(), Held::LetGo);
    }
}
