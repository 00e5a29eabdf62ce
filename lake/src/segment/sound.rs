//! Which pieces of segments were found to be those that their commits name.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tourbillon_core::digest::{Digest, PIECE_BYTES, are_pieces_of, subtree};
use tourbillon_core::manifest::SegmentMeta;

use crate::error::LakeError;
use crate::store::{Lake, store_error};

/// Memory for what is known of segments: about 200,000 of them that are one piece, or 1 TB in
/// large ones. What is forgotten is hashed again.
const MAX_BYTES: u64 = 32 << 20;

/// How many segments that may be; only the first size of the cache's table.
const EXPECTED: usize = 4096;

/// What is known of the segments that were used most lately.
#[derive(Debug)]
pub(crate) struct Sound(Cache<Digest, Arc<Pieces>, ByMemory>);

#[derive(Clone, Debug)]
struct ByMemory;

impl Weighter<Digest, Arc<Pieces>> for ByMemory {
    fn weight(&self, _: &Digest, pieces: &Arc<Pieces>) -> u64 {
        128 + 33 * pieces.digests.len() as u64
    }
}

impl Default for Sound {
    fn default() -> Self {
        Self(Cache::with_weighter(EXPECTED, MAX_BYTES, ByMemory))
    }
}

/// The pieces of a segment, and which of them were seen and found sound since the process began.
#[derive(Debug)]
pub(crate) struct Pieces {
    bytes: u64,
    /// Of a segment that is one piece, the digest of the whole.
    digests: Vec<Digest>,
    sound: Vec<AtomicBool>,
}

impl Pieces {
    /// Takes them from a commit, unless they do not fit together.
    fn of(meta: &SegmentMeta) -> Option<Self> {
        if !are_pieces_of(&meta.pieces, meta.bytes, meta.file_hash) {
            return None;
        }
        let digests = match &meta.pieces[..] {
            [] => vec![meta.file_hash],
            pieces => pieces.to_vec(),
        };
        let sound = digests.iter().map(|_| AtomicBool::new(false)).collect();
        Some(Self {
            bytes: meta.bytes,
            digests,
            sound,
        })
    }

    /// Size of the segment.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether every piece under a range of bytes was found sound.
    pub(crate) fn are_sound(&self, range: &Range<u64>) -> bool {
        let sound = |number: usize| self.sound[number].load(Ordering::Relaxed);
        self.under(range).all(sound)
    }

    /// What to read for some ranges: whole pieces where they have yet to be proven, and what
    /// touches as one.
    pub(crate) fn widened(&self, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let ranges = ranges.iter().filter(|range| range.start < range.end);
        let mut wide: Vec<_> = ranges.map(|range| self.widen(range)).collect();
        wide.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in wide {
            match joined.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }

    fn widen(&self, range: &Range<u64>) -> Range<u64> {
        let (first, last) = (self.piece_at(range.start), self.piece_at(range.end - 1));
        let start = if self.are_sound(&first) {
            range.start
        } else {
            first.start
        };
        let end = if self.are_sound(&last) {
            range.end
        } else {
            last.end
        };
        start..end
    }

    /// The bytes of the piece that holds one.
    fn piece_at(&self, byte: u64) -> Range<u64> {
        let start = byte / PIECE_BYTES * PIECE_BYTES;
        start..(start + PIECE_BYTES).min(self.bytes)
    }

    /// Holds what was read from `from` on, widened, against the digests; false if a piece differs.
    pub(crate) fn prove(&self, from: u64, bytes: &Bytes) -> bool {
        let read = from..from + bytes.len() as u64;
        self.under(&read).all(|number| {
            let piece = self.piece_at(number as u64 * PIECE_BYTES);
            if self.are_sound(&piece) {
                return true;
            }
            if piece.start < read.start || piece.end > read.end {
                return false;
            }
            let within = |at: u64| usize::try_from(at - from).unwrap_or(usize::MAX);
            let proven = self.digest(number, &bytes[within(piece.start)..within(piece.end)]);
            self.sound[number].store(proven, Ordering::Relaxed);
            proven
        })
    }

    fn digest(&self, number: usize, piece: &[u8]) -> bool {
        let found = match self.digests.len() {
            1 => Digest::of(piece),
            _ => subtree(number as u64, piece),
        };
        found == self.digests[number]
    }

    /// Numbers of the pieces under a range within the segment.
    fn under(&self, range: &Range<u64>) -> Range<usize> {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let end = number(range.end.div_ceil(PIECE_BYTES)).min(self.digests.len());
        number(range.start / PIECE_BYTES).min(end)..end
    }
}

impl Lake {
    /// What identifies a segment's bytes in this process, and what is known of its pieces. In a
    /// local folder all is forgotten of a file whose size or time has changed.
    pub(crate) async fn pieces(
        &self,
        path: &Path,
        meta: &SegmentMeta,
    ) -> Result<(Digest, Arc<Pieces>), LakeError> {
        let damaged = |reason: String| LakeError::Damaged {
            path: path.to_string(),
            reason,
        };
        let mut identity = format!("{path}\n{}\n", meta.file_hash);
        if let Some(folder) = &self.local {
            let (size, changed) = self.state_of(folder, path).await?;
            if size != meta.bytes {
                return Err(damaged(other_size(size, meta.bytes)));
            }
            identity = format!("{identity}{size} {changed:?}");
        }
        let key = Digest::of(identity.as_bytes());
        let unfit = || damaged("the pieces that its commit names do not give its file_hash".into());
        let make = || Pieces::of(meta).map(Arc::new).ok_or_else(unfit);
        Ok((key, self.sound.0.get_or_insert_with(&key, make)?))
    }

    /// Size of a local file and the time of its last change. Asked for in place, every time: the
    /// kernel knows them, and another thread would take twenty times as long to be woken.
    async fn state_of(
        &self,
        folder: &std::path::Path,
        path: &Path,
    ) -> Result<(u64, Option<SystemTime>), LakeError> {
        match std::fs::metadata(folder.join(path.as_ref())) {
            Ok(found) => Ok((found.len(), found.modified().ok())),
            // the store's own words for what is wrong
            Err(_) => match self.store.head(path).await {
                Ok(head) => Ok((head.size, Some(head.last_modified.into()))),
                Err(source) => Err(store_error("read", path, source)),
            },
        }
    }
}

pub(crate) fn other_size(found: u64, said: u64) -> String {
    format!("it has {found} bytes and its commit says {said}")
}
