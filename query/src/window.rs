//! Opening a window: what it holds, whether that is final, and the rows in order.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use tokio::time::Instant;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::control::StreamDef;
use tourbillon_core::filter::{EventTimes, KeyPredicate};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::schema::SYSTEM_COLUMNS;
use tourbillon_lake::SegmentRead;

use crate::error::QueryError;
use crate::order::{self, Cut, Order};
use crate::params::{Consistency, TimeBasis, WindowParams, wrong};
use crate::partition::View;
use crate::plan::{Batches, Plan};
use crate::service::QueryService;
use crate::token::{RowPlace, Token};

/// Rows of the batches that answers are made of.
pub const ANSWER_ROWS: usize = 8192;

/// Rows that are decoded at a time at least: filters may leave few of them.
const LEAST_ROWS: usize = 256;

/// Rows of a window of few: what is decoded for it is kept for the next.
const FEW_ROWS: usize = 16_384;

/// Longest page that is told to have a next one: it is read before it is answered, so that the
/// headers can say so.
pub const MAX_PAGE_ROWS: usize = 65_536;

/// A window, ready to be read.
pub struct Window {
    /// Schema of the batches.
    pub schema: SchemaRef,
    /// T when the window was opened, or in its snapshot.
    pub complete_through: Hlc,
    /// Whether the same window will give the same rows for ever.
    pub is_final: bool,
    /// The rows that it holds: those below the offset in each partition.
    pub snapshot: Vec<(PartitionId, Offset)>,
    /// What gives the same rows again.
    pub token: Token,
    /// What gives the rows that a limit of at most [`MAX_PAGE_ROWS`] left out.
    pub next: Option<Token>,
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

/// The stamps to read, and T for them.
pub(crate) struct Span {
    pub(crate) hlc: Range<Hlc>,
    pub(crate) complete: Hlc,
}

impl Span {
    fn is_final(&self) -> bool {
        let complete = self.hlc.end.0 <= self.complete.0.saturating_add(1);
        complete || broken(Rule::FinalThroughT)
    }
}

impl QueryService {
    /// Opens a window of a stream.
    pub async fn window(
        &self,
        def: &Arc<StreamDef>,
        params: &WindowParams,
    ) -> Result<Window, QueryError> {
        self.window_cut(def, params, Cut::LARGE).await
    }

    /// Opens a window whose rows come in batches cut as said.
    pub(crate) async fn window_cut(
        &self,
        def: &Arc<StreamDef>,
        params: &WindowParams,
        cut: Cut,
    ) -> Result<Window, QueryError> {
        let keys = KeyPredicate::new(def.schema(), &params.keys)?;
        let wait = Duration::from_nanos(u64::try_from(params.wait_ns).unwrap_or(0));
        let until = Instant::now() + wait;
        self.follow_far_enough(def, params, until).await?;
        let span = match &params.snapshot {
            Some(token) => span_of(token, params)?,
            None => self.span(def, params, until).await?,
        };
        // an event that is late may still come, however far the stream is complete
        let is_final = params.time == TimeBasis::Hlc && span.is_final();
        let look = self.look(def, params, &keys, &span)?;
        let (views, token) = (look.views, look.token);
        let plan = self.plan(def, params, keys, look.hlc, &views);
        let schema = answer_schema(&plan.read.columns, params)?;
        let order = order_of(&plan, params)?;
        let (batches, last) = rows(plan, views, order, params, cut).await?;
        let next = last.map(|place| Token {
            after: Some(place),
            ..token.clone()
        });
        let uneven = !order.is_merged() || params.after.is_some();
        let uneven = uneven.then_some(cut);
        Ok(Window {
            batches: order::arranged(batches, Arc::clone(&schema), uneven),
            schema,
            complete_through: span.complete,
            is_final,
            snapshot: look.snapshot,
            token,
            next,
        })
    }

    /// How to read the rows.
    fn plan(
        &self,
        def: &StreamDef,
        params: &WindowParams,
        keys: KeyPredicate,
        hlc: Range<Hlc>,
        views: &[View],
    ) -> Arc<Plan> {
        let event = params.event_times(def.schema());
        let few = few(params, views, &hlc);
        Arc::new(Plan {
            lake: self.lake.clone(),
            stream: def.name.clone(),
            read: SegmentRead {
                columns: read_schema(def, params, event.as_ref()),
                hlc,
                keys,
                event,
                before: None,
                batch_rows: batch_rows(params.limit, if few { views.len() } else { 1 }),
                first_rows: params.limit.unwrap_or(ANSWER_ROWS),
                few,
                ahead: params.limit.is_none() && !few,
            },
        })
    }

    /// Waits until the node knows all rows of the snapshot, and as much as the client has seen.
    async fn follow_far_enough(
        &self,
        def: &StreamDef,
        params: &WindowParams,
        until: Instant,
    ) -> Result<(), QueryError> {
        let known = |partition: u32| partition < def.partitions;
        if let Some(token) = &params.snapshot {
            if !token.fits(def) {
                return Err(wrong("snapshot", "the stream has fewer partitions"));
            }
            self.wait_reached(def, &token.positions(), until).await?;
        }
        if !params.at_least.keys().all(|partition| known(partition.0)) {
            return Err(wrong("at_least", "the stream has fewer partitions"));
        }
        self.wait_reached(def, &params.at_least, until).await
    }

