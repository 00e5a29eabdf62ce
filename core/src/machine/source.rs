//! One client source: which of its requests are here.

use std::collections::BTreeMap;

use super::verdict::Reason;
use crate::frame::SourcePart;

/// Sequences of one source that may be in flight at once.
pub const SOURCE_WINDOW: u64 = 1024;

/// Runs of complete sequences kept per source; the lowest is forgotten first.
const MAX_RUNS: usize = 512;

/// What is known of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) last_seen_ns: i64,
    /// Complete sequences: first to last of each run, both inclusive, never touching.
    pub(super) runs: BTreeMap<u64, u64>,
    /// Sequences whose first parts are here, and the part that must come next.
    pub(super) partial: BTreeMap<u64, u32>,
    /// Lower sequences were forgotten under an earlier cut.
    pub(super) floor: u64,
}

/// How much of a request's rows for a partition is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// Nothing.
    Nothing,
    /// Its first parts, this many.
    Parts(u32),
    /// Everything.
    Whole,
    /// The sequence is so old that this is no longer known.
    Forgotten,
}

impl Source {
    pub(super) fn admit(&mut self, part: &SourcePart) -> Result<(), Reason> {
        let sequence = part.sequence;
        if self.is_complete(sequence) {
            return Err(Reason::ClientDuplicate);
        }
        if sequence < self.lowest() {
            return Err(Reason::SequenceForgotten);
        }
        let next = self.partial.get(&sequence).copied().unwrap_or(0);
        if part.part < next {
            return Err(Reason::ClientDuplicate);
        }
        if part.part > next {
            return Err(Reason::PartMissing);
        }
        if part.last {
            self.partial.remove(&sequence);
            self.complete(sequence);
        } else {
            self.partial.insert(sequence, next + 1);
        }
        self.partial = self.partial.split_off(&self.lowest());
        Ok(())
    }

    /// What is here of a request.
    pub(super) fn landed(&self, sequence: u64) -> Landed {
        if self.is_complete(sequence) {
            return Landed::Whole;
        }
        if sequence < self.lowest() {
            return Landed::Forgotten;
        }
        let parts = self.partial.get(&sequence);
        parts.map_or(Landed::Nothing, |next| Landed::Parts(*next))
    }

    /// Of lower sequences it is no longer known whether they are here.
    pub(super) fn lowest(&self) -> u64 {
        let window = self.highest().saturating_sub(SOURCE_WINDOW - 1);
        window.max(self.floor)
    }

    fn is_complete(&self, sequence: u64) -> bool {
        let run = self.runs.range(..=sequence).next_back();
        run.is_some_and(|(_, last)| sequence <= *last)
    }

    fn highest(&self) -> u64 {
        let complete = self.runs.last_key_value().map_or(0, |(_, last)| *last);
        let begun = self
            .partial
            .last_key_value()
            .map_or(0, |(sequence, _)| *sequence);
        complete.max(begun)
    }

    /// Adds one sequence, joining it with the runs that it touches.
    fn complete(&mut self, sequence: u64) {
        let before = self
            .runs
            .range(..sequence)
            .next_back()
            .map(|(first, last)| (*first, *last));
        let first = match before {
            Some((first, last)) if last.checked_add(1) == Some(sequence) => first,
            _ => sequence,
        };
        let after = sequence
            .checked_add(1)
            .and_then(|next| self.runs.remove(&next));
        self.runs.insert(first, after.unwrap_or(sequence));
        while self.runs.len() > MAX_RUNS {
            self.runs.pop_first();
        }
    }
}
