//! Client sources: which requests of which client were seen, in bounded memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::verdict::{Reason, Verdict};
use crate::broken::{Rule, broken};
use crate::frame::SourcePart;

/// Sequences of one source that may be in flight at once.
pub const SOURCE_WINDOW: u64 = 1024;

/// Sources remembered in a partition; the longest silent leaves first.
pub const MAX_SOURCES: usize = 4096;

/// A source silent for this long (append time, ns) is forgotten.
pub const SOURCE_EXPIRY_NS: i64 = 3_600_000_000_000;

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
}

/// All sources of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceTable {
    by_name: BTreeMap<Arc<str>, Source>,
    by_silence: BTreeSet<(i64, Arc<str>)>,
    /// Highest append time seen: expiry never depends on a log clock stepping back.
    now_ns: i64,
}

impl SourceTable {
    /// Judges the parts of an otherwise good frame, in row order.
    pub(super) fn admit(&mut self, append_time_ns: i64, parts: &[SourcePart]) -> Verdict {
        self.now_ns = self.now_ns.max(append_time_ns);
        self.expire();
        let mut verdict = Verdict::default();
        let mut from = 0;
        for part in parts {
            let rows = from..from + part.rows;
            from = rows.end;
            match self.admit_part(part) {
                Ok(()) => verdict.push_accepted(rows),
                Err(reason) => verdict.push_refused(rows, reason),
            }
        }
        verdict
    }

    fn admit_part(&mut self, part: &SourcePart) -> Result<(), Reason> {
        if !part.is_named() || broken(Rule::ClientDuplicates) {
            return Ok(());
        }
        let name = Arc::clone(&part.source);
        let source = self.by_name.entry(Arc::clone(&name)).or_default();
        self.by_silence
            .remove(&(source.last_seen_ns, Arc::clone(&name)));
        source.last_seen_ns = self.now_ns;
        let verdict = source.admit(part);
        self.by_silence.insert((self.now_ns, name));
        if self.by_name.len() > MAX_SOURCES {
            self.forget_longest_silent();
        }
        verdict
    }

    fn expire(&mut self) {
        let limit = self.now_ns.saturating_sub(SOURCE_EXPIRY_NS);
        while self
            .by_silence
            .first()
            .is_some_and(|(seen, _)| *seen < limit)
        {
            self.forget_longest_silent();
        }
    }

    fn forget_longest_silent(&mut self) {
        if let Some((_, name)) = self.by_silence.pop_first() {
            self.by_name.remove(&name);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.by_name.iter().map(|(name, source)| (&**name, source))
    }

    pub(super) fn restore(now_ns: i64, sources: impl Iterator<Item = (Arc<str>, Source)>) -> Self {
        let by_name: BTreeMap<_, _> = sources.collect();
        let silence =
            |(name, source): (&Arc<str>, &Source)| (source.last_seen_ns, Arc::clone(name));
        Self {
            by_silence: by_name.iter().map(silence).collect(),
            by_name,
            now_ns,
        }
    }

    pub(super) fn now_ns(&self) -> i64 {
        self.now_ns
    }
}

impl Source {
    fn admit(&mut self, part: &SourcePart) -> Result<(), Reason> {
        let sequence = part.sequence;
        if self.is_complete(sequence) {
            return Err(Reason::ClientDuplicate);
        }
        if sequence.saturating_add(SOURCE_WINDOW) <= self.highest() {
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
        let floor = self.highest().saturating_sub(SOURCE_WINDOW - 1);
        self.partial = self.partial.split_off(&floor);
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn part(sequence: u64, part: u32, last: bool) -> SourcePart {
        SourcePart {
            source: "feed".into(),
            sequence,
            part,
            last,
            rows: 1,
        }
    }

    fn judge(table: &mut SourceTable, now: i64, part: SourcePart) -> Option<Reason> {
        table
            .admit(now, &[part])
            .refused
            .first()
            .map(|refusal| refusal.reason)
    }

    #[test]
    fn parts_are_accepted_once_and_in_order() {
        let mut table = SourceTable::default();
        assert_eq!(
            judge(&mut table, 0, part(5, 1, true)),
            Some(Reason::PartMissing)
        );
        assert_eq!(judge(&mut table, 0, part(5, 0, false)), None);
        assert_eq!(
            judge(&mut table, 0, part(5, 0, false)),
            Some(Reason::ClientDuplicate)
        );
        assert_eq!(judge(&mut table, 0, part(5, 1, true)), None);
        assert_eq!(
            judge(&mut table, 0, part(5, 1, true)),
            Some(Reason::ClientDuplicate)
        );
        assert_eq!(judge(&mut table, 0, part(4, 0, true)), None);
    }

    #[test]
    fn sequences_far_below_the_newest_are_told_from_duplicates() {
        let mut table = SourceTable::default();
        assert_eq!(judge(&mut table, 0, part(3, 0, true)), None);
        assert_eq!(judge(&mut table, 0, part(5000, 0, true)), None);
        assert_eq!(
            judge(&mut table, 0, part(3, 0, true)),
            Some(Reason::ClientDuplicate)
        );
        assert_eq!(
            judge(&mut table, 0, part(4, 0, true)),
            Some(Reason::SequenceForgotten)
        );
        assert_eq!(judge(&mut table, 0, part(5000 - 1023, 0, true)), None);
    }

    #[test]
    fn silent_sources_expire_by_append_time() {
        let mut table = SourceTable::default();
        assert_eq!(judge(&mut table, 0, part(1, 0, true)), None);
        assert_eq!(
            judge(&mut table, SOURCE_EXPIRY_NS, part(1, 0, true)),
            Some(Reason::ClientDuplicate)
        );
        assert_eq!(
            judge(&mut table, 2 * SOURCE_EXPIRY_NS + 1, part(1, 0, true)),
            None
        );
    }

    #[test]
    fn the_longest_silent_source_makes_room() {
        let mut table = SourceTable::default();
        for i in 0..=MAX_SOURCES {
            let mut part = part(1, 0, true);
            part.source = format!("s{i}").into();
            table.admit(i64::try_from(i).unwrap(), &[part]);
        }
        assert_eq!(table.iter().count(), MAX_SOURCES);
        assert!(table.iter().all(|(name, _)| name != "s0"));
    }

    proptest! {
        #[test]
        fn runs_agree_with_a_plain_set(sequences in proptest::collection::vec(0u64..600, 0..800)) {
            let (mut table, mut seen) = (SourceTable::default(), BTreeSet::new());
            for sequence in sequences {
                let fresh = seen.insert(sequence);
                let verdict = judge(&mut table, 0, part(sequence, 0, true));
                prop_assert_eq!(verdict, (!fresh).then_some(Reason::ClientDuplicate));
            }
        }
    }
}
