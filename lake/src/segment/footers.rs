//! Footers of segments, decoded, so that a window does not begin with reading them again.

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tourbillon_core::digest::Digest;

/// Memory of the footers that are kept, bytes.
const MAX_BYTES: u64 = 32 << 20;

/// How many footers that may be; only the first size of the cache's table.
const EXPECTED: usize = 4096;

/// The footers that were used most lately, by what identifies the segment's bytes.
#[derive(Debug)]
pub(crate) struct Footers(Cache<Digest, ArrowReaderMetadata, ByMemory>);

#[derive(Clone, Debug)]
struct ByMemory;

impl Weighter<Digest, ArrowReaderMetadata> for ByMemory {
    fn weight(&self, _: &Digest, footer: &ArrowReaderMetadata) -> u64 {
        footer.metadata().memory_size() as u64
    }
}

impl Default for Footers {
    fn default() -> Self {
        Self(Cache::with_weighter(EXPECTED, MAX_BYTES, ByMemory))
    }
}

impl Footers {
    pub(crate) fn get(&self, segment: &Digest) -> Option<ArrowReaderMetadata> {
        self.0.get(segment)
    }

    pub(crate) fn put(&self, segment: Digest, footer: ArrowReaderMetadata) {
        self.0.insert(segment, footer);
    }
}
