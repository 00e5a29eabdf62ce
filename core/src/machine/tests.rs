use proptest::prelude::*;

use super::*;
use crate::frame::SourcePart;

pub(super) const RULES: MachineRules = MachineRules {
    max_drift_ns: Some(500),
};
pub(super) const W1: WriterId = WriterId(1);
pub(super) const W2: WriterId = WriterId(2);

pub(super) struct Feed {
    pub(super) machine: PartitionMachine,
    at: u64,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self {
            machine: PartitionMachine::new(RULES),
            at: 0,
        }
    }

    fn send(&mut self, kind: FrameKind, writer: WriterId, pseq: u64, hlc: i64) -> Option<Reason> {
        self.apply(
            &FrameHeader::bare(kind, writer, pseq, Hlc(hlc)),
            i64::MAX / 2,
        )
    }

    pub(super) fn apply(&mut self, frame: &FrameHeader, append_time: i64) -> Option<Reason> {
        self.at += 1;
        let verdict = self
            .machine
            .apply(Offset(self.at - 1), append_time, Some(frame));
        verdict.refused.first().map(|refusal| refusal.reason)
    }

    fn watermark(&self) -> i64 {
        self.machine.watermark().0
    }
}

pub(super) fn data(writer: WriterId, pseq: u64, first: i64, rows: u32) -> FrameHeader {
    let mut frame = FrameHeader::bare(FrameKind::Data, writer, pseq, Hlc(first));
    frame.rows = rows;
    frame.hlc_last = Hlc(first + i64::from(rows) - 1);
    frame
}

#[test]
fn a_partition_begins_at_the_first_opener_unless_its_clock_is_absurd() {
    let mut feed = Feed::new();
    let open = |writer, hlc| FrameHeader::bare(FrameKind::Open, writer, 0, Hlc(hlc));
    feed.apply(&open(W1, 2000), 1000);
    assert_eq!(feed.watermark(), 0);
    feed.apply(&FrameHeader::bare(FrameKind::Fence, W1, 0, Hlc(0)), 1000);
    feed.apply(&open(W2, 1400), 1000);
    assert_eq!(feed.watermark(), 1400);
    let below = FrameHeader::bare(FrameKind::Beat, W2, 1, Hlc(1400));
    assert_eq!(feed.apply(&below, 1000), Some(Reason::NotAboveClosed));
}

#[test]
fn an_opener_never_overtakes_a_member_whose_clock_said_nothing_yet() {
    let mut feed = Feed::new();
    let open = |writer, hlc| FrameHeader::bare(FrameKind::Open, writer, 0, Hlc(hlc));
    feed.apply(&open(W1, 0), 1000);
    feed.apply(&open(W2, 800), 1000);
    assert_eq!(feed.watermark(), 0);
    let below = FrameHeader::bare(FrameKind::Beat, W1, 1, Hlc(300));
    assert_eq!(feed.apply(&below, 1000), None);
}

#[test]
fn watermark_is_the_lowest_of_the_open_writers_and_never_falls() {
    let mut feed = Feed::new();
    feed.send(FrameKind::Open, W1, 0, 10);
    assert_eq!(feed.watermark(), 10);
    feed.send(FrameKind::Beat, W1, 1, 100);
    assert_eq!(feed.watermark(), 100);
    feed.send(FrameKind::Open, W2, 0, 50);
    feed.send(FrameKind::Beat, W1, 2, 200);
    assert_eq!(feed.watermark(), 100);
    feed.send(FrameKind::Beat, W2, 1, 150);
    assert_eq!(feed.watermark(), 150);
    feed.send(FrameKind::Close, W2, 2, 160);
    assert_eq!(feed.watermark(), 200);
    feed.send(FrameKind::Close, W1, 3, 300);
    assert_eq!(feed.watermark(), 300);
    assert_eq!(feed.machine.members().count(), 0);
}

#[test]
fn broken_protocol_is_refused_with_its_reason() {
    let mut feed = Feed::new();
    assert_eq!(
        feed.send(FrameKind::Beat, W1, 1, 10),
        Some(Reason::WriterNotOpen)
    );
    assert_eq!(
        feed.send(FrameKind::Open, W1, 1, 10),
        Some(Reason::FrameMissing)
    );
    assert_eq!(feed.send(FrameKind::Open, W1, 0, 10), None);
    assert_eq!(
        feed.send(FrameKind::Open, W1, 0, 10),
        Some(Reason::ProducerDuplicate)
    );
    assert_eq!(feed.send(FrameKind::Beat, W1, 1, 20), None);
    assert_eq!(
        feed.send(FrameKind::Beat, W1, 1, 30),
        Some(Reason::ProducerDuplicate)
    );
    assert_eq!(
        feed.send(FrameKind::Beat, W1, 3, 30),
        Some(Reason::FrameMissing)
    );
    assert_eq!(
        feed.send(FrameKind::Beat, W1, 2, 20),
        Some(Reason::NotAboveClosed)
    );
    assert_eq!(
        feed.apply(&data(W1, 2, 1000, 2), 500),
        Some(Reason::AheadOfAppendTime)
    );
    assert_eq!(feed.apply(&data(W1, 2, 999, 2), 500), None);
}

