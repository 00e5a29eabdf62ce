//! The first keys of the inputs: a binary heap whose lowest is replaced in place.

use crate::hlc::Key;

#[derive(Debug, Default)]
pub(super) struct Heads {
    heap: Vec<(Key, usize)>,
}

impl Heads {
    pub(super) fn push(&mut self, key: Key, input: usize) {
        let mut place = self.heap.len();
        self.heap.push((key, input));
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.heap.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    pub(super) fn lowest(&self) -> Option<(Key, usize)> {
        self.heap.first().copied()
    }

    /// The lowest key of the other inputs.
    pub(super) fn next_lowest(&self) -> Option<Key> {
        match &self.heap[..] {
            [] | [_] => None,
            [_, one] => Some(one.0),
            [_, one, other, ..] => Some(one.0.min(other.0)),
        }
    }

    /// The input whose key is lowest is at another key now.
    pub(super) fn replace_lowest(&mut self, key: Key) {
        if let Some(lowest) = self.heap.first_mut() {
            lowest.0 = key;
            self.sink();
        }
    }

    pub(super) fn remove_lowest(&mut self) {
        if !self.heap.is_empty() {
            self.heap.swap_remove(0);
            self.sink();
        }
    }

    /// Brings the first to its place.
    fn sink(&mut self) {
        let mut place = 0;
        loop {
            let mut lower = 2 * place + 1;
            if lower + 1 < self.heap.len() && self.heap[lower + 1] < self.heap[lower] {
                lower += 1;
            }
            if lower >= self.heap.len() || self.heap[place] <= self.heap[lower] {
                return;
            }
            self.heap.swap(place, lower);
            place = lower;
        }
    }
}
