//! Growth: the cut, and what is remembered of requests cut by fewer partitions.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{Feed, RULES, W1, W2, data};
use super::*;
use crate::frame::SourcePart;
use crate::manifest::MachineState;

const HOUR: i64 = SOURCE_EXPIRY_NS;

fn part(source: &str, sequence: u64, part: u32, last: bool) -> SourcePart {
    SourcePart {
        source: source.into(),
        sequence,
        part,
        last,
        rows: 1,
    }
}

/// Sends frames with stamps and numbers of their own accord.
struct Grown {
    feed: Feed,
    now: i64,
    pseq: BTreeMap<WriterId, u64>,
    hlc: i64,
}

impl Grown {
    fn new() -> Self {
        let (feed, pseq) = (Feed::new(), BTreeMap::new());
        let (now, hlc) = (HOUR, 100);
        Self {
            feed,
            now,
            pseq,
            hlc,
        }
    }

    fn bare(&mut self, kind: FrameKind, writer: WriterId, cut: u32) -> Option<Reason> {
        self.hlc += 10;
        let pseq = self.pseq.entry(writer).or_insert(0);
        let frame = FrameHeader::bare(kind, writer, *pseq, Hlc(self.hlc)).cut_by(cut);
        *pseq += 1;
        self.feed.apply(&frame, self.now)
    }

    fn named(&mut self, writer: WriterId, cut: u32, part: SourcePart) -> Option<Reason> {
        self.hlc += 10;
        let pseq = self.pseq.entry(writer).or_insert(0);
        let mut frame = data(writer, *pseq, self.hlc, 1).cut_by(cut);
        frame.sources = vec![part];
        *pseq += 1;
        self.feed.apply(&frame, self.now)
    }

    fn cut(&self) -> u32 {
        self.feed.machine.cut()
    }

    fn landed(&self, cut: u32, source: &str, sequence: u64) -> Landed {
        let mut earlier = self.feed.machine.earlier();
        let sources = earlier.find_map(|(of, sources)| (of == cut).then_some(sources));
        sources.map_or(Landed::Nothing, |sources| {
            sources.landed(source, sequence, self.now)
        })
    }
}

#[test]
fn the_cut_is_the_lowest_of_the_open_writers_and_never_falls() {
    let mut grown = Grown::new();
    assert_eq!(grown.cut(), 0);
    grown.bare(FrameKind::Open, W1, 2);
    grown.bare(FrameKind::Open, W2, 2);
    assert_eq!(grown.cut(), 2);
    grown.bare(FrameKind::Beat, W1, 5);
    assert_eq!(grown.cut(), 2);
    // saying less than before takes nothing back
    grown.bare(FrameKind::Beat, W1, 2);
    grown.bare(FrameKind::Beat, W2, 3);
    assert_eq!(grown.cut(), 3);
    grown.bare(FrameKind::Close, W2, 3);
    assert_eq!(grown.cut(), 5);
    grown.bare(FrameKind::Close, W1, 5);
    assert_eq!(grown.cut(), 5);
}

#[test]
fn a_fence_lifts_the_barrier_that_a_dead_writer_left() {
    let mut grown = Grown::new();
    grown.bare(FrameKind::Open, W1, 2);
    grown.bare(FrameKind::Open, W2, 2);
    grown.bare(FrameKind::Beat, W1, 3);
    assert_eq!(grown.cut(), 2);
    grown.bare(FrameKind::Fence, W2, 0);
    assert_eq!(grown.cut(), 3);
}

#[test]
fn a_writer_that_cuts_by_less_is_not_let_in() {
    let mut grown = Grown::new();
    grown.bare(FrameKind::Open, W1, 5);
    assert_eq!(grown.bare(FrameKind::Open, W2, 4), Some(Reason::OtherCut));
    grown.pseq.clear();
    assert_eq!(grown.bare(FrameKind::Open, W2, 5), None);
    assert!(grown.feed.machine.is_open(W2));
}

