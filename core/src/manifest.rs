//! What a commit says: the wire form of one link of a partition's commit chain.
//!
//! A commit is a pure function of the log prefix below `next_offset`, except for `nonce` and the
//! `prev_hash` over bytes that hold a nonce. `chain_root` covers everything but those two, so two
//! workers that did the same work agree on it.

mod compaction;
mod link;

use serde::{Deserialize, Serialize};

pub use compaction::{Boundary, CompactedFile, CompactionBody, Kept};
pub use link::{Body, COMMIT_VERSION, ChainTip, Commit, ManifestError};

use crate::digest::Digest;
use crate::hlc::{Hlc, Key};
use crate::ids::{Offset, PartitionId, WriterId};

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
    /// Digests of the file's pieces, which together give `file_hash`; none if it is only one piece.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<Digest>,
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

impl SegmentMeta {
    /// Without what depends on the Parquet encoder.
    fn essence(mut self) -> Self {
        self.file_hash = Digest::ZERO;
        self.pieces = Vec::new();
        self.bytes = 0;
        self
    }
}

impl Body for CommitBody {
    const FOLDER: &'static str = "commit";

    fn home(&self) -> (&str, PartitionId, u64) {
        (&self.stream, self.partition, self.seq)
    }

    fn essence(mut self) -> Self {
        self.segments = self
            .segments
            .into_iter()
            .map(SegmentMeta::essence)
            .collect();
        self
    }
}
