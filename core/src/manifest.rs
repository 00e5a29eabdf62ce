//! What a commit says: the wire form of one link of a partition's commit chain.
//!
//! A commit is a pure function of the log prefix below `next_offset`, except for `nonce` and the
//! `prev_hash` over bytes that hold a nonce. `chain_root` covers everything but those two, so two
//! workers that did the same work agree on it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::Digest;
use crate::hlc::{Hlc, Key};
use crate::ids::{Offset, PartitionId, WriterId};

/// Version of the commit format that this build writes and reads.
pub const COMMIT_VERSION: u32 = 1;

/// A commit that cannot be read.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Not the JSON of a commit.
    #[error("the commit is not valid JSON of a commit")]
    Malformed(#[source] serde_json::Error),
    /// Written by another release.
    #[error("the commit has format version {found}, this build reads {COMMIT_VERSION}")]
    Version {
        /// Version found.
        found: u32,
    },
    /// Its content does not match its own chain root.
    #[error("the commit's content does not match its chain root {chain_root}")]
    Altered {
        /// The root it states.
        chain_root: Digest,
    },
}

/// One sealed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentMeta {
    /// Path below the stream's folder: `data/date=…/hour=…/p{p}-{first hlc}-{rows_root}.parquet`.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Digest over the rows, independent of their encoding.
    pub rows_root: Digest,
    /// Digest over the file's bytes.
    pub file_hash: Digest,
    /// Size of the file, bytes.
    pub bytes: u64,
    /// Key of the first row.
    pub first_key: Key,
    /// Key of the last row.
    pub last_key: Key,
    /// Lowest and highest log offset of the rows.
    pub offsets: (Offset, Offset),
    /// Lowest and highest event time, ns since the epoch, of the rows that have one.
    pub event_time: Option<(i64, i64)>,
    /// Version of the stream's schema that the file has.
    pub schema_version: u32,
}

/// Rows of a frame that were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// The frame.
    pub offset: Offset,
    /// Row ranges `[from, to)` that do not count.
    pub rows: Vec<(u32, u32)>,
}

/// A writer that is open in the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberState {
    /// The writer.
    pub writer: WriterId,
    /// It will never again send a stamp at or below this.
    pub closed: Hlc,
    /// Number of its next frame.
    pub next_pseq: u64,
    /// The partition count by which it cuts requests; 0 if it never said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u32,
}

/// What is remembered of a client source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceState {
    /// Its name.
    pub name: String,
    /// Append time of its newest frame, ns since the epoch.
    pub last_seen_ns: i64,
    /// Sequences that are complete, as inclusive runs.
    pub runs: Vec<(u64, u64)>,
    /// Sequences of which the first parts are here: `(sequence, next part)`.
    pub partial: Vec<(u64, u32)>,
    /// Lower sequences were forgotten under an earlier cut.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub floor: u64,
}

/// What is remembered of requests cut by an earlier partition count. Nothing is added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierState {
    /// The partition count.
    pub cut: u32,
    /// Client sources, by name.
    pub sources: Vec<SourceState>,
}

/// Fields that older commits lack are left out while they say nothing: those keep their roots.
fn is_zero<N: Default + PartialEq>(n: &N) -> bool {
    *n == N::default()
}

/// State of the partition machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineState {
    /// No event at or below this will be accepted any more.
    pub watermark: Hlc,
    /// Open writers, by id.
    pub members: Vec<MemberState>,
    /// Writers that were here and left, so that none of them opens again.
    pub departed: Vec<WriterId>,
    /// Writers up to this id count as departed too.
    pub departed_through: Option<WriterId>,
    /// Highest append time of a frame that named a source, ns since the epoch.
    pub now_ns: i64,
    /// The partition count by which requests are cut; 0 before a writer said it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u32,
    /// Client sources, by name.
    pub sources: Vec<SourceState>,
    /// What was remembered under earlier cuts, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierState>,
    /// Rows accepted, deduplicated and rejected since the partition began.
    pub counts: RowCounts,
}

/// Where the rows of a partition went. Their sum is every row that ever came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCounts {
    /// Rows that are part of the stream.
    pub accepted: u64,
    /// Rows that a client or producer had already sent.
    pub duplicate: u64,
    /// Rows that broke the protocol; they lie in the rejects sidecar.
    pub rejected: u64,
}

/// Frames that were refused since the commit before, kept beside the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejectsMeta {
    /// Path below the stream's folder.
    pub name: String,
    /// Number of frames, whole or in part refused.
    pub frames: u64,
    /// Digest over the file's bytes.
    pub file_hash: Digest,
}

