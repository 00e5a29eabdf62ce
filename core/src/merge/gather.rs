//! Copying rows out of several batches into one, column by column.
//!
//! Rows of a part are taken in its order and without gaps, so a column needs to know of each row
//! only which part it comes from, and reads every part from its start to its end.

#[cfg(test)]
mod tests;
mod texts;

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, downcast_primitive,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use self::texts::Texts;

/// Average rows a run must have for slices to be cheaper than picking rows one by one.
const MIN_RUN_ROWS: usize = 32;

/// Rows that come next from a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) part: usize,
    pub(super) rows: usize,
}

#[derive(Debug)]
pub(super) struct Gather {
    schema: SchemaRef,
    /// What is known of the dictionaries of each column.
    texts: Vec<Texts>,
}

impl Gather {
    pub(super) fn new(schema: SchemaRef) -> Self {
        let texts = schema.fields().iter().map(|_| Texts::default()).collect();
        Self { schema, texts }
    }

    /// The rows of the parts in the order of the runs, which take every part from its start to its
    /// end.
    pub(super) fn rows(
        &mut self,
        parts: &[RecordBatch],
        runs: &[Run],
    ) -> Result<RecordBatch, ArrowError> {
        if let [one] = parts {
            return Ok(one.clone());
        }
        let rows: usize = runs.iter().map(|run| run.rows).sum();
        if rows / runs.len().max(1) >= MIN_RUN_ROWS {
            return concat_batches(&self.schema, &slices(parts, runs));
        }
        let order = Order::new(parts.len(), runs);
        let columns = (0..self.schema.fields().len()).map(|i| {
            let columns: Vec<&ArrayRef> = parts.iter().map(|part| part.column(i)).collect();
            column(&columns, &order, &mut self.texts[i])
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

fn slices(parts: &[RecordBatch], runs: &[Run]) -> Vec<RecordBatch> {
    let mut taken = vec![0; parts.len()];
    let slice = |run: &Run| {
        let from = taken[run.part];
        taken[run.part] += run.rows;
        parts[run.part].slice(from, run.rows)
    };
    runs.iter().map(slice).collect()
}

/// The part from which each row comes.
#[derive(Debug)]
struct Order {
    parts: usize,
    part_of: Vec<u32>,
    picks: OnceCell<Vec<(usize, usize)>>,
}

impl Order {
    fn new(parts: usize, runs: &[Run]) -> Self {
        let mut part_of = Vec::with_capacity(runs.iter().map(|run| run.rows).sum());
        for run in runs {
            // a batch of more parts than that has more rows than Arrow can number
            let part = u32::try_from(run.part).unwrap_or(u32::MAX);
            part_of.extend(std::iter::repeat_n(part, run.rows));
        }
        let picks = OnceCell::new();
        Self {
            parts,
            part_of,
            picks,
        }
    }

    /// What `pick` finds in the part of each row, at its place there.
    fn pick<T>(&self, mut pick: impl FnMut(usize, usize) -> T) -> impl ExactSizeIterator<Item = T> {
        let mut next = vec![0; self.parts];
        self.part_of.iter().map(move |part| {
            let part = *part as usize;
            let place = next[part];
            next[part] = place + 1;
            pick(part, place)
        })
    }

    /// Part and place of each row.
    fn picks(&self) -> &[(usize, usize)] {
        self.picks
            .get_or_init(|| self.pick(|part, place| (part, place)).collect())
    }
}

fn column(columns: &[&ArrayRef], order: &Order, texts: &mut Texts) -> Result<ArrayRef, ArrowError> {
    macro_rules! of_numbers {
        ($kind:ty) => {
            return Ok(numbers::<$kind>(columns, order))
        };
    }
    let kind = columns[0].data_type();
    downcast_primitive! {
        kind => (of_numbers),
        DataType::Dictionary(..) => {
            if let Some(merged) = texts.gather(columns, order)? {
                return Ok(merged);
            }
        }
        _ => {}
    }
    let columns: Vec<&dyn Array> = columns.iter().map(|column| &***column).collect();
    interleave(&columns, order.picks())
}

fn numbers<T: ArrowPrimitiveType>(columns: &[&ArrayRef], order: &Order) -> ArrayRef {
    let values: Vec<&[T::Native]> = columns
        .iter()
        .map(|column| &column.as_primitive::<T>().values()[..])
        .collect();
    let rows: Vec<T::Native> = order.pick(|part, place| values[part][place]).collect();
    let nulls = nulls(columns.iter().map(|column| column.nulls()), order);
    let merged = PrimitiveArray::<T>::new(rows.into(), nulls);
    Arc::new(merged.with_data_type(columns[0].data_type().clone()))
}

/// Which rows are null, if any is.
fn nulls<'a>(
    parts: impl Iterator<Item = Option<&'a NullBuffer>>,
    order: &Order,
) -> Option<NullBuffer> {
    let parts: Vec<_> = parts
        .map(|nulls| nulls.filter(|nulls| nulls.null_count() > 0))
        .collect();
    if parts.iter().all(Option::is_none) {
        return None;
    }
    let valid = order.pick(|part, place| parts[part].is_none_or(|nulls| nulls.is_valid(place)));
    Some(NullBuffer::new(BooleanBuffer::from_iter(valid)))
}
