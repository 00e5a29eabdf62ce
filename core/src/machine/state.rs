//! The machine's state in commits.

use std::collections::BTreeMap;

use super::source::Source;
use super::sources::{ByName, SourceTable};
use super::{MachineRules, Member, PartitionMachine};
use crate::ids::Offset;
use crate::manifest::{EarlierState, MachineState, MemberState, SourceState};

impl PartitionMachine {
    /// The state as a commit holds it.
    pub fn state(&self) -> MachineState {
        let members = self.members.iter().map(|(writer, member)| MemberState {
            writer: *writer,
            closed: member.closed,
            next_pseq: member.next_pseq,
            cut: member.cut,
        });
        let earlier = self.sources.earlier().iter();
        let earlier = earlier.map(|(cut, sources)| EarlierState {
            cut: *cut,
            sources: said(sources),
        });
        MachineState {
            watermark: self.watermark,
            members: members.collect(),
            departed: self.departed.iter().copied().collect(),
            departed_through: self.departed_through,
            now_ns: self.sources.now_ns(),
            cut: self.sources.cut(),
            sources: said(self.sources.by_name()),
            earlier: earlier.collect(),
            counts: self.counts,
        }
    }

    /// The machine that had `state` before `next_offset`.
    pub fn restore(rules: MachineRules, state: &MachineState, next_offset: Offset) -> Self {
        let member = |m: &MemberState| {
            let member = Member {
                closed: m.closed,
                next_pseq: m.next_pseq,
                cut: m.cut,
            };
            (m.writer, member)
        };
        let earlier = state.earlier.iter();
        let earlier = earlier.map(|earlier| (earlier.cut, known(&earlier.sources)));
        let sources = SourceTable::restore(
            state.now_ns,
            state.cut,
            known(&state.sources),
            earlier.collect(),
        );
        Self {
            rules,
            watermark: state.watermark,
            members: state.members.iter().map(member).collect(),
            departed: state.departed.iter().copied().collect(),
            departed_through: state.departed_through,
            sources,
            counts: state.counts,
            next_offset,
        }
    }
}

fn said(sources: &ByName) -> Vec<SourceState> {
    fn pairs<N: Copy>(map: &BTreeMap<u64, N>) -> Vec<(u64, N)> {
        map.iter().map(|(key, value)| (*key, *value)).collect()
    }
    let state = |(name, source): (&std::sync::Arc<str>, &Source)| SourceState {
        name: name.as_ref().to_owned(),
        last_seen_ns: source.last_seen_ns,
        runs: pairs(&source.runs),
        partial: pairs(&source.partial),
        floor: source.floor,
    };
    sources.iter().map(state).collect()
}

fn known(sources: &[SourceState]) -> ByName {
    let source = |s: &SourceState| {
        let source = Source {
            last_seen_ns: s.last_seen_ns,
            runs: s.runs.iter().copied().collect(),
            partial: s.partial.iter().copied().collect(),
            floor: s.floor,
        };
        (s.name.as_str().into(), source)
    };
    sources.iter().map(source).collect()
}
