//! Accepted rows that are not sealed yet: one queue per writer, each in key order.

use std::collections::{BTreeMap, VecDeque};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{TimestampNanosecondType, UInt32Type, UInt64Type};

use crate::hlc::{Hlc, Key};
use crate::ids::{Offset, WriterId};

/// Stored rows of one writer from one frame, ascending.
#[derive(Clone, Debug)]
pub struct RowRun {
    /// Version of the schema that the rows have.
    pub schema_version: u32,
    /// The rows: system columns, then the stream's own. Never empty.
    pub rows: RecordBatch,
}

impl RowRun {
    /// Number of rows at or below `bound`.
    pub fn rows_through(&self, bound: Key) -> usize {
        let through = |writer: u32| {
            let same_stamp_too = WriterId(writer) <= bound.writer;
            if same_stamp_too {
                bound.hlc.0
            } else {
                bound.hlc.0.saturating_sub(1)
            }
        };
        let Some(last) = writers(&self.rows).first().map(|writer| through(*writer)) else {
            return 0;
        };
        stamps(&self.rows).partition_point(|hlc| *hlc <= last)
    }
}

/// Stamps of stored rows.
pub fn stamps(rows: &RecordBatch) -> &[i64] {
    rows.column(0)
        .as_primitive::<TimestampNanosecondType>()
        .values()
}

/// Writers of stored rows.
pub fn writers(rows: &RecordBatch) -> &[u32] {
    rows.column(1).as_primitive::<UInt32Type>().values()
}

/// Log offsets of stored rows.
pub fn offsets(rows: &RecordBatch) -> &[u64] {
    rows.column(2).as_primitive::<UInt64Type>().values()
}

/// Key of row `index` of stored rows.
pub fn key_at(rows: &RecordBatch, index: usize) -> Key {
    Key {
        hlc: Hlc(stamps(rows)[index]),
        writer: WriterId(writers(rows)[index]),
    }
}

/// The queues. Every operation but `push` costs a binary search per writer and batch touched.
#[derive(Clone, Debug, Default)]
pub struct OpenRows {
    queues: BTreeMap<WriterId, VecDeque<RowRun>>,
    rows: u64,
}

impl OpenRows {
    /// Adds rows of one writer, above all that it sent before. Empty runs are dropped.
    pub fn push(&mut self, run: RowRun) {
        let Some(writer) = writers(&run.rows).first() else {
            return;
        };
        self.rows += run.rows.num_rows() as u64;
        self.queues
            .entry(WriterId(*writer))
            .or_default()
            .push_back(run);
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Lowest stamp.
    pub fn lowest(&self) -> Option<Hlc> {
        self.fronts()
            .filter_map(|run| stamps(&run.rows).first())
            .min()
            .map(|hlc| Hlc(*hlc))
    }

    /// Lowest log offset.
    pub fn lowest_offset(&self) -> Option<Offset> {
        self.fronts()
            .filter_map(|run| offsets(&run.rows).first())
            .min()
            .map(|o| Offset(*o))
    }

    fn fronts(&self) -> impl Iterator<Item = &RowRun> {
        self.queues.values().filter_map(VecDeque::front)
    }

    /// Number of rows at or below `bound`.
    pub fn count_through(&self, bound: Key) -> u64 {
        self.select_through(bound)
            .flatten()
            .map(|run| run.rows.num_rows() as u64)
            .sum()
    }

    /// Rows at or below `bound`, per writer, without copying them.
    pub fn select_through(&self, bound: Key) -> impl Iterator<Item = Vec<RowRun>> {
        self.queues.values().filter_map(move |queue| {
            let mut selected = Vec::new();
            for run in queue {
                let rows = run.rows_through(bound);
                if rows > 0 {
                    let schema_version = run.schema_version;
                    selected.push(RowRun {
                        schema_version,
                        rows: run.rows.slice(0, rows),
                    });
                }
                if rows < run.rows.num_rows() {
                    break;
                }
            }
            (!selected.is_empty()).then_some(selected)
        })
    }

    /// Forgets the rows at or below `bound`.
    pub fn drop_through(&mut self, bound: Key) {
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
