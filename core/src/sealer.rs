//! Cutting accepted rows into segments, and deciding when a commit is due.
//!
//! Both depend on the log alone: on the rows, on the watermark after each record and on the
//! offsets. Any worker therefore cuts the same segments and writes the same commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use thiserror::Error;

use crate::broken::{Rule, broken};
use crate::error::ErrorKind;
use crate::hlc::{Hlc, Key};
use crate::ids::{Offset, PartitionId, StreamName};
use crate::machine::{Reason, Verdict};
use crate::manifest::{CommitBody, Skip};
use crate::merge::{MergeError, merge_runs};
use crate::open_rows::{OpenRows, key_at};
use crate::replica::{Applied, Codecs, Record, Replica};
use crate::schema::StreamSchema;

/// Rows after which a segment ends within its window.
pub const MAX_SEGMENT_ROWS: u64 = 1 << 20;

/// Rows of the batches that segments are handed over in.
pub const SLICE_ROWS: usize = 8192;

/// Windows after which a commit is due though nothing was sealed.
pub const CHECKPOINT_WINDOWS: i64 = 60;

/// Bytes of refused frames after which a commit is due.
const MAX_PENDING_REJECT_BYTES: usize = 8 << 20;

/// Why rows could not be cut.
#[derive(Debug, Error)]
pub enum SealError {
    /// Rows that are not in strict order.
    #[error("cannot merge the open rows of {stream} partition {partition}")]
    Merge {
        /// The stream.
        stream: StreamName,
        /// The partition.
        partition: PartitionId,
        /// What is wrong.
        #[source]
        source: MergeError,
    },
    /// Rows of a schema version that is not known.
    #[error("schema version {version} is not known")]
    UnknownSchema {
        /// Which version.
        version: u32,
    },
}

impl SealError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// A frame that goes to the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedFrame {
    /// Where it lies.
    pub offset: Offset,
    /// When the log took it, ns since the epoch.
    pub append_time_ns: i64,
    /// The first reason found.
    pub reason: Reason,
    /// Its bytes.
    pub payload: Bytes,
}

/// The rows of a segment.
#[derive(Clone, Debug)]
pub struct SegmentRows {
    /// Version of the schema that all rows have.
    pub schema_version: u32,
    /// Rows in strict key order, in batches of [`SLICE_ROWS`].
    pub batches: Vec<RecordBatch>,
}

/// A commit that is due: its segments are still to be written.
#[derive(Debug)]
pub struct CommitPlan {
    /// Segments in key order.
    pub segments: Vec<SegmentRows>,
    /// Frames for the sidecar.
    pub rejects: Vec<RejectedFrame>,
    /// The commit, but for the names of segments and sidecar.
    pub body: CommitBody,
}

/// Collects the rows of one partition.
#[derive(Debug)]
pub struct Sealer {
    stream: StreamName,
    partition: PartitionId,
    window_ns: i64,
    open: OpenRows,
    sealed_key: Option<Key>,
    sealed_rows: u64,
    skips: BTreeMap<Offset, Vec<(u32, u32)>>,
    rejects: Vec<RejectedFrame>,
    reject_bytes: usize,
    checkpoint: i64,
    next_seq: u64,
}

impl Sealer {
    /// Starts with an empty chain.
    pub fn new(stream: StreamName, partition: PartitionId, window_ns: i64) -> Self {
        Self {
            stream,
            partition,
            window_ns: window_ns.max(1),
            open: OpenRows::default(),
            sealed_key: None,
            sealed_rows: 0,
            skips: BTreeMap::new(),
            rejects: Vec::new(),
            reject_bytes: 0,
            checkpoint: 0,
            next_seq: 0,
        }
    }

    /// Goes on after `commit`; its open rows come again through [`Replica::resume`].
    pub fn resume(stream: StreamName, window_ns: i64, commit: &CommitBody) -> Self {
        let mut sealer = Self::new(stream, commit.partition, window_ns);
        sealer.sealed_key = commit.sealed_key;
        sealer.sealed_rows = commit.sealed_rows;
        sealer.skips = commit
            .skips
            .iter()
            .map(|s| (s.offset, s.rows.clone()))
            .collect();
        sealer.checkpoint = sealer.checkpoint_of(commit.state.watermark);
        sealer.next_seq = commit.seq.saturating_add(1);
        sealer
    }

    /// Rows not sealed yet.
    pub fn open_rows(&self) -> u64 {
        self.open.rows()
    }

    /// Takes what `record` did and says whether a commit is due after it.
    pub fn step(
        &mut self,
        record: Record<'_>,
        applied: Applied,
        replica: &Replica,
        codecs: &dyn Codecs,
    ) -> Result<Option<CommitPlan>, SealError> {
        for run in applied.runs {
            self.open.push(run);
        }
        let Some(verdict) = applied.verdict else {
            return Ok(None);
        };
        self.note_refusals(record, &verdict);
        let watermark = if broken(Rule::SealByWatermark) {
            Hlc(record.append_time_ns)
        } else {
            replica.machine().watermark()
        };
        let segments = self.seal(watermark, codecs)?;
        let checkpoint = self.checkpoint_of(watermark);
        let due = !segments.is_empty()
            || checkpoint > self.checkpoint
            || self.reject_bytes >= MAX_PENDING_REJECT_BYTES;
        Ok(due.then(|| {
            self.checkpoint = checkpoint;
            self.plan(segments, replica)
        }))
    }

