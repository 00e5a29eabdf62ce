//! Distinct strings of a column, numbered in order of first appearance.

use std::hash::BuildHasher;

use arrow::array::StringArray;
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::error::ArrowError;
use hashbrown::{DefaultHashBuilder, HashTable};

/// An interner whose contents become the values of a dictionary array.
#[derive(Debug)]
pub(super) struct Words {
    bytes: Vec<u8>,
    /// Word `i` is `bytes[ends[i]..ends[i + 1]]`.
    ends: Vec<usize>,
    index: HashTable<i32>,
    hasher: DefaultHashBuilder,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            ends: vec![0],
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Words {
    /// Number of `word`, which must be UTF-8; none if the column holds more than 2 GiB of text.
    pub(super) fn intern(&mut self, word: &[u8]) -> Option<i32> {
        let Self {
            bytes,
            ends,
            index,
            hasher,
        } = self;
        let at = |id: i32| {
            let id = id.cast_unsigned() as usize;
            &bytes[ends[id]..ends[id + 1]]
        };
        let hash = hasher.hash_one(word);
        if let Some(&id) = index.find(hash, |&id| at(id) == word) {
            return Some(id);
        }
        i32::try_from(bytes.len() + word.len()).ok()?;
        let id = i32::try_from(ends.len() - 1).ok()?;
        index.insert_unique(hash, id, |&id| hasher.hash_one(at(id)));
        bytes.extend_from_slice(word);
        ends.push(bytes.len());
        Some(id)
    }

    /// The words in the order of their numbers.
    pub(super) fn finish(self) -> Result<StringArray, ArrowError> {
        let lengths = self.ends.windows(2).map(|pair| pair[1] - pair[0]);
        let offsets = OffsetBuffer::from_lengths(lengths);
        StringArray::try_new(offsets, Buffer::from_vec(self.bytes), None)
    }
}
