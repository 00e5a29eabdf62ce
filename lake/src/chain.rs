//! The chains of a partition, of which the commit chain is the first: objects that are only ever
//! put if absent.
//!
//! After any doubt about a put the chain itself is asked: my nonce means done, nothing there means
//! put the same bytes again, another nonce means that another worker was first. Its commit must
//! then have the same root, because both are functions of the same log prefix.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::PutMode;
use object_store::path::Path;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::digest::Digest;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::{
    Body, Boundary, ChainTip, Commit, CommitBody, CompactionBody, ManifestError,
};

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
pub struct Link<B = CommitBody> {
    /// The commit.
    pub commit: Commit<B>,
    /// What the next commit ties to.
    pub tip: ChainTip,
}

/// How a commit came to stand in the chain.
#[derive(Debug)]
pub enum Appended<B = CommitBody> {
    /// By this call.
    Mine(ChainTip),
    /// By another worker, with the same content.
    Adopted(Box<Link<B>>),
}

/// A chain of one partition.
#[derive(Clone, Debug)]
pub struct Chain<B = CommitBody> {
    lake: Lake,
    stream: StreamName,
    partition: PartitionId,
    body: PhantomData<fn() -> B>,
}

impl Chain {
    /// The commit chain of `partition` of `stream`.
    pub fn new(lake: &Lake, stream: &StreamName, partition: PartitionId) -> Self {
        Self::of(lake, stream, partition)
    }

    /// The newest commit, looked for from where retention has left the chain. What is read
    /// contradicts itself if retention clears it away meanwhile: then it may be read again.
    pub async fn newest_kept(&self) -> Result<Option<Link>, LakeError> {
        let boundaries = Chain::boundaries(&self.lake, &self.stream, self.partition);
        let before = boundaries.standing().await?;
        let kept = before
            .as_ref()
            .and_then(|link| link.commit.body.kept.as_ref());
        let tip = kept.map_or(ChainTip::EMPTY, |kept| kept.commits);
        match self.newest_after(&tip).await {
            Err(error) if error.kind() == ErrorKind::Data => {
                Err(boundaries.overtaken_since(before.as_ref(), error).await?)
            }
            newest => newest,
        }
    }

    /// Removes a commit that was put where retention had cleared the chain away.
    pub async fn remove_outlived(&self, seq: u64) -> Result<(), LakeError> {
        self.lake.delete(&self.path(seq)).await
    }
}

impl Chain<CompactionBody> {
    /// The compactions of `partition` of `stream`.
    pub fn compactions(lake: &Lake, stream: &StreamName, partition: PartitionId) -> Self {
        Self::of(lake, stream, partition)
    }
}

/// Listings of boundaries before giving up: each may name one that has just been cleared away.
const MAX_LISTINGS: u32 = 5;

impl Chain<Boundary> {
    /// What a contradiction means, `error`, that was read since `before` stood.
    pub async fn overtaken_since(
        &self,
        before: Option<&Link<Boundary>>,
        error: LakeError,
    ) -> Result<LakeError, LakeError> {
        let tip = |link: &Link<Boundary>| link.tip;
        let standing = self.standing().await?;
        if standing.as_ref().map(tip) == before.map(tip) {
            return Ok(error);
        }
        let path = self.folder().to_string();
        Ok(LakeError::Overtaken { path })
    }

    /// The newest boundary. Older ones are cleared away, so it need not tie to anything.
    pub async fn standing(&self) -> Result<Option<Link<Boundary>>, LakeError> {
        for _ in 0..MAX_LISTINGS {
            let listed = self.newest_listed(0).await?;
            let mut newest = self.get(listed.unwrap_or(0)).await?;
            if listed.is_none() && newest.is_none() {
                return Ok(None);
            }
            while let Some(link) = &newest {
                match self.get(link.tip.next_seq).await? {
                    Some(next) => newest = Some(next),
                    None => return Ok(newest),
                }
            }
        }
        let path = self.folder().to_string();
        Err(LakeError::Overtaken { path })
    }

    /// What was cleared away of `partition` of `stream`.
    pub fn boundaries(lake: &Lake, stream: &StreamName, partition: PartitionId) -> Self {
        Self::of(lake, stream, partition)
    }
}

impl<B: Body> Chain<B> {
    fn of(lake: &Lake, stream: &StreamName, partition: PartitionId) -> Self {
        Self {
            lake: lake.clone(),
            stream: stream.clone(),
            partition,
            body: PhantomData,
        }
    }

    /// Where the commit numbered `seq` lies.
    pub fn path(&self, seq: u64) -> Path {
        object_path(
            &self.stream,
            &format!("{}/p{}/{seq:0SEQ_DIGITS$}", B::FOLDER, self.partition),
        )
    }

    /// Where the chain's objects lie.
    pub fn folder(&self) -> Path {
        object_path(&self.stream, &format!("{}/p{}", B::FOLDER, self.partition))
    }

    /// Number of the newest commit that a listing shows; it may lag. Numbers below `from` are not
    /// listed.
    pub async fn newest_listed(&self, from: u64) -> Result<Option<u64>, LakeError> {
        Ok(self.listed(from).await?.into_iter().max())
    }

