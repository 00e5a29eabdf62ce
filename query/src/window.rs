//! Answering a window: one merge by key over the files and tails of every partition.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{BatchCoalescer, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::control::StreamDef;
use tourbillon_core::filter::KeyPredicate;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId, StreamName};
use tourbillon_core::merge::{Merge, MergeStep};
use tourbillon_core::open_rows::{RowRun, stamps};
use tourbillon_core::schema::SYSTEM_COLUMNS;
use tourbillon_lake::{Lake, SegmentRead};

use crate::error::QueryError;
use crate::params::{Consistency, WindowParams};
use crate::partition::View;
use crate::service::QueryService;

/// Rows of the batches that answers are made of.
pub const ANSWER_ROWS: usize = 8192;

/// Rows that can be turned round for `order=desc`.
const MAX_DESCENDING_ROWS: usize = 4 << 20;

type Batches = BoxStream<'static, Result<RecordBatch, QueryError>>;

/// A window, ready to be read.
pub struct Window {
    /// Schema of the batches.
    pub schema: SchemaRef,
    /// T when the window was opened.
    pub complete_through: Hlc,
    /// Whether the same window will give the same rows for ever.
    pub is_final: bool,
    /// The rows that it holds: those below the offset in each partition.
    pub snapshot: Vec<(PartitionId, Offset)>,
    /// The rows, in order.
    pub batches: Batches,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window")
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

impl QueryService {
    /// Opens a window of a stream.
    pub async fn window(
        &self,
        def: &Arc<StreamDef>,
        params: &WindowParams,
    ) -> Result<Window, QueryError> {
        let keys = KeyPredicate::new(def.schema(), &params.keys)?;
        let wait = Duration::from_nanos(u64::try_from(params.wait_ns).unwrap_or(0));
        let (range, complete_through) = self.range(def, params, wait).await?;
        let complete = range.end.0 <= complete_through.0.saturating_add(1);
        let is_final = complete || broken(Rule::FinalThroughT);
        let partitions = self.partitions(def)?;
        let views: Vec<View> = partitions.iter().map(|p| p.view(&range)).collect();
        let snapshot = partitions
            .iter()
            .zip(&views)
            .map(|(p, v)| (p.number, v.before))
            .collect();
        let plan = Plan {
            lake: self.lake.clone(),
            stream: def.name.clone(),
            def: Arc::clone(def),
            read: SegmentRead {
                columns: read_schema(def, params, &keys)?,
                hlc: range,
                keys,
                before: None,
                batch_rows: ANSWER_ROWS,
            },
        };
        let schema = answer_schema(&plan.read.columns, params)?;
        let merged = merge(plan.inputs(views)?, Arc::clone(&plan.read.columns));
        let batches = arrange(merged, params, Arc::clone(&schema));
        Ok(Window {
            schema,
            complete_through,
            is_final,
            snapshot,
            batches,
        })
    }

