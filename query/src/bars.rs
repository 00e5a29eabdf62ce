//! `GET /v1/streams/{stream}/bars`: a window folded into bars as it is read.

mod params;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::future::ready;
use futures::{StreamExt, TryStreamExt, stream};
use tourbillon_core::bars::BarFold;
use tourbillon_core::control::StreamDef;

use crate::encode::OutputFormat;
use crate::error::QueryError;
use crate::http::docs::{BarsQuery, RowProblems, StreamName, WindowAnswer};
use crate::http::{self, Told};
use crate::order;
use crate::plan::Batches;
use crate::service::QueryService;
use crate::window::{ANSWER_ROWS, MAX_PAGE_ROWS};
use params::{BarPlace, BarsCursor, BarsParams};

/// Batches of rows after which bars are sent however few they are. It begins with one, for the first
/// bars to come at once, and doubles up to this. Batches are cut by their rows alone, so answers are.
const MOST_PATIENCE: usize = 128;

/// Read bars
///
/// Open, high, low, close, volume, notional, vwap and count of the trades of each key in each
/// interval that has any, in the order of time, then key.
#[utoipa::path(
    get,
    path = "/v1/streams/{stream}/bars",
    tag = "rows",
    operation_id = "bars",
    params(StreamName, BarsQuery),
    responses(WindowAnswer, RowProblems)
)]
pub(crate) async fn answer(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let format = http::format_of(&headers)?;
    let def = service.find(&stream).await?;
    let def = service.as_new_as(def, &params::tokens(&pairs)).await?;
    let params = BarsParams::parse(&pairs, def.schema())?;
    http::planned(|| page(&service, &def, &params, &pairs, format)).await
}

async fn page(
    service: &QueryService,
    def: &Arc<StreamDef>,
    params: &BarsParams,
    pairs: &[(String, String)],
    format: OutputFormat,
) -> Result<Response, QueryError> {
    let window = service.window(def, &params.narrowed()).await?;
    let descending = params.window.descending;
    let fold = BarFold::new(
        params.columns.clone(),
        &params.time,
        params.interval_ns,
        descending,
    )?;
    let bars = beyond(folded(window.batches, fold), params.after, descending);
    let (bars, last) = match params.limit {
        None => (bars, None),
        Some(limit) if limit <= MAX_PAGE_ROWS => cut(bars, limit, params.after).await?,
        Some(limit) => (order::limited(bars, limit), None),
    };
    let path = format!("/v1/streams/{}/bars", def.name);
    let next = last.map(|after| {
        let token = window.token.clone();
        let cursor = BarsCursor { token, after };
        http::next_page(&path, pairs, &cursor.to_string())
    });
    let told = Told {
        token: window.token.to_string(),
        complete_through: window.complete_through,
        is_final: window.is_final,
        next,
    };
    http::send(told, params.columns.schema(), bars, format).await
}

struct Folding {
    rows: Option<Batches>,
    fold: BarFold,
    /// Batches of rows since bars were sent.
    waited: usize,
    /// Batches of rows after which bars are sent.
    patience: usize,
}

/// Bars of rows in order.
fn folded(rows: Batches, fold: BarFold) -> Batches {
    let start = Folding {
        rows: Some(rows),
        fold,
        waited: 0,
        patience: 1,
    };
    let bars = stream::try_unfold(start, |mut state| async move {
        let bars = state.next().await?;
        Ok::<_, QueryError>(bars.map(|bars| (bars, state)))
    });
    bars.boxed()
}

impl Folding {
    async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        loop {
            let done = self.fold.done();
            let tired = self.rows.is_none() || self.waited >= self.patience;
            if done >= ANSWER_ROWS || (tired && done > 0) {
                if tired {
                    self.patience = (2 * self.patience).min(MOST_PATIENCE);
                    self.waited = 0;
                }
                return Ok(Some(self.fold.take(ANSWER_ROWS)?));
            }
            let Some(rows) = &mut self.rows else {
                return Ok(None);
            };
            match rows.try_next().await? {
                Some(batch) => {
                    self.fold.push(&batch)?;
                    self.waited += 1;
                    tokio::task::yield_now().await;
                }
                None => {
                    self.rows = None;
                    self.fold.finish()?;
                }
            }
        }
    }
}

fn starts(bars: &RecordBatch) -> &[i64] {
    bars.column(0)
        .as_primitive::<TimestampNanosecondType>()
        .values()
}

/// The bars after those that earlier pages gave.
fn beyond(bars: Batches, given: Option<BarPlace>, descending: bool) -> Batches {
    let Some(place) = given else { return bars };
    let mut same = place.given;
    let left = bars.map_ok(move |batch| {
        let starts = starts(&batch);
        let earlier = starts.partition_point(|start| match descending {
            false => *start < place.start,
            true => *start > place.start,
        });
        let here = starts[earlier..].iter().take(same);
        let here = here.take_while(|start| **start == place.start).count();
        same -= here;
        batch.slice(earlier + here, batch.num_rows() - earlier - here)
    });
    left.try_filter(|batch| ready(batch.num_rows() > 0)).boxed()
}

/// The first `limit` bars, and where to go on if there are more.
async fn cut(
    mut bars: Batches,
    limit: usize,
    given: Option<BarPlace>,
) -> Result<(Batches, Option<BarPlace>), QueryError> {
    let (mut held, mut left, mut more) = (Vec::new(), limit, false);
    let mut last = given;
    while let Some(batch) = bars.try_next().await? {
        more = batch.num_rows() > left;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        for start in starts(&batch) {
            let same = last.filter(|last| last.start == *start);
            last = Some(BarPlace {
                start: *start,
                given: same.map_or(0, |same| same.given) + 1,
            });
        }
        held.push(batch);
        if more {
            break;
        }
    }
    let batches = held
        .into_iter()
        .filter(|batch| batch.num_rows() > 0)
        .map(Ok);
    Ok((stream::iter(batches).boxed(), last.filter(|_| more)))
}
