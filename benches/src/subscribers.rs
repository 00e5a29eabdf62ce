//! From the acknowledgement of rows to their subscribers, over TCP, while ticks keep coming.
//!
//! Every row says in which body it was sent. A subscriber notes for each event when it has begun to
//! arrive, and takes the body of its first row, which is the oldest: the delay is the time since
//! that body was acknowledged, or 0 if the event was faster. The floor is the same number of
//! connections, each sent as much text as often, without a pipeline behind.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use futures::future::try_join_all;
use futures::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tourbillon_query::QueryService;

use crate::Figure;
use crate::delay::percentile;
use crate::rig::{Rig, call, serve};

/// Subscribers at a time.
const SUBSCRIBERS: [usize; 3] = [1, 100, 500];

/// Rows of a body, one of each [`TICK`]: 50,000 rows a second.
const BODY_ROWS: usize = 500;

/// See [`BODY_ROWS`].
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Bodies of a measurement, and those before it that do not count.
pub(crate) const BODIES: (usize, usize) = (1000, 200);

/// Symbols; a subscriber follows one of them if there are many subscribers.
const SYMBOLS: usize = 12;

/// Longest that a client waits for the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// When bodies were acknowledged, by number.
type Acks = Arc<Mutex<Vec<Option<Instant>>>>;

pub(crate) async fn measure(folder: &Path, runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for subscribers in SUBSCRIBERS {
        for mode in ["eager", "ordered", "floor"] {
            let names = ["p50", "p99"].map(|p| format!("{subscribers} subscribers, {mode}, {p}"));
            let mut pair = names.map(|name| Figure {
                name,
                unit: "ms",
                values: Vec::new(),
            });
            for _ in 0..runs {
                let delays = match mode {
                    "floor" => floor(subscribers).await,
                    _ => subscribed(folder, mode, subscribers).await,
                };
                let delays =
                    delays.with_context(|| format!("{subscribers} subscribers, {mode}"))?;
                pair[0].values.push(percentile(&delays, 50));
                pair[1].values.push(percentile(&delays, 99));
            }
            figures.extend(pair);
        }
    }
    Ok(figures)
}

/// Delays of every event of every subscriber, ms.
async fn subscribed(folder: &Path, mode: &str, subscribers: usize) -> anyhow::Result<Vec<f64>> {
    let rig = Rig::new(folder).await?;
    let service = QueryService::start(Arc::clone(&rig.log), rig.lake.clone(), rig.control.clone());
    while !service.is_ready() {
        sleep(Duration::from_millis(5)).await;
    }
    let delays = subscribe_to(&service, &rig.router(), mode, subscribers).await?;
    service.end_subscriptions();
    service.shutdown().await;
    rig.close().await?;
    Ok(delays)
}

/// Subscribes to a service that follows what is sent to the gateway.
pub(crate) async fn subscribe_to(
    service: &QueryService,
    gateway: &Router,
    mode: &str,
    subscribers: usize,
) -> anyhow::Result<Vec<f64>> {
    let address = serve(tourbillon_query::http::router(service.clone())).await?;
    let acks: Acks = Arc::new(Mutex::new(vec![None; BODIES.0]));
    let clients = (0..subscribers).map(|number| {
        let key = match subscribers {
            1 => String::new(),
            _ => format!("&key.symbol=S{}", number % SYMBOLS),
        };
        let path = format!(
            "/v1/streams/trades/subscribe?mode={mode}&columns=seq,symbol,price,size,ts_event{key}"
        );
        tokio::spawn(client(address, path, Arc::clone(&acks)))
    });
    let clients: Vec<_> = clients.collect();
    sleep(Duration::from_secs(1)).await;
    feed(gateway, &acks).await?;
    collected(clients).await
}

async fn collected(
    clients: Vec<tokio::task::JoinHandle<anyhow::Result<Vec<f64>>>>,
) -> anyhow::Result<Vec<f64>> {
    let delays = timeout(PATIENCE, try_join_all(clients)).await;
    let delays = delays.context("a subscriber did not get the last body")??;
    let mut all = Vec::new();
    for delays in delays {
        all.extend(delays?);
    }
    ensure!(!all.is_empty(), "no events");
    Ok(all)
}

/// Sends the bodies, each in its time, however long answers take.
async fn feed(gateway: &Router, acks: &Acks) -> anyhow::Result<()> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = Vec::new();
    for number in 0..BODIES.0 {
        ticks.tick().await;
        let (router, acks) = (gateway.clone(), Arc::clone(acks));
        sent.push(tokio::spawn(async move {
            let path = "/v1/streams/trades/events";
            call(&router, path, "application/x-ndjson", Some(body(number))).await?;
            let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
            acks[number] = Some(Instant::now());
            anyhow::Ok(())
        }));
    }
    for answer in try_join_all(sent).await? {
        answer?;
    }
    Ok(())
}

