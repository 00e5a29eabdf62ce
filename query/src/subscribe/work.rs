//! What subscriptions cost a node, so that it can be seen that they share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts the work of all subscriptions of a node.
#[derive(Debug, Default)]
pub(crate) struct Work {
    windows: AtomicU64,
    rows: AtomicU64,
    encodings: AtomicU64,
    seated: AtomicU64,
    left_behind: AtomicU64,
    /// Bytes that were made of the rows of the live edge and are kept.
    kept: Arc<AtomicUsize>,
}

/// Work done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkDone {
    /// Windows opened.
    pub windows: u64,
    /// Rows read from them.
    pub rows: u64,
    /// Batches of rows made into JSON or Arrow.
    pub encodings: u64,
    /// Times that a subscriber came to the live edge.
    pub seated: u64,
    /// Times that one was too slow to stay there.
    pub left_behind: u64,
}

impl Work {
    pub(super) fn opened(&self) {
        self.windows.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(super) fn encoded(&self) {
        self.encodings.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn seated(&self) {
        self.seated.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left_behind(&self) {
        self.left_behind.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn kept(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.kept)
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    pub(super) fn done(&self) -> WorkDone {
        WorkDone {
            windows: self.windows.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            encodings: self.encodings.load(Ordering::Relaxed),
            seated: self.seated.load(Ordering::Relaxed),
            left_behind: self.left_behind.load(Ordering::Relaxed),
        }
    }
}
