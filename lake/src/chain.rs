//! The commit chain of a partition: objects that are only ever put if absent.
//!
//! After any doubt about a put the chain itself is asked: my nonce means done, nothing there means
//! put the same bytes again, another nonce means that another worker was first. Its commit must
//! then have the same root, because both are functions of the same log prefix.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::PutMode;
use object_store::path::Path;
use tourbillon_core::digest::Digest;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::{ChainTip, Commit};

use crate::error::LakeError;
use crate::metrics;
use crate::store::{Lake, object_path};

/// Commits read at the same time.
const PARALLEL_GETS: usize = 16;

/// Puts of one commit before giving up.
const MAX_PUTS: u32 = 5;

/// Pause before the second put; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A commit as found in the chain.
#[derive(Clone, Debug)]
pub struct Link {
    /// The commit.
    pub commit: Commit,
    /// What the next commit ties to.
    pub tip: ChainTip,
}

/// How a commit came to stand in the chain.
#[derive(Debug)]
pub enum Appended {
    /// By this call.
    Mine(ChainTip),
    /// By another worker, with the same content.
    Adopted(Box<Link>),
}

/// The chain of one partition.
#[derive(Clone, Debug)]
pub struct Chain {
    lake: Lake,
    stream: StreamName,
    partition: PartitionId,
}

impl Chain {
    /// The chain of `partition` of `stream`.
    pub fn new(lake: &Lake, stream: &StreamName, partition: PartitionId) -> Self {
        Self {
            lake: lake.clone(),
            stream: stream.clone(),
            partition,
        }
    }

    fn path(&self, seq: u64) -> Path {
        object_path(
            &self.stream,
            &format!("commit/p{}/{seq:020}", self.partition),
        )
    }

    /// Where the chain's objects lie.
    pub fn folder(&self) -> Path {
        object_path(&self.stream, &format!("commit/p{}", self.partition))
    }

    /// The newest commit. Lists, then reads forward, because a listing may lag.
    pub async fn newest(&self) -> Result<Option<Link>, LakeError> {
        let listed = self.lake.list(&self.folder()).await?;
        let seqs = listed
            .iter()
            .filter_map(|path| path.filename()?.parse::<u64>().ok());
        let mut newest = match seqs.max() {
            Some(seq) => self.get(seq).await?,
            None => self.get(0).await?,
        };
        while let Some(link) = &newest {
            match self.next_after(link).await? {
                Some(next) => newest = Some(next),
                None => break,
            }
        }
        Ok(newest)
    }

    /// The whole chain, every link checked against the one before.
    pub async fn load(&self) -> Result<Vec<Link>, LakeError> {
        let listed = self.lake.list(&self.folder()).await?;
        let newest = listed
            .iter()
            .filter_map(|path| path.filename()?.parse::<u64>().ok())
            .max();
        let seqs = 0..newest.map_or(0, |seq| seq + 1);
        let mut gets = stream::iter(seqs)
            .map(|seq| self.get(seq))
            .buffered(PARALLEL_GETS);
        let mut links: Vec<Link> = Vec::new();
        while let Some(link) = gets.next().await {
            let tip = links.last().map_or(ChainTip::EMPTY, |link| link.tip);
            let path = || self.path(tip.next_seq).to_string();
            let link = link?.ok_or_else(|| LakeError::Damaged {
                path: path(),
                reason: "it is absent and a later commit is there".into(),
            })?;
            links.push(self.tie(link, &tip)?);
        }
        loop {
            let tip = links.last().map_or(ChainTip::EMPTY, |link| link.tip);
            match self.after_tip(&tip).await? {
                Some(link) => links.push(link),
                None => return Ok(links),
            }
        }
    }

    /// The commit after `link`, checked against it.
    pub async fn next_after(&self, link: &Link) -> Result<Option<Link>, LakeError> {
        self.after_tip(&link.tip).await
    }

    /// The commit that ties to `tip`, if it is there.
    pub async fn after_tip(&self, tip: &ChainTip) -> Result<Option<Link>, LakeError> {
        let next = self.get(tip.next_seq).await?;
        next.map(|next| self.tie(next, tip)).transpose()
    }

    /// Checks that a commit belongs after `tip`.
    fn tie(&self, next: Link, tip: &ChainTip) -> Result<Link, LakeError> {
        let path = self.path(tip.next_seq).to_string();
        if next.commit.prev_hash != tip.hash {
            let reason = format!("its prev_hash is not {}, the commit before it", tip.hash);
            return Err(LakeError::Damaged { path, reason });
        }
        match next.commit.check_root(tip.root) {
            Ok(()) => Ok(next),
            Err(source) => Err(LakeError::Commit { path, source }),
        }
    }

    /// The commit numbered `seq`, by itself.
    pub async fn get(&self, seq: u64) -> Result<Option<Link>, LakeError> {
        let path = self.path(seq);
        let Some(bytes) = self.lake.get(&path).await? else {
            return Ok(None);
        };
        let commit = Commit::decode(&bytes).map_err(|source| LakeError::Commit {
            path: path.to_string(),
            source,
        })?;
        let body = &commit.body;
        let at_home = body.seq == seq
            && body.partition == self.partition
            && body.stream == self.stream.as_str();
        if !at_home {
            let reason = format!(
                "it is commit {} of {} partition {}",
                body.seq, body.stream, body.partition
            );
            return Err(LakeError::Damaged {
                path: path.to_string(),
                reason,
            });
        }
        let tip = commit.tip(&bytes);
        Ok(Some(Link { commit, tip }))
    }

    /// Appends `commit`, once, whatever the store or other workers do.
    pub async fn append(&self, commit: &Commit) -> Result<Appended, LakeError> {
        let path = self.path(commit.body.seq);
        let bytes = commit.encode().map_err(|source| LakeError::Commit {
            path: path.to_string(),
            source,
        })?;
        let bytes = Bytes::from(bytes);
        let mut pause = FIRST_PAUSE;
        let mut put = 1;
        loop {
            let failed = self
                .lake
                .put(&path, bytes.clone(), PutMode::Create)
                .await
                .err();
            let Some(failed) = failed else {
                metrics::put("commit", bytes.len());
                return Ok(Appended::Mine(commit.tip(&bytes)));
            };
            match self.get(commit.body.seq).await {
                Ok(Some(found)) => return self.settle(commit, &bytes, found, &path),
                Ok(None) | Err(LakeError::Store { .. }) if put < MAX_PUTS => {
                    tracing::warn!(%path, put, error = %failed, "commit put again");
                }
                Ok(None) => return Err(failed),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            put += 1;
        }
    }

    fn settle(
        &self,
        mine: &Commit,
        bytes: &Bytes,
        found: Link,
        path: &Path,
    ) -> Result<Appended, LakeError> {
        if found.commit.nonce == mine.nonce && found.tip.hash == Digest::of(bytes) {
            return Ok(Appended::Mine(found.tip));
        }
        let same_chain = found.commit.prev_hash == mine.prev_hash;
        if same_chain && found.commit.chain_root == mine.chain_root {
            return Ok(Appended::Adopted(Box::new(found)));
        }
        Err(LakeError::Forked {
            path: path.to_string(),
        })
    }
}

#[cfg(test)]
mod tests;
