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
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tourbillon_core::control::StreamDef;
use tourbillon_core::filter::KeyPredicate;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::Offset;
use tourbillon_core::time::format_time_ns;

use super::eager::Eager;
use super::ordered::Ordered;
use super::params::{Begin, SubscribeParams};
use super::place::{Gained, Place};
use super::source::{Source, read_columns};
use super::stretch::Look;
use super::{Event, Feed, STALL};
use crate::encode::{Encoder, OutputFormat};
use crate::error::QueryError;
use crate::http::docs::{LastEventId, RowProblems, StreamName, SubscribeAnswer, SubscribeQuery};
use crate::params::wrong;
use crate::service::QueryService;
use crate::token::Token;

const EVENT_STREAM: &str = "text/event-stream";

/// Longest text that is copied into each subscriber's event.
const COPIED_BYTES: usize = 4096;

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
    let schema = Arc::clone(&feed.source().look.schema);
    let cursor = feed.place().to_string();
    let events = service.begin(feed)?;
    if let Ok(upgrade) = upgrade {
        return Ok(upgrade.on_upgrade(move |socket| converse(socket, events)));
    }
    let (kind, body) = match arrow {
        true => (
            OutputFormat::Arrow.content_type(),
            arrow_body(events, &schema)?,
        ),
        false => (EVENT_STREAM, event_body(events)),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(cursor) = HeaderValue::from_str(&cursor) {
        headers.insert("tourbillon-cursor", cursor);
    }
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
            Begin::Cursor(place) => place.partitions(),
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
        let keys = KeyPredicate::new(def.schema(), &params.window.keys)?;
        let complete = self.wait_complete(def, Hlc::MIN, Instant::now() + WAIT);
        let complete = complete.await?;
        let partitions = self.partitions(def)?;
        let kept_from = partitions.iter().map(|p| p.kept_from()).max();
        let kept_from = kept_from.unwrap_or(Hlc::MIN);
        let source = self.source(def, &params, keys)?;
        let floor = match params.from {
            Begin::Earliest if kept_from > Hlc::MIN => kept_from.plus(-1),
            Begin::Earliest => Hlc::MIN,
            Begin::Latest => complete,
            Begin::Time(time) => Hlc(time.saturating_sub(1)).max(Hlc::MIN),
            Begin::Cursor(_) => Hlc::MIN,
        };
        let feed = match params.from {
            Begin::Cursor(Place::Ordered(key)) => {
                Feed::Ordered(Ordered::after(source, key).at(params.speed))
            }
            Begin::Cursor(Place::Eager(gained)) => Feed::Eager(Eager::new(source, gained)),
            _ if !params.eager => Feed::Ordered(Ordered::above(source, floor).at(params.speed)),
            Begin::Latest => Feed::Eager(Eager::new(source, Gained::everything_in(self.now(def)?))),
            Begin::Earliest | Begin::Time(_) => {
                let nothing = Token {
                    offsets: vec![Offset(0); partitions.len()],
                    complete_through: Some(floor),
                    kept_from: Hlc::MIN,
                    columns: None,
                    after: None,
                };
                Feed::Eager(Eager::new(source, Gained::everything_in(nothing)))
            }
        };
        // what begins now must not end with its first event
        if feed.start() > Hlc::MIN && feed.start() < kept_from {
            return Err(QueryError::Gone { from: kept_from.0 });
        }
        Ok(feed)
    }

    /// What is read, and how the subscriber looks at it.
    fn source(
        &self,
        def: &Arc<StreamDef>,
        params: &SubscribeParams,
        keys: KeyPredicate,
    ) -> Result<Source, QueryError> {
        let stored = def.schema().stored();
        let mut window = params.window.clone();
        let indices = window.columns.iter().map(|name| stored.index_of(name));
        let schema: Schema = stored.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        let look = Look {
            name: format!("{:?} {:?}", window.columns, window.keys).into(),
            keys,
            schema: Arc::new(schema),
        };
        window.columns = read_columns(&window.columns);
        window.wait_ns = 0;
        Ok(Source {
            service: self.clone(),
            def: Arc::clone(def),
            window,
            look,
            seat: None,
        })
    }
}

