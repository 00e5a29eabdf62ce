//! How the rows of an answer are cut into batches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::{StreamExt, TryStreamExt, stream};

use crate::error::QueryError;
use crate::plan::Batches;
use crate::window::ANSWER_ROWS;

/// Rows of the first batch of an answer whose length nobody knows.
const FIRST_ROWS: usize = 256;

/// How an answer is cut. It depends on the request alone, so the same rows have the same bytes
/// wherever they lay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Rows of the first batch.
    pub(crate) first: usize,
    /// Rows of all others.
    pub(crate) others: usize,
}

impl Cut {
    /// Large batches, where nobody waits for the first.
    pub(crate) const LARGE: Self = Self {
        first: ANSWER_ROWS,
        others: ANSWER_ROWS,
    };

    /// The cut of an answer: a small first batch, so that it is soon there, or all in one.
    pub(crate) fn of(limit: Option<usize>) -> Self {
        let one = limit.is_some_and(|limit| limit <= ANSWER_ROWS);
        let first = if one { ANSWER_ROWS } else { FIRST_ROWS };
        Self {
            first,
            ..Self::LARGE
        }
    }

    /// The same, but no more in the first than tells whether there are rows beyond the limit.
    pub(crate) fn up_to(self, limit: Option<usize>) -> Self {
        let most = limit.map_or(self.first, |limit| limit.saturating_add(1));
        let first = self.first.min(most);
        Self { first, ..self }
    }
}

/// The same rows cut as said.
pub(super) fn recut(batches: Batches, schema: SchemaRef, cut: Cut) -> Batches {
    let start = (Some(batches), Cutter::new(schema, cut));
    let cut = stream::try_unfold(start, |(mut batches, mut cutter)| async move {
        loop {
            if let Some(batch) = cutter.next() {
                return Ok(Some((batch, (batches, cutter))));
            }
            let Some(source) = &mut batches else {
                return Ok(None);
            };
            match source.try_next().await? {
                Some(batch) => cutter.push(&batch)?,
                None => {
                    cutter.finish()?;
                    batches = None;
                }
            }
        }
    });
    cut.map_err(|error: QueryError| error).boxed()
}

/// Cuts batches anew.
struct Cutter {
    first: BatchCoalescer,
    /// Rows that the first batch lacks.
    lacks: usize,
    others: BatchCoalescer,
}

impl Cutter {
    fn new(schema: SchemaRef, cut: Cut) -> Self {
        Self {
            first: BatchCoalescer::new(Arc::clone(&schema), cut.first),
            lacks: cut.first,
            others: BatchCoalescer::new(schema, cut.others),
        }
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let own = batch.num_rows().min(self.lacks);
        self.lacks -= own;
        if own > 0 {
            self.first.push_batch(batch.slice(0, own))?;
        }
        match batch.num_rows() - own {
            0 => Ok(()),
            rest => self.others.push_batch(batch.slice(own, rest)),
        }
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        self.first.finish_buffered_batch()?;
        self.others.finish_buffered_batch()
    }

    fn next(&mut self) -> Option<RecordBatch> {
        let first = self.first.next_completed_batch();
        first.or_else(|| self.others.next_completed_batch())
    }
}