    /// Numbers of the commits from `from` on that a listing shows, in no order.
    pub async fn listed(&self, from: u64) -> Result<Vec<u64>, LakeError> {
        let after = from.checked_sub(1).map(|before| self.path(before));
        let listed = self.lake.list_after(&self.folder(), after.as_ref()).await?;
        let seqs = listed.iter().filter_map(seq_of);
        Ok(seqs.filter(|seq| *seq >= from).collect())
    }

    /// Numbers of the commits below `end` that a listing shows, in no order.
    pub(crate) async fn listed_below(&self, end: u64) -> Result<Vec<u64>, LakeError> {
        let listed = self.listed(0).await?;
        Ok(listed.into_iter().filter(|seq| *seq < end).collect())
    }

    /// The newest commit, checked against the one before it. Lists, then reads forward, because a
    /// listing may lag.
    pub async fn newest(&self) -> Result<Option<Link<B>>, LakeError> {
        self.newest_after(&ChainTip::EMPTY).await
    }

    /// The newest commit of a chain that is known up to `tip`; none if nothing follows that.
    pub async fn newest_after(&self, tip: &ChainTip) -> Result<Option<Link<B>>, LakeError> {
        let mut newest = match self.newest_listed(tip.next_seq).await? {
            None => self.after_tip(tip).await?,
            Some(seq) if seq == tip.next_seq => Some(self.tie(self.expect(seq).await?, tip)?),
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
            self.lake.flush(&self.path(link.commit.body.seq())).await?;
        }
        Ok(newest)
    }

    /// A commit that must be there, checked against the one before it.
    async fn tied(&self, seq: u64) -> Result<Link<B>, LakeError> {
        let tip = match seq.checked_sub(1) {
            None => ChainTip::EMPTY,
            Some(before) => self.expect(before).await?.tip,
        };
        self.tie(self.expect(seq).await?, &tip)
    }

    /// The whole chain, every link checked against the one before.
    pub async fn load(&self) -> Result<Vec<Link<B>>, LakeError> {
        self.links().try_collect().await
    }

    /// The whole chain, link by link, each checked against the one before.
    pub fn links(&self) -> BoxStream<'_, Result<Link<B>, LakeError>> {
        self.links_after(ChainTip::EMPTY)
    }

    /// The chain after `tip`.
    pub fn links_after(&self, tip: ChainTip) -> BoxStream<'_, Result<Link<B>, LakeError>> {
        let first = tip.next_seq;
        let listed = async move {
            let newest = self.newest_listed(first).await?;
            let count = newest.map_or(first, |seq| seq + 1);
            let gets = stream::iter(first..count).map(|seq| self.expect(seq));
            Ok(gets.buffered(PARALLEL_GETS))
        };
        let listed = listed.try_flatten_stream().map_ok(Some);
        // a listing may lag: what follows it is looked for one by one
        let unlisted = stream::repeat_with(|| Ok(None));
        let tied = listed.chain(unlisted).boxed();
        let walk = stream::try_unfold((tied, tip), move |(mut tied, tip)| async move {
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
    pub async fn next_after(&self, link: &Link<B>) -> Result<Option<Link<B>>, LakeError> {
        self.after_tip(&link.tip).await
    }

    /// The commit that ties to `tip`, if it is there.
    pub async fn after_tip(&self, tip: &ChainTip) -> Result<Option<Link<B>>, LakeError> {
        let next = self.get(tip.next_seq).await?;
        next.map(|next| self.tie(next, tip)).transpose()
    }

    /// Checks that a commit belongs after `tip`.
    fn tie(&self, next: Link<B>, tip: &ChainTip) -> Result<Link<B>, LakeError> {
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

    async fn expect(&self, seq: u64) -> Result<Link<B>, LakeError> {
        let found = self.get(seq).await?;
        found.ok_or_else(|| LakeError::Damaged {
            path: self.path(seq).to_string(),
            reason: "it is absent and a later commit is there".into(),
        })
    }

    /// The commit numbered `seq`, by itself.
    pub async fn get(&self, seq: u64) -> Result<Option<Link<B>>, LakeError> {
        let path = self.path(seq);
        let Some(bytes) = self.lake.get(&path).await? else {
            return Ok(None);
        };
        let commit = Commit::<B>::decode(&bytes).map_err(|source| LakeError::Commit {
            path: path.to_string(),
            source,
        })?;
        let home = commit.body.home();
        if home != (self.stream.as_str(), self.partition, seq) {
            let (stream, partition, seq) = home;
            let reason = format!(
                "it is {} {seq} of {stream} partition {partition}",
                B::FOLDER
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
    pub async fn append(&self, commit: &Commit<B>) -> Result<Appended<B>, LakeError> {
        let path = self.path(commit.body.seq());
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
            match self.get(commit.body.seq()).await {
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
        mine: &Commit<B>,
        bytes: &Bytes,
        found: Link<B>,
        path: &Path,
    ) -> Result<Appended<B>, LakeError> {
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
pub fn same_content<B: Body>(one: &B, other: &B) -> bool {
    one.clone().essence() == other.clone().essence()
}

/// The number of the commit at `path`, if it is one.
pub(crate) fn seq_of(path: &Path) -> Option<u64> {
    let name = path.filename()?;
    let digits = name.len() == SEQ_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| name.parse().ok())?
}

#[cfg(test)]
mod tests;