#[test]
fn named_rows_of_another_cut_are_rejected_and_the_others_are_not() {
    let mut grown = Grown::new();
    grown.bare(FrameKind::Open, W1, 2);
    grown.bare(FrameKind::Open, W2, 2);
    grown.bare(FrameKind::Beat, W1, 3);
    let early = grown.named(W1, 3, part("a", 1, 0, true));
    assert_eq!(early, Some(Reason::OtherCut));
    grown.bare(FrameKind::Beat, W2, 3);
    let late = grown.named(W2, 2, part("a", 1, 0, true));
    assert_eq!(late, Some(Reason::OtherCut));
    let mut mixed = data(W1, 3, 1000, 3).cut_by(2);
    mixed.sources = vec![SourcePart::anonymous(2), part("a", 1, 0, true)];
    let verdict = grown
        .feed
        .machine
        .apply(Offset(99), grown.now, Some(&mixed));
    assert_eq!(verdict.accepted_rows(), 2);
    assert!(verdict.is_rejected());
    // the frames themselves counted
    grown.hlc = 2000;
    assert_eq!(
        grown.named(W1, 3, part("a", 1, 0, true)),
        Some(Reason::ProducerDuplicate)
    );
    assert_eq!(grown.named(W1, 3, part("a", 1, 0, true)), None);
}

#[test]
fn what_landed_under_an_earlier_cut_is_remembered_as_it_was() {
    let mut grown = Grown::new();
    grown.bare(FrameKind::Open, W1, 2);
    assert_eq!(grown.named(W1, 2, part("a", 7, 0, true)), None);
    assert_eq!(grown.named(W1, 2, part("a", 8, 0, false)), None);
    assert_eq!(grown.named(W1, 2, part("a", 8, 1, false)), None);
    assert_eq!(grown.landed(2, "a", 7), Landed::Nothing);
    grown.bare(FrameKind::Beat, W1, 5);
    let as_it_was = |grown: &Grown| {
        assert_eq!(grown.landed(2, "a", 7), Landed::Whole);
        assert_eq!(grown.landed(2, "a", 8), Landed::Parts(2));
        assert_eq!(grown.landed(2, "a", 9), Landed::Nothing);
        assert_eq!(grown.landed(2, "b", 7), Landed::Nothing);
    };
    as_it_was(&grown);
    // under the new cut the same names stand for other rows
    assert_eq!(grown.named(W1, 5, part("a", 7, 0, true)), None);
    assert_eq!(grown.named(W1, 5, part("a", 8, 0, true)), None);
    assert_eq!(
        grown.named(W1, 5, part("a", 8, 0, true)),
        Some(Reason::ClientDuplicate)
    );
    as_it_was(&grown);
    grown.bare(FrameKind::Beat, W1, 9);
    as_it_was(&grown);
    assert_eq!(grown.landed(5, "a", 8), Landed::Whole);
}

#[test]
fn sequences_forgotten_before_a_growth_stay_forgotten() {
    let mut grown = Grown::new();
    grown.bare(FrameKind::Open, W1, 2);
    assert_eq!(grown.named(W1, 2, part("a", 5000, 0, true)), None);
    grown.bare(FrameKind::Beat, W1, 3);
    grown.bare(FrameKind::Beat, W1, 4);
    assert_eq!(grown.landed(2, "a", 5000 - 1024), Landed::Forgotten);
    assert_eq!(grown.landed(2, "a", 5000 - 1023), Landed::Nothing);
    assert_eq!(
        grown.named(W1, 4, part("a", 5000 - 1024, 0, true)),
        Some(Reason::SequenceForgotten)
    );
    assert_eq!(grown.named(W1, 4, part("a", 5000 - 1023, 0, true)), None);
    assert_eq!(grown.named(W1, 4, part("b", 1, 0, true)), None);
}

#[test]
fn earlier_memory_expires_and_makes_room_like_any_other() {
    let mut grown = Grown::new();
    grown.bare(FrameKind::Open, W1, 2);
    assert_eq!(grown.named(W1, 2, part("old", 1, 0, true)), None);
    grown.now += HOUR / 2;
    assert_eq!(grown.named(W1, 2, part("new", 1, 0, true)), None);
    grown.bare(FrameKind::Beat, W1, 3);
    grown.now += HOUR / 2 + 1;
    // who asks late is told so before the machine itself has noticed
    assert_eq!(grown.landed(2, "old", 1), Landed::Nothing);
    assert_eq!(grown.named(W1, 3, part("x", 1, 0, true)), None);
    assert_eq!(grown.feed.machine.sources.earlier()[&2].len(), 1);
    assert_eq!(grown.landed(2, "new", 1), Landed::Whole);
    for i in 0..MAX_SOURCES {
        grown.now += 1;
        assert_eq!(grown.named(W1, 3, part(&format!("s{i}"), 1, 0, true)), None);
    }
    assert_eq!(grown.feed.machine.earlier().count(), 0);
}