    /// The stamps to read, and T.
    async fn range(
        &self,
        def: &StreamDef,
        params: &WindowParams,
        wait: Duration,
    ) -> Result<(Range<Hlc>, Hlc), QueryError> {
        let start = Hlc(params.start);
        let complete = match (params.consistency, params.end) {
            (Consistency::Final, Some(end)) => {
                let through = Hlc(end.saturating_sub(1));
                let complete = self.wait_complete(def, through, wait).await?;
                if complete < through {
                    let holders = self.holders(def, through);
                    let complete_through = complete.0;
                    return Err(QueryError::Incomplete {
                        complete_through,
                        end,
                        holders,
                    });
                }
                complete
            }
            _ => self.wait_complete(def, Hlc::MIN, wait).await?,
        };
        let end = match (params.consistency, params.end) {
            (_, Some(end)) => Hlc(end),
            (Consistency::Final, None) => complete.plus(1),
            (Consistency::Latest, None) => Hlc(i64::MAX),
        };
        Ok((start.min(end)..end, complete))
    }
}

/// System columns, then what the answer or the filters need.
fn read_schema(
    def: &StreamDef,
    params: &WindowParams,
    keys: &KeyPredicate,
) -> Result<SchemaRef, QueryError> {
    let stored = def.schema().stored();
    let wanted = |name: &str| {
        SYSTEM_COLUMNS.contains(&name)
            || params.columns.iter().any(|column| column == name)
            || keys.columns().any(|column| column == name)
    };
    let fields = stored
        .fields()
        .iter()
        .filter(|field| wanted(field.name()))
        .cloned();
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn answer_schema(read: &SchemaRef, params: &WindowParams) -> Result<SchemaRef, QueryError> {
    let indices = params.columns.iter().map(|name| read.index_of(name));
    Ok(Arc::new(
        read.project(&indices.collect::<Result<Vec<_>, _>>()?)?,
    ))
}

struct Plan {
    lake: Lake,
    stream: StreamName,
    def: Arc<StreamDef>,
    read: SegmentRead,
}

impl Plan {
    /// One input for a partition's files, which follow one another, and one for each tail.
    fn inputs(&self, views: Vec<View>) -> Result<Vec<Batches>, QueryError> {
        let mut inputs: Vec<Batches> = Vec::new();
        for view in views {
            for tail in view.tails {
                let rows = tail.iter().map(|run| self.tail_rows(run));
                let rows = rows.collect::<Result<Vec<_>, _>>()?;
                inputs.push(stream::iter(rows.into_iter().map(Ok)).boxed());
            }
            if view.segments.is_empty() {
                continue;
            }
            let (lake, name) = (self.lake.clone(), self.stream.clone());
            let read = SegmentRead {
                before: Some(view.before),
                ..self.read.clone()
            };
            let files = stream::iter(view.segments).then(move |segment| {
                let (lake, name, read) = (lake.clone(), name.clone(), read.clone());
                async move { lake.read_segment(&name, &segment, read).await }
            });
            inputs.push(files.try_flatten().map_err(QueryError::from).boxed());
        }
        Ok(inputs)
    }

    fn tail_rows(&self, run: &RowRun) -> Result<RecordBatch, QueryError> {
        let hlcs = stamps(&run.rows);
        let from = hlcs.partition_point(|hlc| *hlc < self.read.hlc.start.0);
        let rows = run.rows.slice(from, run.rows.num_rows() - from);
        let rows = self.def.schema().promote_stored(&rows)?;
        let fields = self.read.columns.fields().iter();
        let indices = fields.map(|field| rows.schema().index_of(field.name()));
        let rows = rows.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        Ok(self.read.keys.filter(&rows)?)
    }
}

/// Merges the inputs, reading each as it is needed.
fn merge(inputs: Vec<Batches>, schema: SchemaRef) -> Batches {
    let merge = Merge::new(inputs.len(), schema, ANSWER_ROWS);
    let merged = stream::try_unfold((merge, inputs), |(mut merge, mut inputs)| async move {
        loop {
            match merge.step()? {
                MergeStep::Done => return Ok(None),
                MergeStep::Batch(batch) => return Ok(Some((batch, (merge, inputs)))),
                MergeStep::Need(input) => match inputs[input].try_next().await? {
                    Some(batch) => merge.push(input, batch),
                    None => merge.finish(input),
                },
            }
        }
    });
    merged.boxed()
}

/// Order, limit, columns, and batches of [`ANSWER_ROWS`].
fn arrange(merged: Batches, params: &WindowParams, schema: SchemaRef) -> Batches {
    let limit = params.limit.unwrap_or(usize::MAX);
    let project = {
        let schema = Arc::clone(&schema);
        move |batch: RecordBatch| -> Result<RecordBatch, QueryError> {
            let indices = schema
                .fields()
                .iter()
                .map(|f| batch.schema().index_of(f.name()));
            Ok(batch.project(&indices.collect::<Result<Vec<_>, _>>()?)?)
        }
    };
    if params.descending {
        let bounded = params.limit.is_some();
        let newest = stream::once(newest_first(
            merged,
            limit.min(MAX_DESCENDING_ROWS),
            bounded,
        ));
        let batches = newest.map_ok(|batches| stream::iter(batches.into_iter().map(Ok)));
        return recut(
            batches
                .try_flatten()
                .map(move |batch: Result<_, QueryError>| project(batch?))
                .boxed(),
            schema,
        );
    }
    let limited = stream::try_unfold((merged, limit), |(mut merged, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let next: Option<RecordBatch> = merged.try_next().await?;
        Ok(next.map(|batch| {
            let rows = batch.num_rows().min(left);
            (batch.slice(0, rows), (merged, left - rows))
        }))
    });
    limited
        .map(move |batch: Result<_, QueryError>| project(batch?))
        .boxed()
}

/// The last `limit` rows, turned round. Without a limit of the client's more rows are an error.
async fn newest_first(
    mut merged: Batches,
    limit: usize,
    bounded: bool,
) -> Result<Vec<RecordBatch>, QueryError> {
    let (mut kept, mut rows) = (VecDeque::new(), 0usize);
    while let Some(batch) = merged.try_next().await? {
        rows += batch.num_rows();
        kept.push_back(batch);
        while let Some(first) = kept.front().map(RecordBatch::num_rows) {
            if rows - first < limit {
                break;
            }
            if !bounded {
                return Err(QueryError::TooManyRows { limit });
            }
            kept.pop_front();
            rows -= first;
        }
    }
    let mut left = limit;
    let mut turned = Vec::with_capacity(kept.len());
    for batch in kept.iter().rev() {
        let count = batch.num_rows().min(left);
        let end = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        let start = end - u32::try_from(count).unwrap_or(end);
        let indices = UInt32Array::from_iter_values((start..end).rev());
        turned.push(take_record_batch(batch, &indices)?);
        left -= count;
    }
    Ok(turned)
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
