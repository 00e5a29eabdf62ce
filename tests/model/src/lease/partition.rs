//! The partition's log, judged by the real machine.
//!
//! Not the records are kept but all that follows from them for what may still happen, so that
//! orders of events that no one can tell apart are one state.

use std::hash::{Hash, Hasher};

use tourbillon_core::frame::{FrameHeader, FrameKind, SourcePart};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::WriterId;
use tourbillon_core::machine::{MachineRules, PartitionMachine, Verdict};
use tourbillon_core::manifest::MemberState;

use super::WRITERS;

/// Stamps of a tick.
pub(super) const STAMPS: u8 = 4;

/// How far a stamp may lie above the append time.
pub(super) const MAX_DRIFT: u8 = 4;

/// Most frames of a writer.
pub(super) const MAX_FRAMES: usize = 4;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// OPEN.
    Open,
    /// DATA of one row.
    Data,
    /// FENCE.
    Fence,
}

/// A frame of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// Its number among the writer's.
    pub pseq: u8,
    /// Its stamp.
    pub hlc: u8,
}

impl Frame {
    /// A writer's first.
    pub fn open() -> Self {
        Self {
            kind: Kind::Open,
            pseq: 0,
            hlc: 0,
        }
    }

    /// The last word on a writer.
    pub fn fence() -> Self {
        Self {
            kind: Kind::Fence,
            ..Self::open()
        }
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It counts.
    Accepted,
    /// Its row is there already.
    Duplicate,
    /// It broke the protocol.
    Rejected,
}

/// A frame in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Landed {
    /// What became of it.
    pub outcome: Outcome,
    /// Whether its stamp lies too far above its append time.
    pub drifts: bool,
}

/// Ways in which a broken variant reads the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Publish the highest closed stamp.
    pub by_max: bool,
    /// Publish as if fenced writers were gone and accept as if they were not.
    pub fence_is_advice: bool,
    /// Ignore who sent a row.
    pub anonymous: bool,
}

/// Invariants that the log has broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A request was stored twice.
    pub twice: bool,
    /// Something counts at or below a published watermark, or that went back.
    pub not_final: bool,
    /// A row is neither stored nor a duplicate nor rejected.
    pub uncounted: bool,
}

/// The state at the end of the log.
#[derive(Clone, Debug)]
pub struct Partition {
    /// What became of each writer's frames: of the first, if one landed twice.
    landed: [[Option<Landed>; MAX_FRAMES]; WRITERS],
    /// Whether FENCE is in the log.
    pub fenced: [bool; WRITERS],
    /// The watermark that readers know.
    pub watermark: u8,
    /// How often each request was stored.
    stored: [u8; MAX_FRAMES],
    /// What must not be.
    pub faults: Faults,
    /// Open writers.
    members: Vec<(u32, i64, u64)>,
    rows: u64,
    machine: PartitionMachine,
}

impl Default for Partition {
    fn default() -> Self {
        let max_drift_ns = Some(i64::from(MAX_DRIFT));
        Self {
            landed: Default::default(),
            fenced: [false; WRITERS],
            watermark: 0,
            stored: [0; MAX_FRAMES],
            faults: Faults::default(),
            members: Vec::new(),
            rows: 0,
            machine: PartitionMachine::new(MachineRules { max_drift_ns }),
        }
    }
}

type Essence<'p> = (
    &'p [[Option<Landed>; MAX_FRAMES]; WRITERS],
    ([bool; WRITERS], u8, [u8; MAX_FRAMES]),
    Faults,
    &'p [(u32, i64, u64)],
);

impl Partition {
    /// All that matters for what comes. Departed writers are those with an OPEN that are no
    /// members or were fenced; requests seen are those stored.
    fn essence(&self) -> Essence<'_> {
        let flat = (self.fenced, self.watermark, self.stored);
        (&self.landed, flat, self.faults, &self.members)
    }
}

impl PartialEq for Partition {
    fn eq(&self, other: &Self) -> bool {
        self.essence() == other.essence()
    }
}

impl Eq for Partition {}

impl Hash for Partition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.essence().hash(state);
    }
}

