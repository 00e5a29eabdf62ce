//! One link of a chain, whatever the chain is about.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::CommitBody;
use crate::digest::Digest;
use crate::ids::PartitionId;

/// Version of the commit format that this build writes and reads.
pub const COMMIT_VERSION: u32 = 3;

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
    /// Its bytes are not those that were written.
    #[error("the commit's bytes are not those that its self_hash was made of")]
    Flipped,
}

/// What the links of a chain say.
pub trait Body:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Folder of its chains below the stream's.
    const FOLDER: &'static str;

    /// Where it belongs: the stream, the partition and the position in the chain, from 0.
    fn home(&self) -> (&str, PartitionId, u64);

    /// Position in the chain, from 0.
    fn seq(&self) -> u64 {
        self.home().2
    }

    /// Without what depends on the Parquet encoder or on nonces: a rebuild with another encoder
    /// still proves the same rows.
    #[must_use]
    fn essence(self) -> Self;
}

/// One link of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit<B = CommitBody> {
    /// Format version.
    pub version: u32,
    /// Drawn by the process that wrote it: tells whose put succeeded.
    pub nonce: String,
    /// Digest of the bytes of the commit before; zero for the first.
    pub prev_hash: Digest,
    /// Digest over the root before and this body's deterministic content.
    pub chain_root: Digest,
    /// Digest over the bytes of this commit with zeros here. Behind the newest commit stands none
    /// that holds the hash of its bytes, and the root leaves the nonce out.
    pub self_hash: Digest,
    /// What it says.
    pub body: B,
}

/// Ends of a chain that the next commit must tie to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainTip {
    /// Sequence of the next commit.
    pub next_seq: u64,
    /// Digest of the newest commit's bytes.
    pub hash: Digest,
    /// Root of the newest commit.
    pub root: Digest,
}

impl Default for ChainTip {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl ChainTip {
    /// Tip of an empty chain.
    pub const EMPTY: Self = Self {
        next_seq: 0,
        hash: Digest::ZERO,
        root: Digest::ZERO,
    };
}

impl<B: Body> Commit<B> {
    /// Ties `body` to the chain at `tip`.
    pub fn link(body: B, tip: &ChainTip, nonce: String) -> Result<Self, ManifestError> {
        let chain_root = root_of(&body, tip.root)?;
        let commit = Self {
            version: COMMIT_VERSION,
            nonce,
            prev_hash: tip.hash,
            chain_root,
            self_hash: Digest::ZERO,
            body,
        };
        commit.seal()
    }

    /// This commit with the `self_hash` that its content asks for.
    pub fn seal(mut self) -> Result<Self, ManifestError> {
        self.self_hash = Digest::ZERO;
        self.self_hash = Digest::of(&self.encode()?);
        Ok(self)
    }

    /// The bytes of the commit object.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        serde_json::to_vec(self).map_err(ManifestError::Malformed)
    }

    /// Reads a commit object; its format version is checked first, its bytes to the last bit.
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
        let commit: Self = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        let commit = commit.seal()?;
        // as bytes: JSON can say the same in others, like a digest in capital letters
        if commit.encode()? != bytes {
            return Err(ManifestError::Flipped);
        }
        Ok(commit)
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
            next_seq: self.body.seq().saturating_add(1),
            hash: Digest::of(bytes),
            root: self.chain_root,
        }
    }
}

fn root_of<B: Body>(body: &B, prev_root: Digest) -> Result<Digest, ManifestError> {
    let text = serde_json::to_vec(&body.clone().essence()).map_err(ManifestError::Malformed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prev_root.0);
    hasher.update(&text);
    Ok(Digest(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::{MachineState, Skip};
    use super::*;
    use crate::ids::Offset;

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
        assert_eq!(Commit::<CommitBody>::decode(&bytes).unwrap(), first);
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
    fn every_flipped_bit_is_noticed() {
        let commit = Commit::link(body(0), &ChainTip::EMPTY, "0123456789abcdef".into()).unwrap();
        let sound = commit.encode().unwrap();
        for at in 0..sound.len() {
            for bit in 0..8 {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << bit;
                let read = Commit::<CommitBody>::decode(&bytes);
                assert!(read.is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn foreign_versions_and_damage_are_told_apart() {
        let newer = br#"{"version":9,"other":true}"#;
        assert!(matches!(
            Commit::<CommitBody>::decode(newer),
            Err(ManifestError::Version { found: 9 })
        ));
        assert!(matches!(
            Commit::<CommitBody>::decode(b"{"),
            Err(ManifestError::Malformed(_))
        ));
    }
}