/// An event in words: its name, its cursor and its members, rows between two halves of them.
struct Told {
    name: &'static str,
    place: Place,
    members: String,
    rows: Bytes,
}

async fn tell(event: Event) -> Result<Told, QueryError> {
    let mut rows = Bytes::new();
    let (name, place, members) = match event {
        Event::Rows {
            rows: cut,
            partition,
            place,
        } => {
            rows = cut.json().await?;
            let members = match partition {
                None => "\"final\":true,\"rows\":".to_owned(),
                Some(p) => format!("\"final\":false,\"partition\":{},\"rows\":", p.0),
            };
            ("rows", place, members)
        }
        Event::Watermark { complete, place } => {
            let time = format_time_ns(complete.0);
            let members = format!("\"complete_through\":\"{time}\"");
            ("watermark", place, members)
        }
        Event::End { reason, place } => ("end", place, format!("\"reason\":{}", json!(reason))),
    };
    Ok(Told {
        name,
        place,
        members,
        rows,
    })
}

fn event_body(events: mpsc::Receiver<Event>) -> Body {
    let texts = stream::try_unfold(events, |mut events| async move {
        let Some(event) = events.recv().await else {
            return Ok(None);
        };
        let told = tell(event).await?;
        let begin = format!(
            "event: {}\nid: {}\ndata: {{{}",
            told.name, told.place, told.members
        );
        Ok::<_, QueryError>(Some((parts(begin, told.rows), events)))
    });
    Body::from_stream(
        texts
            .map_ok(|parts| {
                let parts = parts.into_iter().filter(|part| !part.is_empty());
                stream::iter(parts.map(Ok::<_, QueryError>))
            })
            .try_flatten(),
    )
}

/// The text of an event: many rows, which other subscribers are sent too, are not copied.
fn parts(mut begin: String, rows: Bytes) -> [Bytes; 3] {
    const END: &str = "}\n\n";
    if rows.len() > COPIED_BYTES {
        return [begin.into(), rows, Bytes::from_static(END.as_bytes())];
    }
    begin += &String::from_utf8_lossy(&rows);
    begin += END;
    [begin.into(), Bytes::new(), Bytes::new()]
}

/// Rows in batches; a batch without rows is a heartbeat. The last row's key makes a cursor.
fn arrow_body(events: mpsc::Receiver<Event>, schema: &SchemaRef) -> Result<Body, QueryError> {
    let mut encoder = Encoder::new(OutputFormat::Arrow, schema)?;
    let head = encoder.head();
    let nothing = encoder.encode(&RecordBatch::new_empty(Arc::clone(schema)))?;
    let start = Some((events, encoder));
    let bytes = stream::try_unfold(start, move |state| {
        let nothing = nothing.clone();
        async move {
            let Some((mut events, encoder)) = state else {
                return Ok(None);
            };
            let bytes = match events.recv().await {
                Some(Event::Rows { rows, .. }) => rows.arrow().await?,
                Some(Event::Watermark { .. }) => nothing,
                Some(Event::End { .. }) | None => return Ok(Some((encoder.finish()?, None))),
            };
            Ok::<_, QueryError>(Some((bytes, Some((events, encoder)))))
        }
    });
    let bytes = stream::once(async { Ok(head) }).chain(bytes);
    Ok(Body::from_stream(bytes.boxed()))
}

/// Sends events as messages until there are no more, or the client goes.
async fn converse(mut socket: WebSocket, mut events: mpsc::Receiver<Event>) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                // what clients say is of no interest
                Some(Ok(_)) => continue,
            },
        };
        let told = match event {
            Some(event) => Some(tell(event).await),
            None => None,
        };
        let message = match told {
            None => Message::Close(None),
            Some(Ok(told)) => Message::text(format!(
                "{{\"type\":\"{}\",\"cursor\":\"{}\",{}{}}}",
                told.name,
                told.place,
                told.members,
                String::from_utf8_lossy(&told.rows)
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
