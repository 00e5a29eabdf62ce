//! The machine's state in commits.

use std::collections::BTreeMap;

use super::sources::{Source, SourceTable};
use super::{MachineRules, Member, PartitionMachine};
use crate::ids::Offset;
use crate::manifest::{MachineState, MemberState, SourceState};

impl PartitionMachine {
    /// The state as a commit holds it.
    pub fn state(&self) -> MachineState {
        let members = self.members.iter().map(|(writer, member)| MemberState {
            writer: *writer,
            closed: member.closed,
            next_pseq: member.next_pseq,
        });
        let sources = self.sources.iter().map(|(name, source)| SourceState {
            name: name.to_owned(),
            last_seen_ns: source.last_seen_ns,
            runs: source
                .runs
                .iter()
                .map(|(first, last)| (*first, *last))
                .collect(),
            partial: source
                .partial
                .iter()
                .map(|(sequence, next)| (*sequence, *next))
                .collect(),
        });
        MachineState {
            watermark: self.watermark,
            members: members.collect(),
            departed: self.departed.iter().copied().collect(),
            departed_through: self.departed_through,
            now_ns: self.sources.now_ns(),
            sources: sources.collect(),
            counts: self.counts,
        }
    }

    /// The machine that had `state` before `next_offset`.
    pub fn restore(rules: MachineRules, state: &MachineState, next_offset: Offset) -> Self {
        let member = |m: &MemberState| {
            (
                m.writer,
                Member {
                    closed: m.closed,
                    next_pseq: m.next_pseq,
                },
            )
        };
        let source = |s: &SourceState| {
            let runs: BTreeMap<_, _> = s.runs.iter().copied().collect();
            let partial = s.partial.iter().copied().collect();
            (
                s.name.as_str().into(),
                Source {
                    last_seen_ns: s.last_seen_ns,
                    runs,
                    partial,
                },
            )
        };
        Self {
            rules,
            watermark: state.watermark,
            members: state.members.iter().map(member).collect(),
            departed: state.departed.iter().copied().collect(),
            departed_through: state.departed_through,
            sources: SourceTable::restore(state.now_ns, state.sources.iter().map(source)),
            counts: state.counts,
            next_offset,
        }
    }
}
