//! Which segments become one file: a pure function of the commit chain.
//!
//! Time is divided into spans of equal length, an hour by default. A span is closed by the first
//! commit whose watermark lies a sixth of a span beyond its end, and beyond the event window that
//! holds its end: every row of the span is in a segment by then. Neighbouring segments of one
//! schema version share a file of at most [`MAX_FILE_ROWS`]. Whoever reads the same chain plans
//! the same files.

use crate::hlc::{Hlc, Key};
use crate::ids::{Offset, PartitionId, StreamName};
use crate::manifest::{Body, ChainTip, CommitBody, CompactionBody, Kept, RejectsMeta, SegmentMeta};

/// Rows of a compacted file at most, unless a single segment has more.
pub const MAX_FILE_ROWS: u64 = 4 << 20;

/// A span waits this part of itself after its end, so that files do not change under the hands of
/// those who read what has just been sealed.
const DELAY_PARTS: i64 = 6;

/// A compaction that is due: its files are still to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionPlan {
    /// Segments that become one file each, in key order.
    pub groups: Vec<Vec<SegmentMeta>>,
    /// The compaction, but for its files.
    pub body: CompactionBody,
}

/// A segment that no compaction covers yet.
#[derive(Clone, Debug)]
struct Pending {
    segment: SegmentMeta,
    /// The chain before its commit.
    before: ChainTip,
}

/// Reads one partition's commit chain and plans its compactions.
#[derive(Clone, Debug)]
pub struct CompactionPlanner {
    stream: StreamName,
    partition: PartitionId,
    window_ns: i64,
    span_ns: i64,
    next_seq: u64,
    covered: Option<Key>,
    /// Commits below this number were looked at for sidecars.
    rejects_from: u64,
    segments: u64,
    rows: u64,
    pending: Vec<Pending>,
    rejects: Vec<(Offset, RejectsMeta)>,
}

impl CompactionPlan {
    /// Whether a compaction says what is planned here, but for how its files are encoded.
    pub fn is(&self, found: &CompactionBody) -> bool {
        let said = CompactionBody {
            files: Vec::new(),
            ..found.clone()
        };
        let replaced = found.files.iter().map(|file| file.replaces);
        let planned = self.groups.iter().map(|group| group.len() as u64);
        said.essence() == self.body.clone().essence() && replaced.eq(planned)
    }
}

impl CompactionPlanner {
    /// Starts before the first commit.
    pub fn new(stream: StreamName, partition: PartitionId, window_ns: i64, span_ns: i64) -> Self {
        Self {
            stream,
            partition,
            window_ns: window_ns.max(1),
            span_ns: span_ns.max(1),
            next_seq: 0,
            covered: None,
            rejects_from: 0,
            segments: 0,
            rows: 0,
            pending: Vec::new(),
            rejects: Vec::new(),
        }
    }

    /// Goes on after `last`; the commits come again from its `scan_from`.
    pub fn resume(stream: StreamName, window_ns: i64, span_ns: i64, last: &CompactionBody) -> Self {
        let mut planner = Self::new(stream, last.partition, window_ns, span_ns);
        planner.next_seq = last.seq.saturating_add(1);
        planner.covered = Some(last.last_key);
        planner.rejects_from = last.through.next_seq;
        planner.segments = last.segments;
        planner.rows = last.rows;
        planner
    }

    /// Goes on after what retention let go; the commits come again from those that it kept.
    pub fn resume_kept(
        stream: StreamName,
        partition: PartitionId,
        window_ns: i64,
        span_ns: i64,
        kept: &Kept,
    ) -> Self {
        let mut planner = Self::new(stream, partition, window_ns, span_ns);
        planner.next_seq = kept.compactions.next_seq;
        planner.covered = Some(kept.gone_through);
        planner.rejects_from = kept.through;
        planner.segments = kept.segments;
        planner.rows = kept.rows;
        planner
    }

    /// Takes the commit between the tips `before` and `after`; the compactions that it makes due.
    pub fn take(
        &mut self,
        commit: &CommitBody,
        before: ChainTip,
        after: ChainTip,
    ) -> Vec<CompactionPlan> {
        let covered = self.covered;
        let fresh = |segment: &&SegmentMeta| covered.is_none_or(|key| segment.first_key > key);
        let fresh = commit.segments.iter().filter(fresh).cloned();
        self.pending
            .extend(fresh.map(|segment| Pending { segment, before }));
        if commit.seq >= self.rejects_from
            && let Some(meta) = &commit.rejects
        {
            self.rejects.push((commit.next_offset, meta.clone()));
        }
        let mut due = Vec::new();
        while let Some(span) = self.closed(commit.state.watermark) {
            due.push(self.plan(span, before, after));
        }
        due
    }

    /// The oldest span with segments, if `watermark` closes it.
    fn closed(&self, watermark: Hlc) -> Option<(Hlc, Hlc)> {
        let first = self.pending.first()?.segment.first_key.hlc.0;
        let from = first.div_euclid(self.span_ns) * self.span_ns;
        let to = from.saturating_add(self.span_ns);
        let window = (to - 1).div_euclid(self.window_ns).saturating_add(1);
        let sealed = window.saturating_mul(self.window_ns);
        let quiet = to.saturating_add(self.span_ns / DELAY_PARTS);
        (watermark.0 >= sealed.max(quiet)).then_some((Hlc(from), Hlc(to)))
    }

    fn plan(&mut self, span: (Hlc, Hlc), before: ChainTip, after: ChainTip) -> CompactionPlan {
        let end = self
            .pending
            .partition_point(|pending| pending.segment.first_key.hlc < span.1);
        let scan_from = self.pending.get(end).map_or(before, |next| next.before);
        let taken = self.pending.drain(..end).map(|pending| pending.segment);
        let groups = group(taken);
        let segments = groups.iter().flatten();
        self.segments += segments.clone().count() as u64;
        self.rows += segments.clone().map(|segment| segment.rows).sum::<u64>();
        let last_key = segments.last().map(|segment| segment.last_key);
        let last_key = last_key.unwrap_or(Key::last_at(span.0));
        self.covered = Some(last_key);
        let body = CompactionBody {
            stream: self.stream.as_str().to_owned(),
            partition: self.partition,
            seq: self.next_seq,
            span,
            files: Vec::new(),
            last_key,
            segments: self.segments,
            rows: self.rows,
            through: after,
            scan_from,
            rejects: std::mem::take(&mut self.rejects),
        };
        self.next_seq += 1;
        CompactionPlan { groups, body }
    }
}

/// Neighbours that share a file.
fn group(segments: impl Iterator<Item = SegmentMeta>) -> Vec<Vec<SegmentMeta>> {
    let mut groups: Vec<Vec<SegmentMeta>> = Vec::new();
    let mut rows = 0;
    for segment in segments {
        let joins = |last: &SegmentMeta| {
            last.schema_version == segment.schema_version && rows + segment.rows <= MAX_FILE_ROWS
        };
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(joins) => {
                rows += segment.rows;
                group.push(segment);
            }
            _ => {
                rows = segment.rows;
                groups.push(vec![segment]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests;
