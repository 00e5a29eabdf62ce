//! Many small windows at once: through the router in this process, and over TCP. The floor is a
//! service that has the answers ready and only sends them.
//!
//! Before a time counts, each answer is held against the same rows of the window over everything,
//! which takes another way through the service.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::Request;
use axum::routing::get;
use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tourbillon_core::time::format_time_ns;
use tower::ServiceExt;

use crate::delay::percentile;
use crate::rig::{call, serve};
use crate::windows::WINDOW;
use crate::{Figure, rate};

/// Rows of a window.
pub(crate) const ROWS: usize = 1000;

/// Clients that ask at the same time, and windows that each asks for.
const CLIENTS: (usize, usize) = (32, 100);

/// Longest answer, bytes.
const MOST_BYTES: usize = 4 << 20;

/// Digest of an answer by the stamp where it begins.
type Answers = BTreeMap<i64, u64>;

/// Small windows that begin at some stamps.
pub(crate) struct Small {
    service: Router,
    at: SocketAddr,
    floor: SocketAddr,
    answers: Arc<Answers>,
    pub(crate) figures: Vec<Figure>,
}

impl Small {
    pub(crate) async fn new(service: &Router, stamps: &[i64]) -> anyhow::Result<Self> {
        let answers = expected(service, stamps).await?;
        let some = *answers.keys().next().context("no stamps")?;
        let ready = call(service, &path(some), "", None).await?;
        let floor = Router::new()
            .route(WINDOW, get(answer_ready))
            .with_state(ready);
        let mut figures = Vec::new();
        for way in ["in process", "over TCP", "floor over TCP"] {
            for (what, unit) in [("rate", "windows/s"), ("p50", "ms"), ("p99", "ms")] {
                let name = format!("{ROWS} rows, {} clients, {way}, {what}", CLIENTS.0);
                figures.push(Figure::new(&name, unit));
            }
        }
        Ok(Self {
            service: service.clone(),
            at: serve(service.clone()).await?,
            floor: serve(floor).await?,
            answers: Arc::new(answers),
            figures,
        })
    }

    pub(crate) async fn run(&mut self) -> anyhow::Result<()> {
        for (place, way) in [None, Some(self.at), Some(self.floor)]
            .into_iter()
            .enumerate()
        {
            let begun = Instant::now();
            let clients = (0..CLIENTS.0).map(|number| {
                let client = client(self.service.clone(), way, Arc::clone(&self.answers), number);
                tokio::spawn(client)
            });
            let mut took = Vec::new();
            for client in try_join_all(clients).await? {
                took.extend(client?);
            }
            let figures = &mut self.figures[3 * place..];
            figures[0].values.push(rate(took.len(), begun.elapsed()));
            figures[1].values.push(percentile(&took, 50));
            figures[2].values.push(percentile(&took, 99));
            // every answer right, each once after the clock stopped
            if way != Some(self.floor) {
                self.check(way).await?;
            }
        }
        Ok(())
    }

    async fn check(&self, way: Option<SocketAddr>) -> anyhow::Result<()> {
        let mut link = Link::new(&self.service, way).await?;
        for (start, digest) in self.answers.iter() {
            let answer = link.get(*start).await?;
            ensure!(
                digest_of(&answer) == *digest,
                "the window at {start} differs"
            );
        }
        Ok(())
    }
}

async fn answer_ready(State(ready): State<Bytes>, _: Query<BTreeMap<String, String>>) -> Bytes {
    ready
}

fn path(start: i64) -> String {
    format!("{WINDOW}?start={start}&limit={ROWS}")
}

fn digest_of(text: &[u8]) -> u64 {
    let mut digest = std::hash::DefaultHasher::new();
    digest.write(text);
    digest.finish()
}

