//! Copying rows out of several batches into one, column by column.
//!
//! Rows of a part are taken in its order and without gaps, so a column needs to know of each row
//! only which part it comes from, and reads every part from its start to its end.

#[cfg(test)]
mod tests;
mod texts;

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

/// The part from which each row comes. Rows of a part come in its order, without gaps.
#[derive(Debug, Default)]
pub(super) struct Order {
    part_of: Vec<u32>,
    /// How often rows were taken.
    takes: usize,
}

impl Order {
    /// Rows that come next are the next of a part.
    pub(super) fn take(&mut self, part: u32, rows: usize) {
        self.part_of.extend(std::iter::repeat_n(part, rows));
        self.takes += 1;
    }

    pub(super) fn rows(&self) -> usize {
        self.part_of.len()
    }

    pub(super) fn clear(&mut self) {
        self.part_of.clear();
        self.takes = 0;
    }

    /// What `pick` finds in the part of each row, at its place there.
    fn pick<T>(
        &self,
        parts: usize,
        mut pick: impl FnMut(usize, usize) -> T,
    ) -> impl ExactSizeIterator<Item = T> {
        let mut next = vec![0; parts];
        self.part_of.iter().map(move |part| {
            let part = *part as usize;
            let place = next[part];
            next[part] = place + 1;
            pick(part, place)
        })
    }

    /// The parts cut where the rows change from one to another.
    fn slices(&self, parts: &[RecordBatch]) -> Vec<RecordBatch> {
        let mut taken = vec![0; parts.len()];
        let slice = |run: &[u32]| {
            let (part, rows) = (run[0] as usize, run.len());
            let from = taken[part];
            taken[part] += rows;
            parts[part].slice(from, rows)
        };
        self.part_of.chunk_by(|a, b| a == b).map(slice).collect()
    }
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

    /// All rows of the parts, in this order.
    pub(super) fn rows(
        &mut self,
        parts: &[RecordBatch],
        order: &Order,
    ) -> Result<RecordBatch, ArrowError> {
        if let [one] = parts {
            return Ok(one.clone());
        }
        if order.rows() / order.takes.max(1) >= MIN_RUN_ROWS {
            return concat_batches(&self.schema, &order.slices(parts));
        }
        let columns = (0..self.schema.fields().len()).map(|i| {
            let columns: Vec<&ArrayRef> = parts.iter().map(|part| part.column(i)).collect();
            column(&columns, order, &mut self.texts[i])
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
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
    let picks = order.pick(columns.len(), |part, place| (part, place));
    interleave(&columns, &picks.collect::<Vec<_>>())
}

fn numbers<T: ArrowPrimitiveType>(columns: &[&ArrayRef], order: &Order) -> ArrayRef {
    let values: Vec<&[T::Native]> = columns
        .iter()
        .map(|column| &column.as_primitive::<T>().values()[..])
        .collect();
    let rows: Vec<T::Native> = order
        .pick(values.len(), |part, place| values[part][place])
        .collect();
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
    let valid = |part: usize, place| parts[part].is_none_or(|nulls| nulls.is_valid(place));
    let valid = order.pick(parts.len(), valid);
    Some(NullBuffer::new(BooleanBuffer::from_iter(valid)))
}
