//! What compaction and retention say: the other two chains of a partition.
//!
//! A compaction is a function of the commit chain, and so of the log. A boundary is not: it says
//! what is gone or about to go, and so allows nothing but forgetting.

use serde::{Deserialize, Serialize};

use super::{Body, ChainTip, RejectsMeta, SegmentMeta};
use crate::digest::Digest;
use crate::hlc::{Hlc, Key};
use crate::ids::{Offset, PartitionId};

/// A file that holds the rows of segments that follow one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactedFile {
    /// The file.
    pub file: SegmentMeta,
    /// Number of segments whose rows it holds. If it is one, the file is that segment itself.
    pub replaces: u64,
}

/// One span of time, an hour by default, in few large files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactionBody {
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: PartitionId,
    /// Position in the chain, from 0.
    pub seq: u64,
    /// Its segments are those whose first stamp lies in this half-open span.
    pub span: (Hlc, Hlc),
    /// Its files, in key order.
    pub files: Vec<CompactedFile>,
    /// Key of its last row.
    pub last_key: Key,
    /// Segments of the chain that this and all earlier compactions cover.
    pub segments: u64,
    /// Rows in them.
    pub rows: u64,
    /// End of the commit chain that it looked at: the first commit that closed the span.
    pub through: ChainTip,
    /// The chain before the first commit that holds a segment of a later span; before its own
    /// closing commit if there is none.
    pub scan_from: ChainTip,
    /// Sidecars of the commits looked at since the compaction before, with their `next_offset`.
    pub rejects: Vec<(Offset, RejectsMeta)>,
}

/// What retention has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Rows at or below this key are gone or about to go.
    pub gone_through: Key,
    /// From this stamp on, everything is left.
    pub from: Hlc,
    /// Segments and rows that went.
    pub segments: u64,
    /// Rows that went.
    pub rows: u64,
    /// Commits below this number were looked at for sidecars.
    pub through: u64,
    /// Before the first commit that is kept.
    pub commits: ChainTip,
    /// Before the first compaction that is kept.
    pub compactions: ChainTip,
}

/// How far compaction and retention have cleared away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: PartitionId,
    /// Position in the chain, from 0.
    pub seq: u64,
    /// The segments that compactions below this number replaced are gone.
    pub swept: u64,
    /// What retention has left, if it took anything.
    pub kept: Option<Kept>,
}

impl Body for CompactionBody {
    const FOLDER: &'static str = "compaction";

    fn home(&self) -> (&str, PartitionId, u64) {
        (&self.stream, self.partition, self.seq)
    }

    fn essence(mut self) -> Self {
        for file in &mut self.files {
            file.file = file.file.clone().essence();
        }
        self.through.hash = Digest::ZERO;
        self.scan_from.hash = Digest::ZERO;
        self
    }
}

impl Body for Boundary {
    const FOLDER: &'static str = "boundary";

    fn home(&self) -> (&str, PartitionId, u64) {
        (&self.stream, self.partition, self.seq)
    }

    fn essence(self) -> Self {
        self
    }
}