/// Everything in a commit that follows from the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitBody {
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: PartitionId,
    /// Position in the chain, from 0.
    pub seq: u64,
    /// Segments sealed by this commit, in key order.
    pub segments: Vec<SegmentMeta>,
    /// Every row at or below this key is in a segment.
    pub sealed_key: Option<Key>,
    /// Rows in segments since the partition began.
    pub sealed_rows: u64,
    /// The state is the one before this offset.
    pub next_offset: Offset,
    /// Lowest offset that still holds an unsealed row; `next_offset` if there is none.
    pub scan_from: Offset,
    /// Rows in `[scan_from, next_offset)` that were not accepted.
    pub skips: Vec<Skip>,
    /// Machine state before `next_offset`.
    pub state: MachineState,
    /// Refused frames since the commit before.
    pub rejects: Option<RejectsMeta>,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Format version.
    pub version: u32,
    /// Drawn by the process that wrote it: tells whose put succeeded.
    pub nonce: String,
    /// Digest of the bytes of the commit before; zero for the first.
    pub prev_hash: Digest,
    /// Digest over the root before and this body's deterministic content.
    pub chain_root: Digest,
    /// What follows from the log.
    pub body: CommitBody,
}

/// Ends of a chain that the next commit must tie to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTip {
    /// Sequence of the next commit.
    pub next_seq: u64,
    /// Digest of the newest commit's bytes.
    pub hash: Digest,
    /// Root of the newest commit.
    pub root: Digest,
}

impl ChainTip {
    /// Tip of an empty chain.
    pub const EMPTY: Self = Self {
        next_seq: 0,
        hash: Digest::ZERO,
        root: Digest::ZERO,
    };
}

impl Commit {
    /// Ties `body` to the chain at `tip`.
    pub fn link(body: CommitBody, tip: &ChainTip, nonce: String) -> Result<Self, ManifestError> {
        let chain_root = root_of(&body, tip.root)?;
        Ok(Self {
            version: COMMIT_VERSION,
            nonce,
            prev_hash: tip.hash,
            chain_root,
            body,
        })
    }

    /// The bytes of the commit object.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        serde_json::to_vec(self).map_err(ManifestError::Malformed)
    }

    /// Reads a commit object; its format version is checked first.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version: found } =
            serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        if found != COMMIT_VERSION {
            return Err(ManifestError::Version { found });
        }
        serde_json::from_slice(bytes).map_err(ManifestError::Malformed)
    }

    /// Checks that this commit's content belongs after `prev_root`.
    pub fn check_root(&self, prev_root: Digest) -> Result<(), ManifestError> {
        if root_of(&self.body, prev_root)? == self.chain_root {
            Ok(())
        } else {
            Err(ManifestError::Altered {
                chain_root: self.chain_root,
            })
        }
    }

    /// The tip after this commit, whose object holds `bytes`.
    pub fn tip(&self, bytes: &[u8]) -> ChainTip {
        ChainTip {
            next_seq: self.body.seq.saturating_add(1),
            hash: Digest::of(bytes),
            root: self.chain_root,
        }
    }
}

/// File hashes and sizes depend on the Parquet encoder, rows roots do not: the root leaves the
/// former out, so that a rebuild with another encoder still proves the same rows.
fn root_of(body: &CommitBody, prev_root: Digest) -> Result<Digest, ManifestError> {
    let mut content = body.clone();
    for segment in &mut content.segments {
        segment.file_hash = Digest::ZERO;
        segment.bytes = 0;
    }
    let text = serde_json::to_vec(&content).map_err(ManifestError::Malformed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prev_root.0);
    hasher.update(&text);
    Ok(Digest(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(seq: u64) -> CommitBody {
        CommitBody {
            stream: "trades".into(),
            partition: PartitionId(3),
            seq,
            segments: vec![],
            sealed_key: None,
            sealed_rows: 0,
            next_offset: Offset(7),
            scan_from: Offset(7),
            skips: vec![Skip {
                offset: Offset(5),
                rows: vec![(0, 2)],
            }],
            state: MachineState::default(),
            rejects: None,
        }
    }

    #[test]
    fn commits_round_trip_and_chain() {
        let first = Commit::link(body(0), &ChainTip::EMPTY, "a".into()).unwrap();
        let bytes = first.encode().unwrap();
        assert_eq!(Commit::decode(&bytes).unwrap(), first);
        first.check_root(Digest::ZERO).unwrap();
        let second = Commit::link(body(1), &first.tip(&bytes), "b".into()).unwrap();
        assert_eq!(second.prev_hash, Digest::of(&bytes));
        second.check_root(first.chain_root).unwrap();
    }

    #[test]
    fn root_ignores_the_nonce_and_notices_everything_else() {
        let one = Commit::link(body(0), &ChainTip::EMPTY, "a".into()).unwrap();
        let two = Commit::link(body(0), &ChainTip::EMPTY, "b".into()).unwrap();
        assert_eq!(one.chain_root, two.chain_root);
        let mut altered = one;
        altered.body.skips.clear();
        assert!(matches!(
            altered.check_root(Digest::ZERO),
            Err(ManifestError::Altered { .. })
        ));
    }

    #[test]
    fn foreign_versions_and_damage_are_told_apart() {
        let newer = br#"{"version":9,"other":true}"#;
        assert!(matches!(
            Commit::decode(newer),
            Err(ManifestError::Version { found: 9 })
        ));
        assert!(matches!(
            Commit::decode(b"{"),
            Err(ManifestError::Malformed(_))
        ));
    }
}
