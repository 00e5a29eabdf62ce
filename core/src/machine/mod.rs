//! The partition state machine: a pure function of a log prefix.
//!
//! It looks at frame headers only. Whoever feeds it the same records, worker, query node, joining
//! gateway or verifier, gets the same verdicts, watermark and state.

mod source;
mod sources;
mod state;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use crate::broken::{Rule, broken};
use crate::frame::{FrameHeader, FrameKind};
use crate::hlc::Hlc;
use crate::ids::{Offset, WriterId};
use crate::manifest::RowCounts;
use sources::SourceTable;

pub use source::{Landed, SOURCE_WINDOW};
pub use sources::{EarlierSources, MAX_SOURCES, SOURCE_EXPIRY_NS};
pub use verdict::{Reason, Refusal, Verdict};

/// Writers remembered one by one after they left. Older ones are told by their id alone.
pub const MAX_DEPARTED: usize = 1024;

/// Settings of a stream that change verdicts; they stand in the control topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineRules {
    /// How far a stamp may lie above the append time, ns. `None` where the log has no append time.
    pub max_drift_ns: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    closed: Hlc,
    next_pseq: u64,
    /// The partition count by which it cuts requests; 0 if it never said.
    cut: u32,
}

/// State of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMachine {
    rules: MachineRules,
    watermark: Hlc,
    members: BTreeMap<WriterId, Member>,
    departed: BTreeSet<WriterId>,
    departed_through: Option<WriterId>,
    sources: SourceTable,
    counts: RowCounts,
    next_offset: Offset,
}

impl PartitionMachine {
    /// The state before the first record.
    pub fn new(rules: MachineRules) -> Self {
        Self {
            rules,
            watermark: Hlc::MIN,
            members: BTreeMap::new(),
            departed: BTreeSet::new(),
            departed_through: None,
            sources: SourceTable::default(),
            counts: RowCounts::default(),
            next_offset: Offset(0),
        }
    }

    /// No event at or below this will be accepted any more.
    pub fn watermark(&self) -> Hlc {
        self.watermark
    }

    /// The state is the one before this offset.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Where the rows went so far.
    pub fn counts(&self) -> RowCounts {
        self.counts
    }

    /// Open writers with the stamp up to which each has spoken.
    pub fn members(&self) -> impl Iterator<Item = (WriterId, Hlc)> {
        self.members
            .iter()
            .map(|(writer, member)| (*writer, member.closed))
    }

    /// The largest partition count that a member cuts by: there are that many partitions at least.
    pub fn highest_cut(&self) -> u32 {
        let cuts = self.members.values().map(|member| member.cut);
        cuts.max().unwrap_or(0).max(self.cut())
    }

    /// Whether `writer` is open.
    pub fn is_open(&self, writer: WriterId) -> bool {
        self.members.contains_key(&writer)
    }

    /// The partition count by which requests that name their source are cut here: all members cut
    /// by it or by more, and nobody will come who cuts by less. 0 before a writer said it.
    pub fn cut(&self) -> u32 {
        self.sources.cut()
    }

    /// What is remembered of requests cut by less than [`PartitionMachine::cut`].
    pub fn earlier(&self) -> impl Iterator<Item = (u32, EarlierSources)> {
        let earlier = self.sources.earlier().iter();
        earlier.map(|(cut, sources)| (*cut, EarlierSources::new(sources)))
    }

    /// Judges the frame at `offset` that the log took at `append_time_ns`. `None` stands for a
    /// record that is no frame.
    pub fn apply(
        &mut self,
        offset: Offset,
        append_time_ns: i64,
        frame: Option<&FrameHeader>,
    ) -> Verdict {
        self.next_offset = offset.next();
        let verdict = match frame {
            None => Verdict::refuse(0, Reason::Malformed),
            Some(frame) => match self.judge(append_time_ns, frame) {
                Ok(()) => self.admit(append_time_ns, frame),
                Err(reason) => Verdict::refuse(frame.rows, reason),
            },
        };
        self.counts.accepted += verdict.accepted_rows();
        self.counts.duplicate += verdict.rows_refused(Reason::is_duplicate);
        self.counts.rejected += verdict.rows_refused(|reason| !reason.is_duplicate());
        verdict
    }

