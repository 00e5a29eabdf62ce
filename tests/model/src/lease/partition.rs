//! The partition's log, judged by the real machine.

use std::hash::{Hash, Hasher};

use tourbillon_core::frame::{FrameHeader, FrameKind, SourcePart};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, WriterId};
use tourbillon_core::machine::{MachineRules, PartitionMachine, Verdict};

use super::WRITERS;

/// Stamps of a tick.
pub const STAMPS: u8 = 4;

/// How far a stamp may lie above the append time.
pub const MAX_DRIFT: u8 = 4;

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

/// A record of the log, with what every reader of it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Whose it is.
    pub writer: u8,
    /// The frame.
    pub frame: Frame,
    /// When it was appended, in stamps.
    pub appended: u8,
    /// What became of it.
    pub outcome: Outcome,
    /// Watermark that readers know before it and after it.
    pub watermark: (u8, u8),
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

/// The log and the machine at its end.
#[derive(Clone, Debug)]
pub struct Partition {
    /// The records.
    pub entries: Vec<Entry>,
    machine: PartitionMachine,
}

impl Default for Partition {
    fn default() -> Self {
        let max_drift_ns = Some(i64::from(MAX_DRIFT));
        Self {
            entries: Vec::new(),
            machine: PartitionMachine::new(MachineRules { max_drift_ns }),
        }
    }
}

// the machine follows from the records
impl PartialEq for Partition {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for Partition {}

impl Hash for Partition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entries.hash(state);
    }
}

impl Partition {
    /// Appends a frame.
    pub fn append(&mut self, writer: u8, frame: Frame, appended: u8, reading: Reading) {
        let before = self.watermark();
        let header = header(writer, frame, reading.anonymous);
        let offset = Offset(self.entries.len() as u64);
        let unread = reading.fence_is_advice && frame.kind == Kind::Fence;
        let verdict = if unread {
            Verdict::default()
        } else {
            self.machine
                .apply(offset, i64::from(appended), Some(&header))
        };
        self.entries.push(Entry {
            writer,
            frame,
            appended,
            outcome: outcome(&verdict),
            watermark: (before, before),
        });
        let published = self.published(before, reading);
        if let Some(entry) = self.entries.last_mut() {
            entry.watermark.1 = published;
        }
    }

    /// The watermark that readers know.
    pub fn watermark(&self) -> u8 {
        self.entries.last().map_or(0, |entry| entry.watermark.1)
    }

    fn published(&self, before: u8, reading: Reading) -> u8 {
        let closed = self.machine.members().filter_map(|(writer, closed)| {
            let gone = reading.fence_is_advice && self.is_fenced(writer);
            (!gone).then_some(closed.0)
        });
        let closed = if reading.by_max {
            closed.max()
        } else if reading.fence_is_advice {
            closed.min()
        } else {
            Some(self.machine.watermark().0)
        };
        let closed = closed.and_then(|hlc| u8::try_from(hlc).ok());
        closed.unwrap_or(0).max(before)
    }

    fn is_fenced(&self, writer: WriterId) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|e| e.frame.kind == Kind::Fence && u32::from(e.writer) == writer.0)
    }

    /// The record of a writer's frame: the first, if it landed twice.
    pub fn find(&self, writer: u8, pseq: u8) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|e| e.frame.kind != Kind::Fence && e.writer == writer && e.frame.pseq == pseq)
    }

    /// Whether the row of a writer's frame is in the stream, by that frame or another.
    pub fn stored(&self, writer: u8, pseq: u8) -> bool {
        self.find(writer, pseq)
            .is_some_and(|e| e.outcome != Outcome::Rejected)
            && self.accepted(pseq).next().is_some()
    }

    /// Frames that brought a request in.
    fn accepted(&self, request: u8) -> impl Iterator<Item = &Entry> {
        self.rows()
            .filter(move |e| e.frame.pseq == request && e.outcome == Outcome::Accepted)
    }

    fn rows(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| e.frame.kind == Kind::Data)
    }

    /// INV-ONCE.
    pub fn stores_nothing_twice(&self) -> bool {
        self.rows()
            .all(|entry| self.accepted(entry.frame.pseq).count() <= 1)
    }

    /// INV-FINAL: the watermark never goes back, and what counts lies above what was published.
    pub fn is_final(&self) -> bool {
        self.entries.iter().all(|entry| {
            let (before, after) = entry.watermark;
            let counts = entry.frame.kind == Kind::Data && entry.outcome == Outcome::Accepted;
            before <= after && !(counts && entry.frame.hlc <= before)
        })
    }

    /// INV-REJECT.
    pub fn counts_every_row(&self) -> bool {
        let counts = self.machine.counts();
        counts.accepted + counts.duplicate + counts.rejected == self.rows().count() as u64
    }

    /// Whether a row had this outcome.
    pub fn has(&self, outcome: Outcome) -> bool {
        self.rows().any(|entry| entry.outcome == outcome)
    }

    /// Whether a frame of this kind raised the watermark.
    pub fn moved_on_by(&self, kind: Kind) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|e| e.frame.kind == kind && e.watermark.0 < e.watermark.1)
    }
}

fn header(writer: u8, frame: Frame, anonymous: bool) -> FrameHeader {
    debug_assert!(usize::from(writer) < WRITERS, "writers are numbered from 0");
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
