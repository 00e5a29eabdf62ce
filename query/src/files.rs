//! Which files of the store hold a partition's sealed rows: segments from commits, until a
//! compaction has put one file in the place of several, or retention has let them go.

use std::ops::Range;
use std::sync::Arc;

use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::manifest::{CommitBody, CompactionBody, Kept, SegmentMeta};

/// The files of a partition, in key order.
#[derive(Debug, Default)]
pub(crate) struct Files {
    list: Vec<Arc<SegmentMeta>>,
    /// Rows at or below this key are in compacted files, or gone.
    covered: Option<Key>,
    kept: Option<Kept>,
}

impl Files {
    /// Number of files.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Adds the segments of a commit that no compaction known so far covers.
    pub(crate) fn committed(&mut self, commit: &CommitBody) {
        let covered = self.covered;
        let fresh = |segment: &&SegmentMeta| covered.is_none_or(|key| segment.first_key > key);
        let fresh = commit.segments.iter().filter(fresh);
        self.list.extend(fresh.cloned().map(Arc::new));
    }

    /// Puts the files of a compaction in the place of the segments that it covers. Every commit that
    /// it looked at must have been added, or come later.
    pub(crate) fn compacted(&mut self, compaction: &CompactionBody) {
        let covered = |file: &Arc<SegmentMeta>| file.first_key <= compaction.last_key;
        let before = self.covered;
        let from = self
            .list
            .partition_point(|file| before.is_some_and(|key| file.first_key <= key));
        let to = self.list.partition_point(covered);
        let files = compaction
            .files
            .iter()
            .map(|file| Arc::new(file.file.clone()));
        self.list.splice(from..to.max(from), files);
        self.covered = Some(compaction.last_key);
    }

    /// Forgets what retention let go.
    pub(crate) fn let_go(&mut self, kept: Kept) {
        let gone = self
            .list
            .partition_point(|file| file.last_key <= kept.gone_through);
        self.list.drain(..gone);
        self.covered = self.covered.max(Some(kept.gone_through));
        self.kept = Some(kept);
    }

    /// What retention has left.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// The files that reach into `window`.
    pub(crate) fn overlapping(&self, window: &Range<Hlc>) -> &[Arc<SegmentMeta>] {
        overlapping(&self.list, window)
    }
}

/// The files, which follow one another, that reach into `window`.
pub(crate) fn overlapping<'a>(
    files: &'a [Arc<SegmentMeta>],
    window: &Range<Hlc>,
) -> &'a [Arc<SegmentMeta>] {
    let from = files.partition_point(|s| s.last_key.hlc < window.start);
    let to = files.partition_point(|s| s.first_key.hlc < window.end);
    &files[from..to.max(from)]
}
