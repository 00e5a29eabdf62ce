//! Order, limit, columns and batch sizes of an answer.

pub(crate) mod pieces;
mod sorted;
mod timed;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::BatchCoalescer;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use futures::future::ready;
use futures::{StreamExt, TryStreamExt, stream};
use tourbillon_core::open_rows::key_at;

use crate::error::QueryError;
use crate::partition::View;
use crate::plan::{Batches, Plan};
use crate::token::RowPlace;
use crate::window::ANSWER_ROWS;

/// In which order the rows of a window are given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) descending: bool,
    /// The column of event times, where the window goes by them before stamps and writers.
    pub(crate) event: Option<usize>,
}

impl Order {
    /// Whether it is that of the merge.
    pub(crate) fn is_merged(self) -> bool {
        !self.descending && self.event.is_none()
    }

    /// Where a row stands.
    fn place(self, batch: &RecordBatch, row: usize) -> RowPlace {
        let times = self.event.map(|event| batch.column(event));
        let times = times.map(|times| times.as_primitive::<TimestampNanosecondType>());
        RowPlace {
            event: times.map(|times| times.value(row)),
            key: key_at(batch, row),
        }
    }
}

/// The rows of a window, in order; the first batch has no more of them than tells whether there are
/// more than the limit.
pub(crate) fn ordered(
    plan: Arc<Plan>,
    views: Vec<View>,
    order: Order,
    limit: Option<usize>,
) -> Batches {
    let rows = limit.map_or(ANSWER_ROWS, |limit| {
        limit.saturating_add(1).min(ANSWER_ROWS)
    });
    match order.is_merged() {
        true => plan.merged_by(views, rows),
        false => sorted::sorted(plan, views, order),
    }
}

/// The first `limit` rows. What follows is not asked for.
pub(crate) fn limited(batches: Batches, limit: usize) -> Batches {
    let limited = stream::try_unfold((batches, limit), |(mut batches, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let next: Option<RecordBatch> = batches.try_next().await?;
        Ok(next.map(|batch| {
            let rows = batch.num_rows().min(left);
            (batch.slice(0, rows), (batches, left - rows))
        }))
    });
    limited.boxed()
}

/// The rows that come after `place` in the answer: at first there may be some that do not, with the
/// same stamp or event time.
pub(crate) fn after(batches: Batches, place: RowPlace, order: Order) -> Batches {
    let follows = move |other: RowPlace| match order.descending {
        false => other > place,
        true => other < place,
    };
    let rest = batches.try_filter_map(move |batch| {
        let rows = batch.num_rows();
        let first = (0..rows).find(|row| follows(order.place(&batch, *row)));
        ready(Ok(first.map(|first| batch.slice(first, rows - first))))
    });
    rest.boxed()
}

/// Reads the first `limit` rows, and whether there is one more: if so, gives the place of the last.
pub(crate) async fn page(
    mut batches: Batches,
    limit: usize,
    order: Order,
) -> Result<(Batches, Option<RowPlace>), QueryError> {
    let (mut held, mut left, mut last) = (Vec::new(), limit, None);
    while let Some(batch) = batches.try_next().await? {
        let rows = batch.num_rows().min(left);
        if rows > 0 {
            last = Some(order.place(&batch, rows - 1));
            held.push(Ok(batch.slice(0, rows)));
        }
        if rows < batch.num_rows() {
            return Ok((stream::iter(held).boxed(), last));
        }
        left -= rows;
    }
    Ok((stream::iter(held).boxed(), None))
}

/// The columns of `schema` in its order, in batches of [`ANSWER_ROWS`], for which `uneven` ones
/// are cut anew.
pub(crate) fn arranged(batches: Batches, schema: SchemaRef, uneven: bool) -> Batches {
    let columns = Arc::clone(&schema);
    let projected = batches.map(move |batch| {
        let batch = batch?;
        let own = batch.schema();
        let indices = columns.fields().iter().map(|f| own.index_of(f.name()));
        Ok(batch.project(&indices.collect::<Result<Vec<_>, _>>()?)?)
    });
    if uneven {
        recut(projected.boxed(), schema)
    } else {
        projected.boxed()
    }
}

/// The same rows in batches of [`ANSWER_ROWS`].
fn recut(batches: Batches, schema: SchemaRef) -> Batches {
    let start = (Some(batches), BatchCoalescer::new(schema, ANSWER_ROWS));
    let cut = stream::try_unfold(start, |(mut batches, mut coalescer)| async move {
        loop {
            if let Some(batch) = coalescer.next_completed_batch() {
                return Ok(Some((batch, (batches, coalescer))));
            }
            let Some(source) = &mut batches else {
                return Ok(None);
            };
            match source.try_next().await? {
                Some(batch) => coalescer.push_batch(batch)?,
                None => {
                    coalescer.finish_buffered_batch()?;
                    batches = None;
                }
            }
        }
    });
    cut.map_err(|error: QueryError| error).boxed()
}
