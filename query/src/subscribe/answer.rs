//! Subscriptions over HTTP: server-sent events, WebSocket and Arrow.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use axum::body::Body;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tourbillon_core::control::StreamDef;
use tourbillon_core::filter::KeyPredicate;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::Offset;
use tourbillon_core::schema::SYSTEM_COLUMNS;
use tourbillon_core::time::format_time_ns;

use super::eager::Eager;
use super::ordered::Ordered;
use super::params::{From, SubscribeParams};
use super::place::{Gained, Place};
use super::{Event, Feed, STALL, Source};
use crate::encode::{Encoder, OutputFormat};
use crate::error::QueryError;
use crate::http::docs::{LastEventId, RowProblems, StreamName, SubscribeAnswer, SubscribeQuery};
use crate::params::wrong;
use crate::service::QueryService;
use crate::token::Token;

const EVENT_STREAM: &str = "text/event-stream";

/// How long to wait until T is known, when a subscription begins with it.
const WAIT: Duration = Duration::from_secs(2);

/// Subscribe to a stream
///
/// History and then live, without a gap and without a repeat, as server-sent events, as a
/// WebSocket if one is asked for, or as an Arrow stream. Events are `rows`, `watermark` (at least
/// once a second) and `end`; the `id` of each is a cursor from which another subscription goes on.
#[utoipa::path(
    get,
    path = "/v1/streams/{stream}/subscribe",
    tag = "rows",
    params(StreamName, SubscribeQuery, LastEventId),
    responses(SubscribeAnswer, RowProblems)
)]
pub(crate) async fn answer(
    State(service): State<QueryService>,
    Path(stream): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, QueryError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let last_event = text(header::HeaderName::from_static("last-event-id"));
    let accept = text(header::ACCEPT);
    let arrow = upgrade.is_err() && wants_arrow(accept)?;
    let def = service.find(&stream).await?;
    let params = SubscribeParams::parse(&pairs, last_event, def.schema())?;
    if arrow && params.eager {
        return Err(wrong("mode", "an Arrow stream is always ordered"));
    }
    let def = service.known_to(def, &params).await?;
    let feed = service.feed(&def, params).await?;
    let schema = feed.schema();
    let events = service.begin(feed)?;
    if let Ok(upgrade) = upgrade {
        return Ok(upgrade.on_upgrade(move |socket| converse(socket, events, schema)));
    }
    let (kind, body) = match arrow {
        true => (
            OutputFormat::Arrow.content_type(),
            arrow_body(events, &schema)?,
        ),
        false => (EVENT_STREAM, event_body(events, schema)),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The first type of an `Accept` header that there is.
fn wants_arrow(accept: Option<&str>) -> Result<bool, QueryError> {
    let Some(accept) = accept else {
        return Ok(false);
    };
    let kinds = accept.split(',').map(|range| {
        let (kind, _) = range.split_once(';').unwrap_or((range, ""));
        kind.trim().to_ascii_lowercase()
    });
    let known = |kind: String| match kind.as_str() {
        "" | "*/*" | "text/*" | EVENT_STREAM => Some(false),
        _ if kind == OutputFormat::Arrow.content_type() => Some(true),
        _ => None,
    };
    let unknown = || QueryError::EventFormat(accept.chars().take(80).collect());
    kinds.into_iter().find_map(known).ok_or_else(unknown)
}

impl Feed {
    fn schema(&self) -> SchemaRef {
        match self {
            Self::Ordered(feed) => feed.schema(),
            Self::Eager(feed) => feed.schema(),
        }
    }

    fn start(&self) -> Hlc {
        match self {
            Self::Ordered(feed) => feed.start(),
            Self::Eager(feed) => feed.start(),
        }
    }
}

impl QueryService {
    /// The stream with all partitions that a cursor knows of.
    async fn known_to(
        &self,
        def: Arc<StreamDef>,
        params: &SubscribeParams,
    ) -> Result<Arc<StreamDef>, QueryError> {
        let known = match &params.from {
            From::Cursor(place) => place.partitions(),
            _ => 0,
        };
        if known <= def.partitions as usize {
            return Ok(def);
        }
        let def = self.newest(&def).await?;
        match known <= def.partitions as usize {
            true => Ok(def),
            false => Err(wrong(
                "from",
                "the stream has fewer partitions than the cursor",
            )),
        }
    }

    /// A subscription at its beginning.
    async fn feed(
        &self,
        def: &Arc<StreamDef>,
        params: SubscribeParams,
    ) -> Result<Feed, QueryError> {
        KeyPredicate::new(def.schema(), &params.window.keys)?;
        let complete = self.wait_complete(def, Hlc::MIN, Instant::now() + WAIT);
        let complete = complete.await?;
        let partitions = self.partitions(def)?;
        let kept_from = partitions.iter().map(|p| p.kept_from()).max();
        let kept_from = kept_from.unwrap_or(Hlc::MIN);
        let source = self.source(def, &params)?;
        let floor = match params.from {
            From::Earliest if kept_from > Hlc::MIN => kept_from.plus(-1),
            From::Earliest => Hlc::MIN,
            From::Latest => complete,
            From::Time(time) => Hlc(time.saturating_sub(1)).max(Hlc::MIN),
            From::Cursor(_) => Hlc::MIN,
        };
        let feed = match params.from {
            From::Cursor(Place::Ordered(key)) => {
                Feed::Ordered(Ordered::after(source, key).at(params.speed))
            }
            From::Cursor(Place::Eager(gained)) => Feed::Eager(Eager::new(source, gained)),
            _ if !params.eager => Feed::Ordered(Ordered::above(source, floor).at(params.speed)),
            From::Latest => Feed::Eager(Eager::new(source, gained(self.now(def)?))),
            From::Earliest | From::Time(_) => {
                let nothing = Token {
                    offsets: vec![Offset(0); partitions.len()],
                    complete_through: Some(floor),
                    kept_from: Hlc::MIN,
                    columns: None,
                    after: None,
                };
                Feed::Eager(Eager::new(source, gained(nothing)))
            }
        };
        // what begins now must not end with its first event
        if feed.start() > Hlc::MIN && feed.start() < kept_from {
            return Err(QueryError::Gone { from: kept_from.0 });
        }
        Ok(feed)
    }

    /// What is read: the key and the offset too, to know where the subscriber stands.
    fn source(&self, def: &Arc<StreamDef>, params: &SubscribeParams) -> Result<Source, QueryError> {
        let stored = def.schema().stored();
        let asked = &params.window.columns;
        let indices = asked.iter().map(|name| stored.index_of(name));
        let schema: Schema = stored.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        let own = asked
            .iter()
            .filter(|name| !SYSTEM_COLUMNS.contains(&name.as_str()));
        let read = SYSTEM_COLUMNS.iter().map(|name| (*name).to_owned());
        let mut window = params.window.clone();
        window.columns = read.chain(own.cloned()).collect();
        window.wait_ns = 0;
        Ok(Source {
            service: self.clone(),
            def: Arc::clone(def),
            window,
            schema: Arc::new(schema),
        })
    }
}

fn gained(seen: Token) -> Gained {
    Gained {
        seen: Token {
            kept_from: Hlc::MIN,
            columns: None,
            ..seen
        },
        under_way: None,
    }
}

/// An event in words: its name, its cursor and its members.
struct Told {
    name: &'static str,
    place: Place,
    members: String,
}

fn tell(event: Event, schema: &SchemaRef) -> Result<Told, QueryError> {
    let (name, place, members) = match event {
        Event::Rows {
            rows,
            partition,
            place,
        } => {
            let rows = json_rows(&rows, schema)?;
            let members = match partition {
                None => format!("\"final\":true,\"rows\":{rows}"),
                Some(p) => format!("\"final\":false,\"partition\":{},\"rows\":{rows}", p.0),
            };
            ("rows", place, members)
        }
        Event::Watermark { complete, place } => {
            let time = format_time_ns(complete.0);
            (
                "watermark",
                place,
                format!("\"complete_through\":\"{time}\""),
            )
        }
        Event::End { reason, place } => ("end", place, format!("\"reason\":{}", json!(reason))),
    };
    Ok(Told {
        name,
        place,
        members,
    })
}

/// A JSON array in one line.
fn json_rows(rows: &RecordBatch, schema: &SchemaRef) -> Result<String, QueryError> {
    let mut encoder = Encoder::new(OutputFormat::Json, schema)?;
    let mut text = encoder.encode(rows)?.to_vec();
    text.extend_from_slice(&encoder.finish()?);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn event_body(events: mpsc::Receiver<Event>, schema: SchemaRef) -> Body {
    let texts = stream::try_unfold((events, schema), |(mut events, schema)| async move {
        let Some(event) = events.recv().await else {
            return Ok(None);
        };
        let told = tell(event, &schema)?;
        let text = format!(
            "event: {}\nid: {}\ndata: {{{}}}\n\n",
            told.name, told.place, told.members
        );
        Ok::<_, QueryError>(Some((Bytes::from(text), (events, schema))))
    });
    Body::from_stream(texts)
}

/// Rows in batches; a batch without rows is a heartbeat. The last row's key makes a cursor.
fn arrow_body(events: mpsc::Receiver<Event>, schema: &SchemaRef) -> Result<Body, QueryError> {
    let encoder = Encoder::new(OutputFormat::Arrow, schema)?;
    let nothing = RecordBatch::new_empty(Arc::clone(schema));
    let start = Some((events, encoder));
    let bytes = stream::try_unfold(start, move |state| {
        let nothing = nothing.clone();
        async move {
            let Some((mut events, mut encoder)) = state else {
                return Ok(None);
            };
            let rows = match events.recv().await {
                Some(Event::Rows { rows, .. }) => rows,
                Some(Event::Watermark { .. }) => nothing,
                Some(Event::End { .. }) | None => return Ok(Some((encoder.finish()?, None))),
            };
            let bytes = encoder.encode(&rows)?;
            Ok::<_, QueryError>(Some((bytes, Some((events, encoder)))))
        }
    });
    Ok(Body::from_stream(bytes.boxed()))
}

/// Sends events as messages until there are no more, or the client goes.
async fn converse(mut socket: WebSocket, mut events: mpsc::Receiver<Event>, schema: SchemaRef) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                // what clients say is of no interest
                Some(Ok(_)) => continue,
            },
        };
        let message = match event.map(|event| tell(event, &schema)) {
            None => Message::Close(None),
            Some(Ok(told)) => Message::text(format!(
                "{{\"type\":\"{}\",\"cursor\":\"{}\",{}}}",
                told.name, told.place, told.members
            )),
            Some(Err(error)) => {
                tracing::error!(%error, "subscription broken off");
                return;
            }
        };
        let last = matches!(message, Message::Close(_));
        // a client that takes nothing for longer than the queue waits will not take the end either
        let sent = timeout(STALL * 2, socket.send(message)).await;
        if last || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}