impl Partition {
    /// Appends a frame.
    pub fn append(&mut self, writer: u8, frame: Frame, appended: u8, reading: Reading) {
        let at = usize::from(writer);
        let header = header(writer, frame, reading.anonymous);
        let verdict = if reading.fence_is_advice && frame.kind == Kind::Fence {
            Verdict::default()
        } else {
            let offset = self.machine.next_offset();
            self.machine
                .apply(offset, i64::from(appended), Some(&header))
        };
        let landed = Landed {
            outcome: outcome(&verdict),
            drifts: frame.hlc > appended + MAX_DRIFT,
        };
        match frame.kind {
            Kind::Fence => self.fenced[at] = true,
            _ => {
                self.landed[at][usize::from(frame.pseq)].get_or_insert(landed);
            }
        }
        if frame.kind == Kind::Data {
            self.rows += 1;
            if landed.outcome == Outcome::Accepted {
                self.count(frame);
            }
        }
        self.settle(reading);
    }

    /// Takes note of a row that counts.
    fn count(&mut self, frame: Frame) {
        let stored = &mut self.stored[usize::from(frame.pseq)];
        *stored += 1;
        self.faults.twice |= *stored > 1;
        self.faults.not_final |= frame.hlc <= self.watermark;
    }

    /// Works out what readers now know.
    fn settle(&mut self, reading: Reading) {
        let published = self.published(reading);
        self.faults.not_final |= published < self.watermark;
        self.watermark = published;
        let counts = self.machine.counts();
        let counted = counts.accepted + counts.duplicate + counts.rejected;
        self.faults.uncounted |= counted != self.rows;
        let member = |m: &MemberState| (m.writer.0, m.closed.0, m.next_pseq);
        self.members = self.machine.state().members.iter().map(member).collect();
    }

    fn published(&self, reading: Reading) -> u8 {
        let open = self.machine.members().filter_map(|(writer, closed)| {
            let fenced = (0u32..).zip(self.fenced).any(|f| f == (writer.0, true));
            (!fenced).then_some(closed.0)
        });
        let hlc = if reading.by_max {
            open.max()
        } else if reading.fence_is_advice {
            open.min()
        } else {
            return u8::try_from(self.machine.watermark().0).unwrap_or(u8::MAX);
        };
        let hlc = hlc.and_then(|hlc| u8::try_from(hlc).ok());
        hlc.map_or(self.watermark, |hlc| hlc.max(self.watermark))
    }

    /// What became of a writer's frame, if it landed.
    pub fn find(&self, writer: u8, pseq: u8) -> Option<Landed> {
        self.landed[usize::from(writer)][usize::from(pseq)]
    }

    /// Whether the row of a writer's frame is in the stream, by that frame or another.
    pub fn stores(&self, writer: u8, pseq: u8) -> bool {
        let landed = self.find(writer, pseq);
        landed.is_some_and(|landed| landed.outcome != Outcome::Rejected)
            && self.stored[usize::from(pseq)] > 0
    }

    /// Whether a writer's row had this outcome.
    pub fn has(&self, writer: u8, outcome: Outcome) -> bool {
        let mut frames = self.landed[usize::from(writer)].iter().skip(1).flatten();
        frames.any(|landed| landed.outcome == outcome)
    }
}

fn header(writer: u8, frame: Frame, anonymous: bool) -> FrameHeader {
    let kind = match frame.kind {
        Kind::Open => FrameKind::Open,
        Kind::Data => FrameKind::Data,
        Kind::Fence => FrameKind::Fence,
    };
    let hlc = Hlc(i64::from(frame.hlc));
    let mut header = FrameHeader::bare(kind, WriterId(writer.into()), frame.pseq.into(), hlc);
    if kind == FrameKind::Data {
        header.rows = 1;
        header.sources = vec![SourcePart {
            source: if anonymous { "" } else { "client" }.into(),
            sequence: frame.pseq.into(),
            ..SourcePart::anonymous(1)
        }];
    }
    header
}

fn outcome(verdict: &Verdict) -> Outcome {
    if verdict.is_rejected() {
        Outcome::Rejected
    } else if verdict.refused.is_empty() {
        Outcome::Accepted
    } else {
        Outcome::Duplicate
    }
}
