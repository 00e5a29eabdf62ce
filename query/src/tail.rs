//! Rows that are in no committed segment yet: one queue per writer, each in key order.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::ids::{Offset, WriterId};
use tourbillon_core::open_rows::{RowRun, offsets, stamps, writers};

use crate::order::pieces::Extent;

/// Rows of one writer, ascending, in the runs in which they came.
pub(crate) type Queue = VecDeque<RowRun>;

/// The queues of a partition.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    queues: BTreeMap<WriterId, Queue>,
    rows: u64,
}

impl Tail {
    /// Adds rows of one writer, above all that it sent before. Empty runs are dropped.
    pub(crate) fn push(&mut self, run: RowRun) {
        let Some(writer) = writers(&run.rows).first() else {
            return;
        };
        self.rows += run.rows.num_rows() as u64;
        let queue = self.queues.entry(WriterId(*writer)).or_default();
        queue.push_back(run);
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The runs that reach into `window` from frames below `before`, per writer, cut to it, without
    /// copying rows. Costs a few
    /// binary searches per writer, and as much as the window holds.
    pub(crate) fn within(&self, window: &Range<Hlc>, before: Offset) -> Vec<Queue> {
        let queues = self.queues.values().map(|queue| {
            let mut queue = cut(queue, window);
            // a run is from one frame, and a writer's frames follow one another in the log
            queue.truncate(queue.partition_point(|run| lies_below(run, before)));
            queue
        });
        queues.filter(|queue| !queue.is_empty()).collect()
    }

    /// Forgets the rows at or below `bound`.
    pub(crate) fn drop_through(&mut self, bound: Key) {
        for queue in self.queues.values_mut() {
            while let Some(run) = queue.front_mut() {
                let (gone, all) = (run.rows_through(bound), run.rows.num_rows());
                self.rows -= gone as u64;
                if gone == all {
                    queue.pop_front();
                    continue;
                }
                if gone > 0 {
                    run.rows = run.rows.slice(gone, all - gone);
                }
                break;
            }
        }
        self.queues.retain(|_, queue| !queue.is_empty());
    }
}

fn lies_below(run: &RowRun, before: Offset) -> bool {
    let first = offsets(&run.rows).first();
    first.is_none_or(|offset| *offset < before.0)
}

/// The part of a queue that lies in `window`.
pub(crate) fn cut(queue: &Queue, window: &Range<Hlc>) -> Queue {
    let ends =
        |run: &RowRun, before: Hlc| stamps(&run.rows).last().is_none_or(|hlc| *hlc < before.0);
    let begins =
        |run: &RowRun, before: Hlc| stamps(&run.rows).first().is_none_or(|hlc| *hlc < before.0);
    let from = queue.partition_point(|run| ends(run, window.start));
    let to = queue.partition_point(|run| begins(run, window.end));
    let whole = queue.range(from..to.max(from));
    let cut = whole.map(|run| {
        let hlcs = stamps(&run.rows);
        let first = hlcs.partition_point(|hlc| *hlc < window.start.0);
        let after = hlcs.partition_point(|hlc| *hlc < window.end.0);
        RowRun {
            schema_version: run.schema_version,
            rows: run.rows.slice(first, after.saturating_sub(first)),
        }
    });
    cut.collect()
}

/// How many rows a queue has between which stamps.
pub(crate) fn extent(queue: &Queue) -> Option<Extent> {
    Some(Extent {
        first: *stamps(&queue.front()?.rows).first()?,
        last: *stamps(&queue.back()?.rows).last()?,
        rows: queue.iter().map(|run| run.rows.num_rows() as u64).sum(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray, UInt32Array, UInt64Array};

    use super::*;

    fn run(writer: u32, hlcs: &[i64]) -> RowRun {
        let offset = hlcs.first().map_or(0, |hlc| hlc.unsigned_abs());
        let columns: [(&str, ArrayRef); 3] = [
            (
                "hlc",
                Arc::new(TimestampNanosecondArray::from(hlcs.to_vec())),
            ),
            (
                "writer",
                Arc::new(UInt32Array::from_value(writer, hlcs.len())),
            ),
            (
                "log_offset",
                Arc::new(UInt64Array::from_value(offset, hlcs.len())),
            ),
        ];
        RowRun {
            schema_version: 1,
            rows: RecordBatch::try_from_iter(columns).unwrap(),
        }
    }

    fn tail() -> Tail {
        let mut tail = Tail::default();
        let runs = [
            (1, vec![10, 20]),
            (2, vec![15]),
            (1, vec![30]),
            (1, vec![40, 50, 60]),
            (3, vec![]),
        ];
        runs.iter()
            .for_each(|(writer, hlcs)| tail.push(run(*writer, hlcs)));
        tail
    }

    fn held(tail: &Tail, from: i64, to: i64) -> Vec<Vec<i64>> {
        held_before(tail, from, to, u64::MAX)
    }

    fn held_before(tail: &Tail, from: i64, to: i64, before: u64) -> Vec<Vec<i64>> {
        let hlcs = |queue: &Queue| {
            queue
                .iter()
                .flat_map(|r| stamps(&r.rows).to_vec())
                .collect()
        };
        tail.within(&(Hlc(from)..Hlc(to)), Offset(before))
            .iter()
            .map(hlcs)
            .collect()
    }

    #[test]
    fn windows_hold_exactly_their_rows() {
        let tail = tail();
        let all = [10, 15, 20, 30, 40, 50, 60];
        for from in 5..65 {
            for to in from..66 {
                let mut found: Vec<i64> = held(&tail, from, to).concat();
                found.sort_unstable();
                let expected: Vec<i64> = all
                    .into_iter()
                    .filter(|hlc| (from..to).contains(hlc))
                    .collect();
                assert_eq!(found, expected, "{from}..{to}");
            }
        }
        assert!(held(&tail, 21, 30).is_empty() && held(&tail, 50, 40).is_empty());
    }

    #[test]
    fn a_snapshot_holds_no_frame_at_or_above_its_offset() {
        let tail = tail();
        // the offset of a frame is the stamp of its first row
        assert!(held_before(&tail, 0, 99, 10).is_empty());
        assert_eq!(held_before(&tail, 0, 99, 11), [[10, 20]]);
        assert_eq!(held_before(&tail, 15, 99, 16), [[20], [15]]);
        assert_eq!(held_before(&tail, 0, 99, 40), [vec![10, 20, 30], vec![15]]);
        assert_eq!(held_before(&tail, 45, 99, 40), [[0; 0]; 0]);
        assert_eq!(held_before(&tail, 45, 55, 41), [[50]]);
    }

    #[test]
    fn rows_leave_through_a_key() {
        let mut tail = tail();
        let key = |hlc, writer| Key {
            hlc: Hlc(hlc),
            writer: WriterId(writer),
        };
        tail.drop_through(key(15, 1));
        assert_eq!(held(&tail, 0, 99), [vec![20, 30, 40, 50, 60], vec![15]]);
        tail.drop_through(key(50, 1));
        assert_eq!((held(&tail, 0, 99), tail.rows()), (vec![vec![60]], 1));
        let queue = tail.within(&(Hlc(0)..Hlc(99)), Offset(99)).remove(0);
        let extent = extent(&queue).unwrap();
        assert_eq!((extent.first, extent.last, extent.rows), (60, 60, 1));
    }
}