#[test]
fn builds_that_say_no_cut_hold_nothing_up_and_count_as_cutting_alike() {
    let mut grown = Grown::new();
    grown.bare(FrameKind::Open, W1, 0);
    assert_eq!(grown.named(W1, 0, part("a", 1, 0, true)), None);
    grown.bare(FrameKind::Open, W2, 4);
    assert_eq!(grown.cut(), 4);
    assert_eq!(
        grown.named(W2, 4, part("a", 1, 0, true)),
        Some(Reason::ClientDuplicate)
    );
    assert_eq!(grown.named(W1, 0, part("a", 2, 0, true)), None);
    assert_eq!(
        grown.named(W2, 4, part("a", 2, 0, true)),
        Some(Reason::ClientDuplicate)
    );
    assert_eq!(grown.feed.machine.earlier().count(), 0);
}

#[test]
fn commits_that_know_no_cut_are_read_and_written_as_before() {
    let mut grown = Grown::new();
    grown.bare(FrameKind::Open, W1, 0);
    grown.named(W1, 0, part("a", 1, 0, true));
    let text = serde_json::to_string(&grown.feed.machine.state()).unwrap();
    for field in ["cut", "earlier", "floor"] {
        assert!(!text.contains(field), "{text}");
    }
    let state: MachineState = serde_json::from_str(&text).unwrap();
    let next = grown.feed.machine.next_offset();
    let restored = PartitionMachine::restore(RULES, &state, next);
    assert_eq!(restored, grown.feed.machine);
}

#[test]
fn the_whole_memory_survives_a_commit() {
    let mut grown = Grown::new();
    grown.bare(FrameKind::Open, W1, 2);
    for (cut, sequence) in [(2, 5000), (3, 5001), (5, 5002)] {
        grown.bare(FrameKind::Beat, W1, cut);
        assert_eq!(grown.named(W1, cut, part("a", sequence, 0, true)), None);
        assert_eq!(grown.named(W1, cut, part("b", sequence, 0, false)), None);
    }
    let text = serde_json::to_string(&grown.feed.machine.state()).unwrap();
    let state: MachineState = serde_json::from_str(&text).unwrap();
    assert_eq!(state.earlier.len(), 2);
    let next = grown.feed.machine.next_offset();
    let restored = PartitionMachine::restore(RULES, &state, next);
    assert_eq!(restored, grown.feed.machine);
}

prop_compose! {
    fn any_step()(
        writer in 0u32..3, kind in 0usize..12, cut in 1u32..5, sequence in 0u64..4,
    ) -> (WriterId, usize, u32, u64) {
        (WriterId(writer), kind, cut, sequence)
    }
}

proptest! {
    /// The dull twin remembers every request with the cut under which it was accepted. What is
    /// told of an earlier cut is that, and the first answer is the last.
    #[test]
    fn earlier_memory_is_what_was_accepted_under_its_cut(
        steps in proptest::collection::vec(any_step(), 1..150)
    ) {
        let mut grown = Grown::new();
        let (mut accepted, mut open) = (BTreeSet::new(), BTreeMap::<WriterId, u32>::new());
        let mut cut = 0;
        for (writer, kind, said, sequence) in steps {
            match kind {
                0..3 => {
                    if !open.contains_key(&writer) {
                        grown.pseq.remove(&writer);
                    }
                    let refused = grown.bare(FrameKind::Open, writer, said);
                    if refused.is_none() {
                        prop_assert!(said >= cut);
                        open.insert(writer, said);
                    } else if open.contains_key(&writer) {
                        *grown.pseq.get_mut(&writer).unwrap() -= 1;
                    }
                }
                3 => {
                    grown.bare(FrameKind::Fence, writer, 0);
                    open.remove(&writer);
                }
                4..6 => {
                    let refused = grown.bare(FrameKind::Beat, writer, said);
                    prop_assert_eq!(refused.is_none(), open.contains_key(&writer));
                    open.entry(writer).and_modify(|cut| *cut = said.max(*cut));
                }
                _ => {
                    if let Some(own) = open.get_mut(&writer) {
                        *own = said.max(*own);
                        let lowest = open.values().copied().min().unwrap_or(0);
                        cut = cut.max(lowest);
                        let refused = grown.named(writer, said, part("a", sequence, 0, true));
                        let fresh = said == cut && accepted.insert((cut, sequence));
                        prop_assert_eq!(refused.is_none(), fresh);
                    }
                }
            }
            cut = cut.max(open.values().copied().min().unwrap_or(0));
            prop_assert_eq!(grown.cut(), cut);
            for earlier in 1..cut {
                for sequence in 0..4 {
                    let whole = accepted.contains(&(earlier, sequence));
                    let wanted = if whole { Landed::Whole } else { Landed::Nothing };
                    prop_assert_eq!(grown.landed(earlier, "a", sequence), wanted);
                }
            }
        }
    }
}