    /// The stamps to read of what is there now.
    async fn span(
        &self,
        def: &StreamDef,
        params: &WindowParams,
        until: Instant,
    ) -> Result<Span, QueryError> {
        let complete = match (params.consistency, params.end) {
            (Consistency::Final, Some(end)) => {
                let through = Hlc(end.saturating_sub(1));
                let complete = self.wait_complete(def, through, until).await?;
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
            _ => self.wait_complete(def, Hlc::MIN, until).await?,
        };
        Ok(spanning(params, complete))
    }
}

/// The stamps to read of a snapshot, and its own T: that of the node may lie above rows which came
/// after it.
fn span_of(token: &Token, params: &WindowParams) -> Result<Span, QueryError> {
    let complete = token.complete_through;
    let span = spanning(params, complete.unwrap_or(Hlc::MIN));
    // a window by event time holds stamps through T, and must not end above it either
    let end = params
        .end
        .map_or(span.hlc.end, |end| span.hlc.end.max(Hlc(end)));
    let within = complete.is_some_and(|t| end.0 <= t.0.saturating_add(1));
    if params.consistency == Consistency::Final && !within {
        let complete_through = complete.map(|t| t.0);
        return Err(QueryError::BeyondSnapshot { complete_through });
    }
    Ok(span)
}

fn spanning(params: &WindowParams, complete: Hlc) -> Span {
    let (start, end) = params.stamps();
    let end = match (params.consistency, end) {
        (_, Some(end)) => end,
        (Consistency::Final, None) => complete.plus(1),
        (Consistency::Latest, None) => Hlc(i64::MAX),
    };
    let hlc = start.min(end)..end;
    Span { hlc, complete }
}

/// The part of a window that retention has left. Without a start it begins where rows are left, or
/// were when the snapshot was taken.
pub(crate) fn left(
    range: Range<Hlc>,
    kept_from: Hlc,
    params: &WindowParams,
) -> Result<Range<Hlc>, QueryError> {
    let snapshot = params.snapshot.as_ref();
    let from = snapshot.map_or(kept_from, |token| token.kept_from);
    let start = if range.start <= Hlc::MIN {
        from
    } else {
        range.start
    };
    if start < kept_from {
        let from = kept_from.0;
        return Err(match params.time {
            TimeBasis::Hlc => QueryError::Gone { from },
            TimeBasis::Event => QueryError::SnapshotGone { from },
        });
    }
    Ok(start.min(range.end)..range.end)
}

/// The part of a window from the stamp of a row that was given on; all of a window by event time,
/// where stamps say nothing about what follows.
pub(crate) fn beyond(range: Range<Hlc>, params: &WindowParams) -> Range<Hlc> {
    let after = params.after.filter(|_| params.time == TimeBasis::Hlc);
    match (after.map(|after| after.key.hlc), params.descending) {
        (None, _) => range,
        (Some(hlc), false) => range.start.max(hlc).min(range.end)..range.end,
        (Some(hlc), true) => range.start..hlc.plus(1).min(range.end).max(range.start),
    }
}

/// The order that is asked for.
fn order_of(plan: &Plan, params: &WindowParams) -> Result<Order, QueryError> {
    let event = plan.read.event.as_ref();
    let event = event.map(|event| plan.read.columns.index_of(&event.column));
    Ok(Order {
        descending: params.descending,
        event: event.transpose()?,
    })
}

/// The rows in order, up to the limit; if that cut them off, the last one's place.
async fn rows(
    plan: Arc<Plan>,
    views: Vec<View>,
    order: Order,
    params: &WindowParams,
    cut: Cut,
) -> Result<(Batches, Option<RowPlace>), QueryError> {
    let mut ordered = order::ordered(plan, views, order, cut.up_to(params.limit));
    if let Some(place) = params.after {
        ordered = order::after(ordered, place, order);
    }
    match params.limit {
        None => Ok((ordered, None)),
        Some(limit) if limit <= MAX_PAGE_ROWS => order::page(ordered, limit, order).await,
        Some(limit) => Ok((order::limited(ordered, limit), None)),
    }
}

/// Rows that are decoded at a time: no more of an input than the answer can take, and where they are
/// at hand, not much more than its share of the answer.
fn batch_rows(limit: Option<usize>, inputs: usize) -> usize {
    let share = |limit: usize| match inputs {
        0 | 1 => limit,
        inputs => limit.saturating_mul(2) / inputs,
    };
    limit.map_or(ANSWER_ROWS, |limit| {
        share(limit).clamp(LEAST_ROWS, ANSWER_ROWS)
    })
}

/// Whether a window has few rows, by its limit or by estimate.
fn few(params: &WindowParams, views: &[View], hlc: &Range<Hlc>) -> bool {
    let last = hlc.end.0.saturating_sub(1);
    let extents = views.iter().flat_map(View::extents);
    let rows = || {
        extents
            .map(|extent| extent.estimate((hlc.start.0, last)))
            .sum::<f64>()
    };
    params.limit.is_some_and(|limit| limit <= FEW_ROWS) || rows() <= FEW_ROWS as f64
}

/// What the order needs, which is the key at least, and what the answer does.
fn read_schema(def: &StreamDef, params: &WindowParams, event: Option<&EventTimes>) -> SchemaRef {
    let stored = def.schema().stored();
    let wanted = |name: &str| {
        SYSTEM_COLUMNS[..2].contains(&name)
            || params.columns.iter().any(|column| column == name)
            || event.is_some_and(|event| event.column == name)
    };
    let fields = stored
        .fields()
        .iter()
        .filter(|field| wanted(field.name()))
        .cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn answer_schema(read: &SchemaRef, params: &WindowParams) -> Result<SchemaRef, QueryError> {
    let indices = params.columns.iter().map(|name| read.index_of(name));
    Ok(Arc::new(
        read.project(&indices.collect::<Result<Vec<_>, _>>()?)?,
    ))
}
