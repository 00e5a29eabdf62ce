//! `GET /v1/asof`: two windows, read side by side and joined.

mod params;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use tourbillon_core::asof::{AsOf, AsOfStep, Side};
use tourbillon_core::control::StreamDef;
use tourbillon_core::hlc::Hlc;

use crate::encode::OutputFormat;
use crate::error::QueryError;
use crate::http::docs::{AsOfQuery, RowProblems, WindowAnswer};
use crate::http::{self, Told};
use crate::params::{Consistency, TimeBasis, WindowParams};
use crate::plan::Batches;
use crate::service::QueryService;
use crate::token::Token;
use crate::token::many::Tokens;
use crate::window::Window;
use params::{AsOfParams, AsOfRequest};

/// Join two streams as of
///
/// Each row of the left window with the newest row of the right stream that is not later and equal
/// in the columns joined on; nulls if there is none.
#[utoipa::path(
    get,
    path = "/v1/asof",
    tag = "rows",
    operation_id = "asof",
    params(AsOfQuery),
    responses(WindowAnswer, RowProblems)
)]
pub(crate) async fn answer(
    State(service): State<QueryService>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let format = http::format_of(&headers)?;
    let request = AsOfRequest::parse(&pairs)?;
    let left = known(&service, &request.left, &request.tokens).await?;
    let right = known(&service, &request.right, &request.tokens).await?;
    let params = request.checked(left.schema(), right.schema())?;
    let streams = (left, right);
    http::planned(|| page(&service, &streams, &params, &pairs, format)).await
}

/// A stream, as new as its token if there is one.
async fn known(
    service: &QueryService,
    stream: &str,
    tokens: &Tokens,
) -> Result<Arc<StreamDef>, QueryError> {
    let def = service.find(stream).await?;
    match tokens.0.get(stream) {
        Some(token) if !token.fits(&def) => service.newest(&def).await,
        _ => Ok(def),
    }
}

async fn page(
    service: &QueryService,
    (left, right): &(Arc<StreamDef>, Arc<StreamDef>),
    params: &AsOfParams,
    pairs: &[(String, String)],
    format: OutputFormat,
) -> Result<Response, QueryError> {
    let mut of_left = params.left.clone();
    let mut of_right = params.right.clone();
    let by_hlc = of_left.time == TimeBasis::Hlc;
    if by_hlc && of_left.end.is_none() && of_left.consistency == Consistency::Final {
        of_left.end = both_complete(service, (left, right), &of_left, &of_right).await?;
        of_right.end = of_left.end;
    }
    let rows = service.window(left, &of_left).await?;
    if left.name == right.name && of_right.snapshot.is_none() {
        of_right.snapshot = Some(rows.token.clone());
    }
    let others = service.window(right, &of_right).await;
    let others = others.map_err(|error| params.told_of_right(error))?;
    let token = |rows: &Token| {
        let of_right = (right.name.to_string(), others.token.clone());
        let of_left = (left.name.to_string(), rows.clone());
        Tokens(BTreeMap::from([of_right, of_left])).to_string()
    };
    let next = rows.next.as_ref();
    let told = Told {
        token: token(&rows.token),
        complete_through: rows.complete_through.min(others.complete_through),
        is_final: rows.is_final && others.is_final,
        next: next.map(|cursor| http::next_page("/v1/asof", pairs, &token(cursor))),
    };
    let (schema, joined) = join(rows, others, params)?;
    http::send(told, &schema, joined, format).await
}

/// The stamp through which both streams are complete, and one more; none if a snapshot does not
/// tell it.
async fn both_complete(
    service: &QueryService,
    (left, right): (&StreamDef, &StreamDef),
    of_left: &WindowParams,
    of_right: &WindowParams,
) -> Result<Option<i64>, QueryError> {
    let wait = Duration::from_nanos(u64::try_from(of_left.wait_ns).unwrap_or(0));
    let until = Instant::now() + wait;
    let mut complete: Option<Hlc> = None;
    for (def, params) in [(left, of_left), (right, of_right)] {
        let through = match &params.snapshot {
            Some(token) => token.complete_through,
            None => Some(service.wait_complete(def, Hlc::MIN, until).await?),
        };
        let Some(through) = through else {
            return Ok(None);
        };
        complete = Some(complete.map_or(through, |one| one.min(through)));
    }
    Ok(complete.map(|through| through.plus(1).0))
}

/// The joined rows and their schema.
fn join(
    left: Window,
    right: Window,
    params: &AsOfParams,
) -> Result<(SchemaRef, Batches), QueryError> {
    let side = |schema: &SchemaRef, time: &String, names: &[(String, String)]| {
        let columns = names.iter();
        let columns = columns.map(|(name, shown)| Ok((schema.index_of(name)?, shown.clone())));
        Ok::<_, QueryError>(Side {
            schema: Arc::clone(schema),
            time: time.clone(),
            columns: columns.collect::<Result<_, QueryError>>()?,
        })
    };
    let of_left = side(&left.schema, &params.left_time, &params.left_columns)?;
    let of_right = side(&right.schema, &params.right_time, &params.right_columns)?;
    let join = AsOf::new(of_left, of_right, &params.on, params.tolerance_ns)?;
    let schema = Arc::clone(join.schema());
    let start = (join, left.batches, right.batches);
    let rows = stream::try_unfold(start, |(mut join, mut left, mut right)| async move {
        loop {
            match join.step()? {
                AsOfStep::NeedLeft => match left.try_next().await? {
                    Some(batch) => join.push_left(batch)?,
                    None => join.finish_left(),
                },
                AsOfStep::NeedRight => {
                    tokio::task::yield_now().await;
                    match right.try_next().await? {
                        Some(batch) => join.push_right(batch)?,
                        None => join.finish_right(),
                    }
                }
                AsOfStep::Batch(batch) => return Ok(Some((batch, (join, left, right)))),
                AsOfStep::Done => return Ok::<_, QueryError>(None),
            }
        }
    });
    Ok((schema, rows.boxed()))
}
