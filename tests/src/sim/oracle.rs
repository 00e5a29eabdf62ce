//! PROTOCOL.md, 6, read literally and without memory limits: the dull twin of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::WriterId;

/// The state of a partition, the dull way.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    max_drift_ns: Option<i64>,
    /// Closed stamp, next number and cut of each open writer.
    open: BTreeMap<WriterId, (Hlc, u64, u32)>,
    gone: BTreeSet<WriterId>,
    /// Requests by the cut that they were cut by.
    seen: BTreeSet<(u32, String, u64, u32)>,
    cut: u32,
    pub(crate) watermark: Hlc,
}

impl Oracle {
    pub(crate) fn new(max_drift_ns: Option<i64>) -> Self {
        Self {
            max_drift_ns,
            watermark: Hlc::MIN,
            ..Self::default()
        }
    }

    /// Row ranges of a frame that count.
    pub(crate) fn take(&mut self, append_ns: i64, frame: &FrameHeader) -> Vec<Range<u32>> {
        let accepted = self.accept(append_ns, frame);
        self.advance();
        accepted
    }

    fn advance(&mut self) {
        if let Some(lowest) = self.open.values().map(|(closed, ..)| *closed).min() {
            self.watermark = self.watermark.max(lowest);
        }
        let cuts = self.open.values().map(|(.., cut)| *cut);
        let Some(lowest) = cuts.filter(|cut| *cut > 0).min() else {
            return;
        };
        if self.cut == 0 {
            // what nobody told the cut of counts as cut alike
            let seen = std::mem::take(&mut self.seen).into_iter();
            self.seen = seen.map(|(_, a, b, c)| (lowest, a, b, c)).collect();
        }
        self.cut = self.cut.max(lowest);
    }

    fn accept(&mut self, append_ns: i64, frame: &FrameHeader) -> Vec<Range<u32>> {
        match frame.kind {
            FrameKind::Open => {
                let fresh = !self.open.contains_key(&frame.writer);
                let begins = self.open.is_empty() && self.watermark == Hlc::MIN;
                let early = frame.cut > 0 && frame.cut < self.cut;
                if fresh && !self.gone.contains(&frame.writer) && frame.pseq == 0 && !early {
                    if begins && !self.is_ahead(append_ns, frame) {
                        self.watermark = frame.hlc_first;
                    }
                    self.open
                        .insert(frame.writer, (self.watermark, 1, frame.cut));
                }
                return Vec::new();
            }
            FrameKind::Fence => {
                self.leave(frame.writer);
                return Vec::new();
            }
            FrameKind::Data | FrameKind::Beat | FrameKind::Close => {}
        }
        let Some((closed, next, cut)) = self.open.get(&frame.writer).copied() else {
            return Vec::new();
        };
        let ahead = self.is_ahead(append_ns, frame);
        if frame.pseq != next || frame.hlc_first <= closed || ahead {
            return Vec::new();
        }
        let cut = cut.max(frame.cut);
        self.open
            .insert(frame.writer, (frame.hlc_last, next + 1, cut));
        self.advance();
        if frame.kind == FrameKind::Close {
            // its last word counted before it leaves
            self.leave(frame.writer);
        }
        self.rows(frame)
    }

    fn is_ahead(&self, append_ns: i64, frame: &FrameHeader) -> bool {
        let limit = self
            .max_drift_ns
            .map(|drift| append_ns.saturating_add(drift));
        limit.is_some_and(|limit| frame.hlc_last.0 > limit)
    }

    fn leave(&mut self, writer: WriterId) {
        self.open.remove(&writer);
        self.gone.insert(writer);
    }

    fn rows(&mut self, frame: &FrameHeader) -> Vec<Range<u32>> {
        if frame.sources.is_empty() {
            return std::iter::once(0..frame.rows).collect();
        }
        let (mut accepted, mut from) = (Vec::new(), 0);
        for part in &frame.sources {
            let rows = from..from + part.rows;
            from = rows.end;
            let name = part.source.to_string();
            let other = frame.cut > 0 && frame.cut != self.cut;
            let request = (self.cut, name, part.sequence, part.part);
            if part.source.is_empty() || (!other && self.seen.insert(request)) {
                accepted.push(rows);
            }
        }
        accepted
    }
}
