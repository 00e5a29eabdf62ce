//! The commit chain of a partition: objects that are only ever put if absent.
//!
//! After any doubt about a put the chain itself is asked: my nonce means done, nothing there means
//! put the same bytes again, another nonce means that another worker was first. Its commit must
//! then have the same root, because both are functions of the same log prefix.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::PutMode;
use object_store::path::Path;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::digest::Digest;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::{ChainTip, Commit, CommitBody, ManifestError};

use crate::error::LakeError;
use crate::metrics;
use crate::store::{Lake, object_path};

/// Commits read at the same time.
const PARALLEL_GETS: usize = 16;

/// Puts of one commit before giving up.
const MAX_PUTS: u32 = 5;

/// Digits of a commit's number in its path.
const SEQ_DIGITS: usize = 20;

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

    /// Where the commit numbered `seq` lies.
    pub fn path(&self, seq: u64) -> Path {
        object_path(
            &self.stream,
            &format!("commit/p{}/{seq:0SEQ_DIGITS$}", self.partition),
        )
    }

    /// Where the chain's objects lie.
    pub fn folder(&self) -> Path {
        object_path(&self.stream, &format!("commit/p{}", self.partition))
    }

    /// Number of the newest commit that a listing shows; it may lag.
    pub async fn newest_listed(&self) -> Result<Option<u64>, LakeError> {
        let listed = self.lake.list(&self.folder()).await?;
        Ok(listed.iter().filter_map(seq_of).max())
    }

    /// The newest commit, checked against the one before it. Lists, then reads forward, because a
    /// listing may lag.
    pub async fn newest(&self) -> Result<Option<Link>, LakeError> {
        let mut newest = match self.newest_listed().await? {
            None => self.after_tip(&ChainTip::EMPTY).await?,
            Some(seq) => Some(self.tied(seq).await?),
        };
        while let Some(link) = &newest {
            match self.next_after(link).await? {
                Some(next) => newest = Some(next),
                None => break,
            }
        }
        if let Some(link) = &newest {
            // it may be the work of a process that died before it was durable
            self.lake.flush(&self.path(link.commit.body.seq)).await?;
        }
        Ok(newest)
    }

    /// A commit that must be there, checked against the one before it.
    async fn tied(&self, seq: u64) -> Result<Link, LakeError> {
        let tip = match seq.checked_sub(1) {
            None => ChainTip::EMPTY,
            Some(before) => self.expect(before).await?.tip,
        };
        self.tie(self.expect(seq).await?, &tip)
    }

    /// The whole chain, every link checked against the one before.
    pub async fn load(&self) -> Result<Vec<Link>, LakeError> {
        self.links().try_collect().await
    }

    /// The whole chain, link by link, each checked against the one before.
    pub fn links(&self) -> BoxStream<'_, Result<Link, LakeError>> {
        let listed = async move {
            let count = self.newest_listed().await?.map_or(0, |seq| seq + 1);
            let gets = stream::iter(0..count).map(|seq| self.expect(seq));
            Ok(gets.buffered(PARALLEL_GETS))
        };
        let listed = listed.try_flatten_stream().map_ok(Some);
        // a listing may lag: what follows it is looked for one by one
        let unlisted = stream::repeat_with(|| Ok(None));
        let tied = listed.chain(unlisted).boxed();
        let walk = stream::try_unfold((tied, ChainTip::EMPTY), move |(mut tied, tip)| async move {
            let link = match tied.try_next().await?.flatten() {
                Some(link) => Some(self.tie(link, &tip)?),
                None => self.after_tip(&tip).await?,
            };
            Ok(link.map(|link| {
                let tip = link.tip;
                (link, (tied, tip))
            }))
        });
        walk.boxed()
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

    async fn expect(&self, seq: u64) -> Result<Link, LakeError> {
        let found = self.get(seq).await?;
        found.ok_or_else(|| LakeError::Damaged {
            path: self.path(seq).to_string(),
            reason: "it is absent and a later commit is there".into(),
        })
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
            let mode = if broken(Rule::CommitIfAbsent) {
                PutMode::Overwrite
            } else {
                PutMode::Create
            };
            let failed = self.lake.put(&path, bytes.clone(), mode).await.err();
            let Some(failed) = failed else {
                metrics::put("commit", bytes.len());
                return Ok(Appended::Mine(commit.tip(&bytes)));
            };
            match self.get(commit.body.seq).await {
                Ok(Some(found)) => {
                    self.lake.flush(&path).await?;
                    return self.settle(commit, &bytes, found, &path);
                }
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
        if broken(Rule::AdoptOnlyEqual) {
            return Ok(Appended::Adopted(Box::new(found)));
        }
        let path = path.to_string();
        if found.commit.prev_hash != mine.prev_hash || found.commit.chain_root != mine.chain_root {
            return Err(LakeError::Forked { path });
        }
        if !same_content(&mine.body, &found.commit.body) {
            let chain_root = found.commit.chain_root;
            let source = ManifestError::Altered { chain_root };
            return Err(LakeError::Commit { path, source });
        }
        Ok(Appended::Adopted(Box::new(found)))
    }
}

/// Whether two commits say the same, but for what depends on the Parquet encoder.
pub fn same_content(one: &CommitBody, other: &CommitBody) -> bool {
    let mut one = one.clone();
    for (segment, other) in one.segments.iter_mut().zip(&other.segments) {
        segment.file_hash = other.file_hash;
        segment.bytes = other.bytes;
    }
    one == *other
}

/// The number of the commit at `path`, if it is one.
fn seq_of(path: &Path) -> Option<u64> {
    let name = path.filename()?;
    let digits = name.len() == SEQ_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| name.parse().ok())?
}

#[cfg(test)]
mod tests;