#[test]
fn fenced_writers_never_come_back() {
    let mut feed = Feed::new();
    feed.send(FrameKind::Open, W1, 0, 10);
    assert_eq!(feed.send(FrameKind::Fence, W1, 0, 11), None);
    assert_eq!(
        feed.send(FrameKind::Beat, W1, 1, 20),
        Some(Reason::WriterNotOpen)
    );
    assert_eq!(
        feed.send(FrameKind::Open, W1, 0, 20),
        Some(Reason::WriterDeparted)
    );
}

#[test]
fn departed_writers_stay_out_when_their_list_is_full() {
    let mut feed = Feed::new();
    for id in 0..=u32::try_from(MAX_DEPARTED).unwrap() {
        feed.send(FrameKind::Fence, WriterId(id), 0, 1);
    }
    assert_eq!(feed.machine.departed.len(), MAX_DEPARTED);
    assert_eq!(
        feed.send(FrameKind::Open, WriterId(0), 0, 2),
        Some(Reason::WriterDeparted)
    );
}

#[test]
fn repeated_requests_are_dropped_row_by_row_and_counted() {
    let mut feed = Feed::new();
    feed.send(FrameKind::Open, W1, 0, 10);
    let named = |rows| SourcePart {
        source: "a".into(),
        sequence: 1,
        part: 0,
        last: true,
        rows,
    };
    let mut frame = data(W1, 1, 100, 5);
    frame.sources = vec![named(2), SourcePart::anonymous(1), named(2)];
    let verdict = feed.machine.apply(Offset(1), 0, Some(&frame));
    assert_eq!(verdict.accepted.as_slice(), std::slice::from_ref(&(0..3)));
    assert_eq!(
        verdict.refused,
        [Refusal {
            rows: 3..5,
            reason: Reason::ClientDuplicate
        }]
    );
    assert!(!verdict.is_rejected());
    let counts = feed.machine.counts();
    assert_eq!(
        (counts.accepted, counts.duplicate, counts.rejected),
        (3, 2, 0)
    );
}

prop_compose! {
    fn any_frame()(
        kind in 0usize..5, writer in 0u32..4, pseq in 0u64..6, hlc in 0i64..400,
        rows in 1u32..5, named in any::<bool>(), sequence in 0u64..5, append in 0i64..1000,
        cut in 0u32..4,
    ) -> (FrameHeader, i64) {
        let kinds =
            [FrameKind::Open, FrameKind::Data, FrameKind::Beat, FrameKind::Close, FrameKind::Fence];
        let mut frame = FrameHeader::bare(kinds[kind], WriterId(writer), pseq, Hlc(hlc));
        if kinds[kind] == FrameKind::Data {
            frame = data(WriterId(writer), pseq, hlc, rows);
            if named {
                frame.sources =
                    vec![SourcePart { source: "a".into(), sequence, part: 0, last: true, rows }];
            }
        }
        (frame.cut_by(cut), append)
    }
}

proptest! {
    /// INV-PURE and INV-FINAL: restoring at any point changes nothing, and whatever is accepted
    /// lies above the watermark before it.
    #[test]
    fn restored_machine_goes_on_alike(
        frames in proptest::collection::vec(any_frame(), 1..120), cut in 0usize..120
    ) {
        let mut machine = PartitionMachine::new(RULES);
        let mut restored: Option<PartitionMachine> = None;
        for (i, (frame, append)) in frames.iter().enumerate() {
            if i == cut {
                let state = machine.state();
                let next = machine.next_offset();
                restored = Some(PartitionMachine::restore(RULES, &state, next));
            }
            let (before, offset) = (machine.watermark(), Offset(i as u64));
            let verdict = machine.apply(offset, *append, Some(frame));
            prop_assert!(verdict.accepted.is_empty() || frame.hlc_first > before);
            prop_assert!(machine.watermark() >= before);
            let judged = verdict.accepted_rows() + verdict.rows_refused(|_| true);
            prop_assert_eq!(judged, u64::from(frame.rows));
            if let Some(restored) = &mut restored {
                prop_assert_eq!(restored.apply(offset, *append, Some(frame)), verdict);
                prop_assert_eq!(&*restored, &machine);
            }
        }
    }
}