    fn checkpoint_of(&self, watermark: Hlc) -> i64 {
        watermark.0 / self.window_ns.saturating_mul(CHECKPOINT_WINDOWS)
    }

    fn note_refusals(&mut self, record: Record<'_>, verdict: &Verdict) {
        if !verdict.refused.is_empty() {
            let rows = verdict
                .refused
                .iter()
                .map(|r| (r.rows.start, r.rows.end))
                .collect();
            self.skips.insert(record.offset, rows);
        }
        let rejected = verdict.refused.iter().find(|r| !r.reason.is_duplicate());
        if let Some(refusal) = rejected {
            self.reject_bytes += record.payload.len();
            self.rejects.push(RejectedFrame {
                offset: record.offset,
                append_time_ns: record.append_time_ns,
                reason: refusal.reason,
                payload: record.payload.clone(),
            });
        }
    }

    fn plan(&mut self, segments: Vec<SegmentRows>, replica: &Replica) -> CommitPlan {
        let next_offset = replica.machine().next_offset();
        let scan_from = self.open.lowest_offset().unwrap_or(next_offset);
        self.skips = self.skips.split_off(&scan_from);
        self.reject_bytes = 0;
        let skip = |(offset, rows): (&Offset, &Vec<_>)| Skip {
            offset: *offset,
            rows: rows.clone(),
        };
        let body = CommitBody {
            stream: self.stream.as_str().to_owned(),
            partition: self.partition,
            seq: self.next_seq,
            segments: Vec::new(),
            sealed_key: self.sealed_key,
            sealed_rows: self.sealed_rows,
            next_offset,
            scan_from,
            skips: self.skips.iter().map(skip).collect(),
            state: replica.machine().state(),
            rejects: None,
        };
        self.next_seq += 1;
        CommitPlan {
            segments,
            rejects: std::mem::take(&mut self.rejects),
            body,
        }
    }

    fn seal(&mut self, watermark: Hlc, codecs: &dyn Codecs) -> Result<Vec<SegmentRows>, SealError> {
        let mut sealed = Vec::new();
        while let Some(lowest) = self.open.lowest() {
            let last = Hlc((lowest.0 / self.window_ns + 1) * self.window_ns - 1);
            let passed = watermark >= last;
            let bound = Key::last_at(if passed { last } else { watermark });
            let full = || self.open.count_through(bound) >= MAX_SEGMENT_ROWS;
            if !passed && (self.open.rows() < MAX_SEGMENT_ROWS || !full()) {
                break;
            }
            let (schema_version, batches) = self.ordered_through(bound, codecs)?;
            for batches in cut(batches, passed) {
                let Some(end) = batches.last() else { continue };
                let key = key_at(end, end.num_rows() - 1);
                self.open.drop_through(key);
                self.sealed_key = Some(key);
                self.sealed_rows += batches.iter().map(|b| b.num_rows() as u64).sum::<u64>();
                sealed.push(SegmentRows {
                    schema_version,
                    batches,
                });
            }
        }
        Ok(sealed)
    }

    /// Open rows through `bound`, merged, all in the newest schema among them.
    fn ordered_through(
        &self,
        bound: Key,
        codecs: &dyn Codecs,
    ) -> Result<(u32, Vec<RecordBatch>), SealError> {
        let queues: Vec<_> = self.open.select_through(bound).collect();
        let version = queues
            .iter()
            .flatten()
            .map(|run| run.schema_version)
            .max()
            .unwrap_or(0);
        let codec = codecs
            .codec(version)
            .ok_or(SealError::UnknownSchema { version })?;
        let schema: &StreamSchema = codec.schema();
        let wrap = |source| SealError::Merge {
            stream: self.stream.clone(),
            partition: self.partition,
            source,
        };
        let promote = |queue: Vec<crate::open_rows::RowRun>| {
            queue
                .iter()
                .map(|run| schema.promote_stored(&run.rows))
                .collect::<Result<Vec<_>, _>>()
        };
        let inputs = queues
            .into_iter()
            .map(promote)
            .collect::<Result<Vec<_>, _>>();
        let inputs = inputs.map_err(|error| wrap(error.into()))?;
        if broken(Rule::SegmentOrder) {
            return Ok((version, inputs.into_iter().flatten().collect()));
        }
        let rows = merge_runs(Arc::clone(schema.stored()), inputs, SLICE_ROWS).map_err(wrap)?;
        Ok((version, rows))
    }
}

/// Cuts ordered rows into segments of exactly [`MAX_SEGMENT_ROWS`]; what is left makes one more if
/// the window has `passed`.
fn cut(batches: Vec<RecordBatch>, passed: bool) -> Vec<Vec<RecordBatch>> {
    let (mut segments, mut segment, mut room) = (Vec::new(), Vec::new(), MAX_SEGMENT_ROWS);
    for mut batch in batches {
        while batch.num_rows() as u64 >= room {
            let head = usize::try_from(room).unwrap_or(batch.num_rows());
            segment.push(batch.slice(0, head));
            batch = batch.slice(head, batch.num_rows() - head);
            segments.push(std::mem::take(&mut segment));
            room = MAX_SEGMENT_ROWS;
        }
        if batch.num_rows() > 0 {
            room -= batch.num_rows() as u64;
            segment.push(batch);
        }
    }
    if passed && !segment.is_empty() {
        segments.push(segment);
    }
    segments
}

#[cfg(test)]
mod tests;