/// What each answer must be: the lines from its stamp on in the window over everything.
async fn expected(service: &Router, stamps: &[i64]) -> anyhow::Result<Answers> {
    let request = Request::get(WINDOW).body(Body::empty())?;
    let mut body = service.clone().oneshot(request).await?.into_body();
    let mut stamps: Vec<i64> = stamps.to_vec();
    stamps.sort_unstable();
    stamps.dedup();
    let begins = |stamp: &i64| format!("{{\"hlc\":\"{}\"", format_time_ns(*stamp));
    let mut next = stamps
        .iter()
        .map(|stamp| (*stamp, begins(stamp)))
        .peekable();
    let (mut open, mut answers) = (Vec::<(i64, usize, Vec<u8>)>::new(), Answers::new());
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        rest.extend_from_slice(frame?.data_ref().map_or(&[], |data| &data[..]));
        let end = rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        for line in rest[..end].split_inclusive(|byte| *byte == b'\n') {
            if let Some((stamp, _)) = next.next_if(|(_, text)| line.starts_with(text.as_bytes())) {
                open.push((stamp, 0, Vec::new()));
            }
            for (_, lines, text) in &mut open {
                *lines += 1;
                text.extend_from_slice(line);
            }
            if let Some(done) = open.first().filter(|(_, lines, _)| *lines == ROWS) {
                answers.insert(done.0, digest_of(&done.2));
                open.remove(0);
            }
        }
        rest.drain(..end);
    }
    ensure!(next.peek().is_none(), "a stamp has no row");
    Ok(answers)
}

/// What each of a client's windows took, ms.
async fn client(
    service: Router,
    at: Option<SocketAddr>,
    answers: Arc<Answers>,
    number: usize,
) -> anyhow::Result<Vec<f64>> {
    let stamps: Vec<i64> = answers.keys().copied().collect();
    let mut link = Link::new(&service, at).await?;
    let mut took = Vec::with_capacity(CLIENTS.1);
    for window in 0..CLIENTS.1 {
        let start = stamps[(number * 104_729 + window * 7919) % stamps.len()];
        let begun = Instant::now();
        let answer = link.get(start).await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        let lines = answer.iter().filter(|byte| **byte == b'\n').count();
        ensure!(lines == ROWS, "{lines} rows");
    }
    Ok(took)
}

/// How a client asks.
enum Link {
    Here(Router),
    There { socket: TcpStream, read: Vec<u8> },
}

impl Link {
    async fn new(service: &Router, at: Option<SocketAddr>) -> anyhow::Result<Self> {
        let Some(at) = at else {
            return Ok(Self::Here(service.clone()));
        };
        let socket = TcpStream::connect(at).await?;
        socket.set_nodelay(true)?;
        let read = Vec::new();
        Ok(Self::There { socket, read })
    }

    async fn get(&mut self, start: i64) -> anyhow::Result<Bytes> {
        match self {
            Self::Here(router) => call(router, &path(start), "", None).await,
            Self::There { socket, read } => {
                let request = format!("GET {} HTTP/1.1\r\nhost: bench\r\n\r\n", path(start));
                socket.write_all(request.as_bytes()).await?;
                answer(socket, read).await
            }
        }
    }
}

/// Reads one answer; `read` has what came after the one before.
async fn answer(socket: &mut TcpStream, read: &mut Vec<u8>) -> anyhow::Result<Bytes> {
    loop {
        if let Some((body, used)) = parsed(read)? {
            read.drain(..used);
            return Ok(body);
        }
        ensure!(read.len() < MOST_BYTES, "an answer without end");
        read.reserve(256 << 10);
        ensure!(socket.read_buf(read).await? > 0, "the connection broke");
    }
}

/// The body of a whole answer and how long that is, or nothing yet.
fn parsed(read: &[u8]) -> anyhow::Result<Option<(Bytes, usize)>> {
    let find = |from: usize, what: &[u8]| {
        let found = read[from..]
            .windows(what.len())
            .position(|part| part == what);
        found.map(|at| from + at)
    };
    let Some(head) = find(0, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&read[..head])?.to_ascii_lowercase();
    ensure!(text.starts_with("http/1.1 200"), "{text}");
    let mut at = head + 4;
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length {
        let end = at + length.parse::<usize>()?;
        return Ok((read.len() >= end).then(|| (Bytes::copy_from_slice(&read[at..end]), end)));
    }
    let mut body = Vec::new();
    loop {
        let Some(line) = find(at, b"\r\n") else {
            return Ok(None);
        };
        let size = usize::from_str_radix(std::str::from_utf8(&read[at..line])?, 16)?;
        let (from, to) = (line + 2, line + 2 + size);
        match read.get(from..to + 2) {
            None => return Ok(None),
            Some(_) if size == 0 => return Ok(Some((body.into(), to + 2))),
            Some(chunk) if chunk.ends_with(b"\r\n") => body.extend_from_slice(&chunk[..size]),
            Some(_) => bail!("a chunk without end"),
        }
        at = to + 2;
    }
}
