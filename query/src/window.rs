//! Opening a window: what it holds, whether that is final, and the rows in order.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::control::StreamDef;
use tourbillon_core::filter::KeyPredicate;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::schema::SYSTEM_COLUMNS;
use tourbillon_lake::SegmentRead;

use crate::error::QueryError;
use crate::order;
use crate::params::{Consistency, WindowParams, wrong};
use crate::partition::View;
use crate::plan::{Batches, Plan};
use crate::service::QueryService;

/// Rows of the batches that answers are made of.
pub const ANSWER_ROWS: usize = 8192;

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
        let (mut range, complete_through) = self.range(def, params, wait).await?;
        let complete = range.end.0 <= complete_through.0.saturating_add(1);
        let is_final = complete || broken(Rule::FinalThroughT);
        let mut partitions = self.partitions(def)?;
        if let Some(only) = params.partition {
            partitions.retain(|partition| partition.number.0 == only);
            if partitions.is_empty() {
                return Err(wrong("partition", "the stream has no such partition"));
            }
        }
        let kept_from = partitions.iter().map(|p| p.kept_from()).max();
        range = left(range, kept_from.unwrap_or(Hlc::MIN))?;
        let views = partitions.iter().map(|p| p.view(def.name.as_str(), &range));
        let views: Vec<View> = views.collect::<Result<_, _>>()?;
        let snapshot = partitions
            .iter()
            .zip(&views)
            .map(|(p, v)| (p.number, v.before))
            .collect();
        let plan = Plan {
            lake: self.lake.clone(),
            stream: def.name.clone(),
            read: SegmentRead {
                columns: read_schema(def, params, &keys)?,
                hlc: range,
                keys,
                before: None,
                batch_rows: ANSWER_ROWS,
            },
        };
        let schema = answer_schema(&plan.read.columns, params)?;
        let ordered = if params.descending {
            order::descending(Arc::new(plan), views)
        } else {
            Arc::new(plan).merged(&views)
        };
        let limited = order::limited(ordered, params.limit.unwrap_or(usize::MAX));
        let batches = order::arranged(limited, Arc::clone(&schema), params.descending);
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

/// The part of a window that retention has left. Without a start it begins where rows are left.
fn left(range: Range<Hlc>, kept_from: Hlc) -> Result<Range<Hlc>, QueryError> {
    if range.start <= Hlc::MIN {
        return Ok(kept_from.min(range.end)..range.end);
    }
    if range.start < kept_from {
        return Err(QueryError::Gone { from: kept_from.0 });
    }
    Ok(range)
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
