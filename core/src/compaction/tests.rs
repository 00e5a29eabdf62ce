use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::ids::WriterId;
use crate::manifest::MachineState;

const P: PartitionId = PartitionId(2);
const WINDOW: i64 = 10;
const SPAN: i64 = 60;

fn planner() -> CompactionPlanner {
    CompactionPlanner::new(StreamName::new("ticks").unwrap(), P, WINDOW, SPAN)
}

fn key(hlc: i64) -> Key {
    Key {
        hlc: Hlc(hlc),
        writer: WriterId(1),
    }
}

fn segment(first: i64, last: i64, rows: u64, schema_version: u32) -> SegmentMeta {
    SegmentMeta {
        name: format!("data/p2-{first}"),
        rows,
        rows_root: Digest::of(&first.to_le_bytes()),
        file_hash: Digest::ZERO,
        pieces: Vec::new(),
        bytes: rows,
        first_key: key(first),
        last_key: key(last),
        offsets: (Offset(0), Offset(1)),
        event_time: None,
        schema_version,
    }
}

fn tip(next_seq: u64) -> ChainTip {
    let hash = Digest::of(&next_seq.to_le_bytes());
    ChainTip {
        next_seq,
        hash,
        root: hash,
    }
}

fn commit(seq: u64, watermark: i64, segments: Vec<SegmentMeta>) -> CommitBody {
    let rejects = Some(RejectsMeta {
        name: format!("rejects/p2/{seq}"),
        frames: 1,
        file_hash: Digest::ZERO,
    });
    CommitBody {
        stream: "ticks".into(),
        partition: P,
        seq,
        sealed_key: segments.last().map(|segment| segment.last_key),
        segments,
        sealed_rows: 0,
        next_offset: Offset(seq * 10),
        scan_from: Offset(seq * 10),
        skips: vec![],
        state: MachineState {
            watermark: Hlc(watermark),
            ..MachineState::default()
        },
        rejects,
    }
}

fn feed(planner: &mut CompactionPlanner, commit: &CommitBody) -> Vec<CompactionPlan> {
    planner.take(commit, tip(commit.seq), tip(commit.seq + 1))
}

fn firsts(plan: &CompactionPlan) -> Vec<Vec<i64>> {
    let first = |segment: &SegmentMeta| segment.first_key.hlc.0;
    let group = |group: &Vec<SegmentMeta>| group.iter().map(first).collect();
    plan.groups.iter().map(group).collect()
}

#[test]
fn a_span_closes_a_sixth_after_its_end() {
    let mut planner = planner();
    let at = |seq, watermark, first| commit(seq, watermark, vec![segment(first, first + 5, 3, 1)]);
    assert!(feed(&mut planner, &at(0, 10, 0)).is_empty());
    assert!(feed(&mut planner, &at(1, 60, 50)).is_empty());
    assert!(feed(&mut planner, &at(2, 69, 60)).is_empty());
    let due = feed(&mut planner, &commit(3, 70, vec![]));
    assert_eq!(due.len(), 1);
    assert_eq!(firsts(&due[0]), [[0, 50]]);
    let body = &due[0].body;
    assert_eq!((body.seq, body.span), (0, (Hlc(0), Hlc(60))));
    assert_eq!((body.segments, body.rows, body.last_key), (2, 6, key(55)));
    assert_eq!((body.through, body.scan_from), (tip(4), tip(2)));
    assert_eq!(body.rejects.len(), 4);
}

#[test]
fn one_commit_may_close_several_spans_and_empty_ones_are_passed_over() {
    let mut planner = planner();
    let late = commit(
        0,
        500,
        vec![
            segment(5, 9, 1, 1),
            segment(65, 69, 1, 1),
            segment(400, 401, 1, 1),
        ],
    );
    let due = feed(&mut planner, &late);
    let spans: Vec<_> = due.iter().map(|plan| plan.body.span.0.0).collect();
    assert_eq!(spans, [0, 60, 360]);
    assert_eq!(due[0].body.scan_from, tip(0));
    assert_eq!(due[2].body.scan_from, tip(0));
    assert_eq!(due[2].body.segments, 3);
}

#[test]
fn files_end_at_their_most_rows_and_at_a_new_schema() {
    let half = MAX_FILE_ROWS / 2;
    let segments = vec![
        segment(0, 1, half, 1),
        segment(2, 3, half, 1),
        segment(4, 5, 1, 1),
        segment(6, 7, 1, 2),
        segment(8, 9, MAX_FILE_ROWS + 1, 2),
        segment(10, 11, 1, 2),
    ];
    let due = feed(&mut planner(), &commit(0, 70, segments));
    assert_eq!(
        firsts(&due[0]),
        [vec![0, 2], vec![4], vec![6], vec![8], vec![10]]
    );
}

proptest! {
    /// A planner that stops after any compaction and goes on from what that says plans the same.
    #[test]
    fn restarts_change_nothing(
        lengths in proptest::collection::vec((1i64..40, 0usize..4), 1..60),
        stops in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let (mut at, mut commits) = (0, Vec::new());
        for (seq, (step, count)) in (0..).zip(&lengths) {
            let mut segments = Vec::new();
            for _ in 0..*count {
                segments.push(segment(at, at + step / 2, 1, 1));
                at += step;
            }
            commits.push(commit(seq, at - 1, segments));
        }
        let mut whole = planner();
        let expected: Vec<_> = commits.iter().flat_map(|c| feed(&mut whole, c)).collect();
        let (mut found, mut planner, mut next) = (Vec::new(), planner(), 0);
        while next < commits.len() {
            let due = feed(&mut planner, &commits[next]);
            next += 1;
            for plan in due {
                let stop = stops[found.len() % stops.len()];
                found.push(plan.clone());
                if stop {
                    let name = StreamName::new("ticks").unwrap();
                    planner = CompactionPlanner::resume(name, WINDOW, SPAN, &plan.body);
                    next = usize::try_from(plan.body.scan_from.next_seq).unwrap();
                    break;
                }
            }
        }
        prop_assert_eq!(found, expected);
    }

    /// Every segment is in one compaction, in order, until the newest that is still open.
    #[test]
    fn every_segment_is_covered_once(lengths in proptest::collection::vec(1i64..40, 1..80)) {
        let (mut at, mut planner, mut covered) = (0, planner(), Vec::new());
        for (seq, step) in (0..).zip(&lengths) {
            let one = commit(seq, at, vec![segment(at, at + step - 1, 1, 1)]);
            at += step;
            covered.extend(feed(&mut planner, &one).iter().flat_map(firsts).flatten());
        }
        let starts = lengths.iter().scan(0, |at, step| {
            *at += step;
            Some(*at - step)
        });
        let all: Vec<i64> = starts.collect();
        prop_assert_eq!(&all[..covered.len()], &covered[..]);
        prop_assert!(all[covered.len()..].iter().all(|first| first + 2 * SPAN > at - SPAN));
    }
}
