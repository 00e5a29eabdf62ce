//! Order, limit, columns and batch sizes of an answer.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{BatchCoalescer, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::future::ready;
use futures::{StreamExt, TryStreamExt, stream};
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::open_rows::key_at;

use crate::error::QueryError;
use crate::partition::View;
use crate::plan::{Batches, Plan};
use crate::window::ANSWER_ROWS;

/// Rows that are held to be turned round. A piece of the window with more is read in halves.
const MAX_PIECE_ROWS: usize = 131_072;

/// Length of the first piece of the window that is turned round, ns.
const FIRST_PIECE_NS: i64 = 100_000_000;

/// The rows of the window, newest first. The window is read piece by piece from its end, each as
/// long as its rows fit in memory.
pub(crate) fn descending(plan: Arc<Plan>, views: Vec<View>) -> Batches {
    let spans = views.iter().filter_map(View::span);
    let span = spans.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
    let Some((lowest, highest)) = span else {
        return stream::empty().boxed();
    };
    let window = &plan.read.hlc;
    let left = lowest.max(window.start)..highest.plus(1).min(window.end);
    let start = Descending {
        plan,
        views,
        left,
        piece_ns: FIRST_PIECE_NS,
        held: Vec::new(),
    };
    let newest_first = stream::try_unfold(start, |mut state| async move {
        loop {
            if let Some(batch) = state.held.pop() {
                return Ok(Some((turned(&batch)?, state)));
            }
            if state.left.is_empty() {
                return Ok(None);
            }
            state.read_piece().await?;
        }
    });
    newest_first.boxed()
}

struct Descending {
    plan: Arc<Plan>,
    views: Vec<View>,
    /// What has not been read yet.
    left: Range<Hlc>,
    piece_ns: i64,
    /// Rows of the piece above that have not been given, ascending.
    held: Vec<RecordBatch>,
}

impl Descending {
    /// Reads the last piece of what is left, or only finds out that it must be shorter.
    async fn read_piece(&mut self) -> Result<(), QueryError> {
        let start = self.left.end.plus(-self.piece_ns).max(self.left.start);
        let piece = start..self.left.end;
        let mut merged = self.plan.merged_within(&self.views, &piece);
        let (mut held, mut rows) = (Vec::new(), 0);
        while let Some(batch) = merged.try_next().await? {
            rows += batch.num_rows();
            held.push(batch);
            let length = piece.end.0 - piece.start.0;
            if rows > MAX_PIECE_ROWS && length > 1 {
                self.piece_ns = length / 2;
                return Ok(());
            }
        }
        if rows < MAX_PIECE_ROWS / 8 {
            self.piece_ns = self.piece_ns.saturating_mul(4);
        }
        self.left.end = start;
        self.held = held;
        Ok(())
    }
}

fn turned(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
    take_record_batch(batch, &UInt32Array::from_iter_values((0..rows).rev()))
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

/// The rows that come after `key` in the answer: at first there may be some that do not, with the
/// same stamp.
pub(crate) fn after(batches: Batches, key: Key, descending: bool) -> Batches {
    let follows = move |other: Key| match descending {
        false => other > key,
        true => other < key,
    };
    let rest = batches.try_filter_map(move |batch| {
        let rows = batch.num_rows();
        let first = (0..rows).find(|row| follows(key_at(&batch, *row)));
        ready(Ok(first.map(|first| batch.slice(first, rows - first))))
    });
    rest.boxed()
}

/// Reads the first `limit` rows, and whether there is one more: if so, gives the key of the last.
pub(crate) async fn page(
    mut batches: Batches,
    limit: usize,
) -> Result<(Batches, Option<Key>), QueryError> {
    let (mut held, mut left, mut last) = (Vec::new(), limit, None);
    while let Some(batch) = batches.try_next().await? {
        let rows = batch.num_rows().min(left);
        if rows > 0 {
            last = Some(key_at(&batch, rows - 1));
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
