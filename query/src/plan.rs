//! Reading a window: one merge by key over the files and tails of every partition.
//!
//! Everything is read as it is asked for. Nothing waits while rows are at hand, so each piece of
//! work lets other tasks run.

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::SegmentMeta;
use tourbillon_core::merge::{Merge, MergeStep};
use tourbillon_core::open_rows::RowRun;
use tourbillon_lake::{Lake, LakeError, SegmentRead};

use crate::error::QueryError;
use crate::order::Cut;
use crate::partition::View;
use crate::pump::pumped;
use crate::tail::Queue;

/// Inputs of a merge that are opened at the same time.
const PARALLEL_OPENS: usize = 16;

/// Inputs of a merge that are decoded ahead: some batches of each wait in memory.
const PUMPED: usize = 16;

/// Rows on their way.
pub(crate) type Batches = BoxStream<'static, Result<RecordBatch, QueryError>>;

/// How to read the rows of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) lake: Lake,
    pub(crate) stream: StreamName,
    /// The window, the filters and the columns, system columns first.
    pub(crate) read: SegmentRead,
}

impl Plan {
    /// The rows of the window that are in views of it, in key order, cut as said.
    pub(crate) fn merged(self: &Arc<Self>, views: Vec<View>, cut: Cut) -> Batches {
        let inputs = views.into_iter().flat_map(|view| self.inputs(view));
        let mut inputs: Vec<Batches> = inputs.collect();
        // on a runtime of one thread, whose order of events must not depend on threads, in turn; and
        // where rows are at hand, other threads would only cost time
        let one_thread = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let spread = !self.read.few && inputs.len() > 1 && !one_thread;
        // where there are filters, row groups are looked through ahead already
        let filtered = !self.read.keys.is_empty() || self.read.event.is_some();
        if self.read.ahead && spread && !filtered {
            let later = inputs.split_off(inputs.len().min(PUMPED));
            inputs = inputs.into_iter().map(pumped).chain(later).collect();
        }
        merge(inputs, Arc::clone(&self.read.columns), cut, spread)
    }

    /// One input for a partition's files, which follow one another, and one for each tail.
    fn inputs(self: &Arc<Self>, view: View) -> Vec<Batches> {
        let tails = view.tails.into_iter().map(|queue| self.tail(queue));
        let mut inputs: Vec<Batches> = tails.collect();
        if view.segments.is_empty() {
            return inputs;
        }
        let (plan, before, moved) = (Arc::clone(self), view.before, view.moved);
        // a file that is looked through ahead is opened ahead too
        let opened = if self.read.ahead && !self.read.keys.is_empty() {
            2
        } else {
            1
        };
        let files = stream::iter(view.segments).map(move |segment| {
            let (plan, moved) = (Arc::clone(&plan), Arc::clone(&moved));
            let read = SegmentRead {
                before: Some(before),
                ..plan.read.clone()
            };
            async move {
                let rows = plan.lake.read_segment(&plan.stream, &segment, read).await;
                let rows = match rows {
                    Ok(rows) => rows,
                    Err(error) => stream::once(async { Err(error) }).boxed(),
                };
                Ok::<_, QueryError>(rows.or_else(move |error| {
                    let (plan, moved) = (Arc::clone(&plan), Arc::clone(&moved));
                    let segment = Arc::clone(&segment);
                    async move { Err(plan.missed(view.number, &segment, error, &moved).await) }
                }))
            }
        });
        inputs.push(files.buffered(opened).try_flatten().boxed());
        inputs
    }

    /// A file that is absent has been replaced while nobody here noticed, or lost.
    async fn missed(
        &self,
        partition: PartitionId,
        file: &SegmentMeta,
        error: LakeError,
        moved: &Notify,
    ) -> QueryError {
        if !error.is_absent() {
            return error.into();
        }
        moved.notify_one();
        let replaced = self.lake.is_replaced(&self.stream, partition, file).await;
        match replaced {
            Ok(true) => QueryError::Moved(file.name.clone()),
            Err(unknown) if unknown.kind() == ErrorKind::Unavailable => unknown.into(),
            _ => error.into(),
        }
    }

    /// The rows of a tail that pass, some thousand at a time.
    fn tail(self: &Arc<Self>, queue: Queue) -> Batches {
        let start = (Arc::clone(self), queue);
        let batches = stream::try_unfold(start, |(plan, mut queue)| async move {
            tokio::task::yield_now().await;
            let (mut batches, mut rows) = (Vec::new(), 0);
            while rows < plan.read.batch_rows
                && let Some(run) = queue.pop_front()
            {
                rows += run.rows.num_rows();
                batches.push(plan.tail_rows(&run)?);
            }
            let batch = match &batches[..] {
                [] => return Ok(None),
                [one] => one.clone(),
                many => concat_batches(&plan.read.columns, many)?,
            };
            Ok(Some((batch, (plan, queue))))
        });
        batches.boxed()
    }

    /// The rows that pass, and of them the columns to read, null where the run is older.
    fn tail_rows(&self, run: &RowRun) -> Result<RecordBatch, ArrowError> {
        let rows = match &self.read.event {
            Some(event) => &event.filter(&run.rows)?,
            None => &run.rows,
        };
        let rows = self.read.keys.filter(rows)?;
        let columns = self.read.columns.fields().iter().map(|field| {
            let found = rows.column_by_name(field.name()).cloned();
            found.unwrap_or_else(|| new_null_array(field.data_type(), rows.num_rows()))
        });
        RecordBatch::try_new(Arc::clone(&self.read.columns), columns.collect())
    }
}

/// Merges the inputs, reading each as it is needed.
fn merge(inputs: Vec<Batches>, schema: SchemaRef, cut: Cut, spread: bool) -> Batches {
    let merge = Merge::new(inputs.len(), schema, cut.first);
    let begun = stream::once(open(merge, inputs, spread));
    let merged = begun.map_ok(move |start| {
        stream::try_unfold(start, move |(mut merge, mut inputs)| async move {
            loop {
                match merge.step()? {
                    MergeStep::Done => return Ok(None),
                    MergeStep::Batch(batch) => {
                        merge.cut_by(cut.others);
                        return Ok(Some((batch, (merge, inputs))));
                    }
                    MergeStep::Need(input) => match inputs[input].try_next().await? {
                        Some(batch) => merge.push(input, batch),
                        None => merge.finish(input),
                    },
                }
            }
        })
    });
    merged.try_flatten().boxed()
}

/// Gets the first batch of every input, several at the same time, maybe `spread` over threads.
async fn open(
    mut merge: Merge,
    inputs: Vec<Batches>,
    spread: bool,
) -> Result<(Merge, Vec<Batches>), QueryError> {
    let begin = |input| async move {
        if !spread {
            return first_of(input).await;
        }
        let first = AbortOnDropHandle::new(tokio::spawn(first_of(input)));
        first.await.map_err(LakeError::Task)?
    };
    let firsts: Vec<_> = inputs
        .into_iter()
        .map(|input| begin(input).boxed())
        .collect();
    let mut firsts = stream::iter(firsts).buffered(PARALLEL_OPENS);
    let mut opened = Vec::new();
    while let Some((input, first)) = firsts.try_next().await? {
        match first {
            Some(batch) => merge.push(opened.len(), batch),
            None => merge.finish(opened.len()),
        }
        opened.push(input);
    }
    drop(firsts);
    Ok((merge, opened))
}

async fn first_of(mut input: Batches) -> Result<(Batches, Option<RecordBatch>), QueryError> {
    let first = input.try_next().await?;
    Ok((input, first))
}
