//! A view of a partition by event time.

use arrow::array::AsArray;
use arrow::compute::{max, min};
use arrow::datatypes::TimestampNanosecondType;
use tourbillon_core::open_rows::RowRun;

use super::pieces::Extent;
use crate::partition::View;

/// The lowest and the highest event time of rows, if any has one.
type Bounds = Option<(i64, i64)>;

/// A view, and the event times of its rows; those of files are known without reading them.
#[derive(Debug)]
pub(super) struct Timed {
    view: View,
    /// By tail and run.
    runs: Vec<Vec<Bounds>>,
}

impl Timed {
    /// Costs a look at every event time in the tails.
    pub(super) fn new(view: View, column: &str) -> Self {
        let tails = view.tails.iter();
        let runs = tails.map(|queue| queue.iter().map(|run| bounds(run, column)).collect());
        Self {
            runs: runs.collect(),
            view,
        }
    }

    /// Files and runs that may have rows between two event times, both included.
    pub(super) fn within(&self, times: (i64, i64)) -> View {
        let any = times.0 <= times.1;
        let reaches =
            |bounds: Bounds| any && bounds.is_some_and(|b| b.0 <= times.1 && b.1 >= times.0);
        let segments = self.view.segments.iter();
        let segments = segments.filter(|segment| reaches(segment.event_time));
        let tails = self.view.tails.iter().zip(&self.runs);
        let tails = tails.map(|(queue, bounds)| {
            let runs = queue.iter().zip(bounds);
            let runs = runs.filter(|(_, bounds)| reaches(**bounds));
            runs.map(|(run, _)| run.clone()).collect()
        });
        self.view.with(
            segments.cloned().collect(),
            tails.filter(|queue: &crate::tail::Queue| !queue.is_empty()),
        )
    }

    /// How many rows there are between which event times.
    pub(super) fn extents(&self) -> impl Iterator<Item = Extent> {
        let extent =
            |bounds: Bounds, rows| bounds.map(|(first, last)| Extent { first, last, rows });
        let segments = self.view.segments.iter();
        let segments = segments.filter_map(move |s| extent(s.event_time, s.rows));
        let tails = self.view.tails.iter().zip(&self.runs);
        let runs = tails.flat_map(|(queue, bounds)| queue.iter().zip(bounds));
        let runs =
            runs.filter_map(move |(run, bounds)| extent(*bounds, run.rows.num_rows() as u64));
        segments.chain(runs)
    }
}

fn bounds(run: &RowRun, column: &str) -> Bounds {
    let column = run.rows.column_by_name(column)?;
    let times = column.as_primitive_opt::<TimestampNanosecondType>()?;
    Some((min(times)?, max(times)?))
}