    /// Whether the frame as a whole follows the protocol; changes nothing.
    fn judge(&self, append_time_ns: i64, frame: &FrameHeader) -> Result<(), Reason> {
        match frame.kind {
            FrameKind::Fence => return Ok(()),
            FrameKind::Open => return self.judge_open(frame),
            FrameKind::Data | FrameKind::Beat | FrameKind::Close => {}
        }
        let member = self
            .members
            .get(&frame.writer)
            .ok_or(Reason::WriterNotOpen)?;
        let numbered = !broken(Rule::FrameNumbers);
        if numbered && frame.pseq < member.next_pseq {
            return Err(Reason::ProducerDuplicate);
        }
        if numbered && frame.pseq > member.next_pseq {
            return Err(Reason::FrameMissing);
        }
        if frame.hlc_first <= member.closed && !broken(Rule::AboveClosed) {
            return Err(Reason::NotAboveClosed);
        }
        self.judge_drift(append_time_ns, frame)
    }

    fn judge_open(&self, frame: &FrameHeader) -> Result<(), Reason> {
        let writer = frame.writer;
        if self.members.contains_key(&writer) {
            return Err(Reason::ProducerDuplicate);
        }
        let departed = self.departed.contains(&writer) && !broken(Rule::DepartedStayOut);
        if departed
            || self
                .departed_through
                .is_some_and(|through| writer <= through)
        {
            return Err(Reason::WriterDeparted);
        }
        if frame.pseq != 0 {
            return Err(Reason::FrameMissing);
        }
        if frame.cut != 0 && frame.cut < self.cut() {
            return Err(Reason::OtherCut);
        }
        Ok(())
    }

    fn judge_drift(&self, append_time_ns: i64, frame: &FrameHeader) -> Result<(), Reason> {
        match self.rules.max_drift_ns {
            Some(drift)
                if frame.hlc_last.0 > append_time_ns.saturating_add(drift)
                    && !broken(Rule::DriftLimit) =>
            {
                Err(Reason::AheadOfAppendTime)
            }
            _ => Ok(()),
        }
    }

    fn admit(&mut self, append_time_ns: i64, frame: &FrameHeader) -> Verdict {
        let writer = frame.writer;
        match frame.kind {
            FrameKind::Open => {
                self.begin(append_time_ns, frame);
                let through = !broken(Rule::OpenAtWatermark);
                let member = Member {
                    closed: if through { self.watermark } else { Hlc::MIN },
                    next_pseq: 1,
                    cut: frame.cut,
                };
                self.members.insert(writer, member);
                self.advance_cut();
                return Verdict::accept(0);
            }
            FrameKind::Fence => self.depart(writer),
            FrameKind::Data | FrameKind::Beat | FrameKind::Close => self.hear(frame),
        }
        self.advance();
        if frame.kind == FrameKind::Close {
            self.depart(writer);
            self.advance();
        }
        if frame.sources.is_empty() {
            return Verdict::accept(frame.rows);
        }
        self.sources
            .admit(append_time_ns, frame.cut, &frame.sources)
    }

    /// A member has spoken.
    fn hear(&mut self, frame: &FrameHeader) {
        let before = self.members.get(&frame.writer).map_or(0, |m| m.cut);
        let member = Member {
            closed: frame.hlc_last,
            next_pseq: frame.pseq + 1,
            cut: before.max(frame.cut),
        };
        self.members.insert(frame.writer, member);
        if member.cut > before {
            self.advance_cut();
        }
    }

    /// A partition begins where its first writer's clock stands: above the watermark of every
    /// older partition of the stream, which would otherwise seem incomplete again. Only while
    /// nobody is open: a member may still send stamps below another's clock.
    fn begin(&mut self, append_time_ns: i64, open: &FrameHeader) {
        let untouched = self.watermark == Hlc::MIN && self.members.is_empty();
        if untouched && self.judge_drift(append_time_ns, open).is_ok() {
            self.watermark = open.hlc_first;
        }
    }

    fn advance(&mut self) {
        let closed = self.members.values().map(|member| member.closed);
        let lowest = if broken(Rule::WatermarkByMin) {
            closed.max()
        } else {
            closed.min()
        };
        if let Some(lowest) = lowest {
            self.watermark = self.watermark.max(lowest);
        }
    }

    /// The cut follows the members as W does. Once it has risen, no member's earlier requests are
    /// under way any more: what is remembered of them is final.
    fn advance_cut(&mut self) {
        let said = self.members.values().map(|member| member.cut);
        let said = said.filter(|cut| *cut > 0);
        let cut = if broken(Rule::CutByMin) {
            said.max()
        } else {
            said.min()
        };
        if let Some(cut) = cut.filter(|cut| *cut > self.cut()) {
            self.sources.turn(cut);
        }
    }

    fn depart(&mut self, writer: WriterId) {
        if self.members.remove(&writer).is_some() {
            self.advance_cut();
        }
        if self.departed_through.is_none_or(|through| writer > through) {
            self.departed.insert(writer);
        }
        while self.departed.len() > MAX_DEPARTED {
            self.departed_through = self.departed.pop_first();
        }
    }
}

#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod tests;
