//! Client sources: which requests of which client were seen, in bounded memory.
//!
//! A request names the same rows in every repeat only while it is cut by the same number of
//! partitions. The table therefore begins anew when the partition's cut rises, and what it knew
//! is kept as it was: gateways ask it before they cut a repeat by the new count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::source::{Landed, Source};
use super::verdict::{Reason, Verdict};
use crate::broken::{Rule, broken};
use crate::frame::SourcePart;

/// Sources remembered in a partition; the longest silent leaves first. One counts once for every
/// cut under which it is remembered.
pub const MAX_SOURCES: usize = 4096;

/// A source silent for this long (append time, ns) is forgotten.
pub const SOURCE_EXPIRY_NS: i64 = 3_600_000_000_000;

pub(super) type ByName = BTreeMap<Arc<str>, Source>;

/// All sources of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceTable {
    /// The partition count by which requests are cut; 0 before a writer said it.
    cut: u32,
    by_name: ByName,
    /// What was known when each earlier cut ended.
    earlier: BTreeMap<u32, ByName>,
    /// Append time, cut and name.
    by_silence: BTreeSet<(i64, u32, Arc<str>)>,
    /// Highest append time seen: expiry never depends on a log clock stepping back.
    now_ns: i64,
}

impl SourceTable {
    /// Judges the parts of an otherwise good frame, in row order.
    pub(super) fn admit(&mut self, append_time_ns: i64, cut: u32, parts: &[SourcePart]) -> Verdict {
        self.now_ns = self.now_ns.max(append_time_ns);
        self.expire();
        // builds that do not say it are to be gone before a stream grows
        let other = cut != 0 && cut != self.cut && !broken(Rule::CutsAgree);
        let mut verdict = Verdict::default();
        let mut from = 0;
        for part in parts {
            let rows = from..from + part.rows;
            from = rows.end;
            let judged = if other && part.is_named() {
                Err(Reason::OtherCut)
            } else {
                self.admit_part(part)
            };
            match judged {
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
        if !self.earlier.is_empty() && !self.by_name.contains_key(&name) {
            let source = self.begin(&name);
            self.by_name.insert(Arc::clone(&name), source);
        }
        let source = self.by_name.entry(Arc::clone(&name)).or_default();
        self.by_silence
            .remove(&(source.last_seen_ns, self.cut, Arc::clone(&name)));
        source.last_seen_ns = self.now_ns;
        let verdict = source.admit(part);
        self.by_silence.insert((self.now_ns, self.cut, name));
        if self.by_silence.len() > MAX_SOURCES {
            self.forget_longest_silent();
        }
        verdict
    }

    /// A source not seen under this cut: what it forgot under an earlier one stays forgotten.
    fn begin(&self, name: &str) -> Source {
        let mut earlier = self.earlier.values().rev();
        let newest = earlier.find_map(|sources| sources.get(name));
        Source {
            floor: newest.map_or(0, Source::lowest),
            ..Source::default()
        }
    }

    fn expire(&mut self) {
        let limit = self.now_ns.saturating_sub(SOURCE_EXPIRY_NS);
        while self
            .by_silence
            .first()
            .is_some_and(|(seen, ..)| *seen < limit)
        {
            self.forget_longest_silent();
        }
    }

    fn forget_longest_silent(&mut self) {
        let Some((_, cut, name)) = self.by_silence.pop_first() else {
            return;
        };
        if cut == self.cut {
            self.by_name.remove(&name);
        } else if let Some(sources) = self.earlier.get_mut(&cut) {
            sources.remove(&name);
            if sources.is_empty() {
                self.earlier.remove(&cut);
            }
        }
    }

    /// Requests are cut by `cut` from here on, which is more than before. Nobody said how those
    /// were cut that came before anyone said it: they count as cut the same way.
    pub(super) fn turn(&mut self, cut: u32) {
        if self.cut == 0 {
            let silence = std::mem::take(&mut self.by_silence);
            let relabelled = silence.into_iter().map(|(seen, _, name)| (seen, cut, name));
            self.by_silence = relabelled.collect();
        } else if !self.by_name.is_empty() {
            self.earlier
                .insert(self.cut, std::mem::take(&mut self.by_name));
        }
        self.cut = cut;
    }

    pub(super) fn cut(&self) -> u32 {
        self.cut
    }

    pub(super) fn by_name(&self) -> &ByName {
        &self.by_name
    }

    pub(super) fn earlier(&self) -> &BTreeMap<u32, ByName> {
        &self.earlier
    }

    pub(super) fn restore(
        now_ns: i64,
        cut: u32,
        by_name: ByName,
        earlier: BTreeMap<u32, ByName>,
    ) -> Self {
        let all = earlier.iter().map(|(cut, sources)| (*cut, sources));
        let mut by_silence = BTreeSet::new();
        for (cut, sources) in all.chain([(cut, &by_name)]) {
            let silence = sources
                .iter()
                .map(|(name, source)| (source.last_seen_ns, cut, Arc::clone(name)));
            by_silence.extend(silence);
        }
        Self {
            cut,
            by_name,
            earlier,
            by_silence,
            now_ns,
        }
    }

    pub(super) fn now_ns(&self) -> i64 {
        self.now_ns
    }
}

/// What a partition remembers of requests cut by an earlier partition count. No later record adds
/// to it, so that whoever asks, whenever, is told the same until it expires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EarlierSources(ByName);

impl EarlierSources {
    pub(super) fn new(sources: &ByName) -> Self {
        Self(sources.clone())
    }

    /// How much of a request landed here, as one knows at `now_ns`.
    pub fn landed(&self, source: &str, sequence: u64, now_ns: i64) -> Landed {
        let known = self.0.get(source);
        let limit = now_ns.saturating_sub(SOURCE_EXPIRY_NS);
        let known = known.filter(|source| source.last_seen_ns >= limit);
        known.map_or(Landed::Nothing, |source| source.landed(sequence))
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