fn body(number: usize) -> Bytes {
    let row = |row: usize| {
        format!(
            "{{\"venue\":\"X\",\"symbol\":\"S{}\",\"ts_event\":{number},\"price\":\"187.{row}\",\"size\":\"100\",\"seq\":{number}}}\n",
            row % SYMBOLS
        )
    };
    (0..BODY_ROWS).map(row).collect::<String>().into()
}

/// Subscribes and reads until the last body has come.
async fn client(address: SocketAddr, path: String, acks: Acks) -> anyhow::Result<Vec<f64>> {
    let mut tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let (mut delays, mut scanner, mut last) = (Vec::new(), Scanner::default(), 0);
    let mut chunk = vec![0; 65_536];
    while last + 1 < BODIES.0 {
        let read = tcp.read(&mut chunk).await?;
        ensure!(read > 0, "the subscription ended");
        let now = Instant::now();
        scanner.scan(&chunk[..read], |number, is_first| {
            last = last.max(number);
            if number >= BODIES.1 && is_first {
                let acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
                let acked = acks.get(number).copied().flatten();
                let delay = acked.map(|acked| now.saturating_duration_since(acked));
                delays.push(delay.unwrap_or_default().as_secs_f64() * 1e3);
            }
        });
    }
    Ok(delays)
}

/// Finds the numbers of the first row and the last one of each event of rows.
#[derive(Default)]
struct Scanner {
    /// The first bytes of a line, and its last.
    begin: Vec<u8>,
    end: Vec<u8>,
    in_rows: bool,
}

/// Bytes of a line that are kept at either end: more than a row.
const KEPT: usize = 256;

impl Scanner {
    fn scan(&mut self, bytes: &[u8], mut found: impl FnMut(usize, bool)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = KEPT - self.begin.len();
            self.begin
                .extend_from_slice(&piece[..room.min(piece.len())]);
            self.end
                .extend_from_slice(&piece[piece.len().saturating_sub(KEPT)..]);
            let excess = self.end.len().saturating_sub(KEPT);
            self.end.drain(..excess);
            if piece.ends_with(b"\n") {
                self.line(&mut found);
                self.begin.clear();
                self.end.clear();
            }
        }
    }

    fn line(&mut self, found: &mut impl FnMut(usize, bool)) {
        let begin = String::from_utf8_lossy(&self.begin);
        if begin.starts_with("event: ") {
            self.in_rows = begin.starts_with("event: rows");
        } else if self.in_rows
            && let Some((_, number)) = begin.split_once("\"seq\":")
        {
            found(leading(number), true);
            let end = String::from_utf8_lossy(&self.end);
            if let Some((_, number)) = end.rsplit_once("\"seq\":") {
                found(leading(number), false);
            }
            self.in_rows = false;
        }
    }
}

fn leading(text: &str) -> usize {
    let digits = text.bytes().take_while(u8::is_ascii_digit);
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

/// Delays without a pipeline: text of the same length to as many connections.
async fn floor(subscribers: usize) -> anyhow::Result<Vec<f64>> {
    let (send, _) = broadcast::channel::<Bytes>(1024);
    let router = Router::new().route("/floor", get(listen));
    let address = serve(router.with_state(send.clone())).await?;
    let acks: Acks = Arc::new(Mutex::new(vec![None; BODIES.0]));
    let clients = (0..subscribers)
        .map(|_| tokio::spawn(client(address, "/floor".to_owned(), Arc::clone(&acks))));
    let clients: Vec<_> = clients.collect();
    sleep(Duration::from_secs(1)).await;
    let rows = if subscribers == 1 {
        BODY_ROWS
    } else {
        BODY_ROWS / SYMBOLS
    };
    let mut ticks = interval(TICK);
    for number in 0..BODIES.0 {
        ticks.tick().await;
        let row = format!(
            "{{\"seq\":{number},\"symbol\":\"S0\",\"price\":\"187.150000000\",\"size\":\"100.000000000\",\"ts_event\":\"1970-01-01T00:00:00.000000001Z\"}}"
        );
        let rows = vec![row; rows].join(",");
        let text =
            format!("event: rows\nid: o1.0-0\ndata: {{\"final\":true,\"rows\":[{rows}]}}\n\n");
        acks.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(Instant::now());
        send.send(text.into()).context("nobody listens")?;
    }
    collected(clients).await
}

async fn listen(State(send): State<broadcast::Sender<Bytes>>) -> Body {
    let texts = stream::unfold(send.subscribe(), |mut texts| async move {
        let text = texts.recv().await.ok()?;
        Some((Ok::<_, std::io::Error>(text), texts))
    });
    Body::from_stream(texts.boxed())
}
