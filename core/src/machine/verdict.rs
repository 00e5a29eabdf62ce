//! What became of a frame's rows.

use std::ops::Range;

/// Why rows do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The producer delivered this frame twice.
    ProducerDuplicate,
    /// The client sent this request before.
    ClientDuplicate,
    /// The record is not a frame that this build can read.
    Malformed,
    /// The writer has not opened this partition, or was fenced.
    WriterNotOpen,
    /// The writer left this partition and cannot open it again.
    WriterDeparted,
    /// A frame of this writer is missing before this one.
    FrameMissing,
    /// Its stamps do not lie above the writer's frame before.
    NotAboveClosed,
    /// Its stamps lie further above the append time than clocks may differ.
    AheadOfAppendTime,
    /// The client's sequence is so old that it is no longer known whether it was sent before.
    SequenceForgotten,
    /// An earlier part of the client's request is missing.
    PartMissing,
    /// The writer opens for, or the client's request was cut by, another number of partitions
    /// than requests are cut by here.
    OtherCut,
}

impl Reason {
    const ALL: [Self; 11] = [
        Self::ProducerDuplicate,
        Self::ClientDuplicate,
        Self::Malformed,
        Self::WriterNotOpen,
        Self::WriterDeparted,
        Self::FrameMissing,
        Self::NotAboveClosed,
        Self::AheadOfAppendTime,
        Self::SequenceForgotten,
        Self::PartMissing,
        Self::OtherCut,
    ];

    /// Whether the same rows are already part of the stream.
    pub fn is_duplicate(self) -> bool {
        matches!(self, Self::ProducerDuplicate | Self::ClientDuplicate)
    }

    /// Name in sidecars, metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProducerDuplicate => "producer_duplicate",
            Self::ClientDuplicate => "client_duplicate",
            Self::Malformed => "malformed",
            Self::WriterNotOpen => "writer_not_open",
            Self::WriterDeparted => "writer_departed",
            Self::FrameMissing => "frame_missing",
            Self::NotAboveClosed => "not_above_closed",
            Self::AheadOfAppendTime => "ahead_of_append_time",
            Self::SequenceForgotten => "sequence_forgotten",
            Self::PartMissing => "part_missing",
            Self::OtherCut => "other_cut",
        }
    }

    /// The reason of a name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// Rows that do not count, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Rows of the frame, `[start, end)`. Empty for frames without rows.
    pub rows: Range<u32>,
    /// Why.
    pub reason: Reason,
}

/// What became of one frame. Every row is in exactly one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that are now part of the stream, ascending and not touching.
    pub accepted: Vec<Range<u32>>,
    /// The others, ascending.
    pub refused: Vec<Refusal>,
}

impl Verdict {
    pub(super) fn accept(rows: u32) -> Self {
        let mut verdict = Self::default();
        verdict.push_accepted(0..rows);
        verdict
    }

    pub(super) fn refuse(rows: u32, reason: Reason) -> Self {
        Self {
            accepted: Vec::new(),
            refused: vec![Refusal {
                rows: 0..rows,
                reason,
            }],
        }
    }

    pub(super) fn push_accepted(&mut self, rows: Range<u32>) {
        match self.accepted.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ if rows.is_empty() => {}
            _ => self.accepted.push(rows),
        }
    }

    pub(super) fn push_refused(&mut self, rows: Range<u32>, reason: Reason) {
        match self.refused.last_mut() {
            Some(last) if last.rows.end == rows.start && last.reason == reason => {
                last.rows.end = rows.end;
            }
            _ => self.refused.push(Refusal { rows, reason }),
        }
    }

    /// Number of rows that count.
    pub fn accepted_rows(&self) -> u64 {
        self.accepted.iter().map(|rows| rows.len() as u64).sum()
    }

    /// Number of rows refused for reasons that `which` holds for.
    pub fn rows_refused(&self, which: impl Fn(Reason) -> bool) -> u64 {
        let matching = self.refused.iter().filter(|refusal| which(refusal.reason));
        matching.map(|refusal| refusal.rows.len() as u64).sum()
    }

    /// Whether something was refused that is not merely a repeat: it goes to the sidecar.
    pub fn is_rejected(&self) -> bool {
        self.refused
            .iter()
            .any(|refusal| !refusal.reason.is_duplicate())
    }
}
