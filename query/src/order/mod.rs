//! Order, limit, columns and batch sizes of an answer.

mod cut;
pub(crate) mod pieces;
mod sorted;
mod timed;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use futures::future::ready;
use futures::{StreamExt, TryStreamExt, stream};
use tourbillon_core::open_rows::key_at;

use crate::error::QueryError;
use crate::partition::View;
use crate::plan::{Batches, Plan};
use crate::token::RowPlace;

pub(crate) use cut::Cut;

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

/// The rows of a window, in order; cut as said where the order is that of the merge.
pub(crate) fn ordered(plan: Arc<Plan>, views: Vec<View>, order: Order, cut: Cut) -> Batches {
    match order.is_merged() {
        true => plan.merged(views, cut),
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

/// The columns of `schema` in its order, in batches that are cut anew if they are `uneven`.
pub(crate) fn arranged(batches: Batches, schema: SchemaRef, uneven: Option<Cut>) -> Batches {
    let columns = Arc::clone(&schema);
    let projected = batches.map(move |batch| {
        let batch = batch?;
        let own = batch.schema();
        let indices = columns.fields().iter().map(|f| own.index_of(f.name()));
        Ok(batch.project(&indices.collect::<Result<Vec<_>, _>>()?)?)
    });
    match uneven {
        Some(cut) => cut::recut(projected.boxed(), schema, cut),
        None => projected.boxed(),
    }
}
