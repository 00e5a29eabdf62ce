//! A window over a whole large stream, read by a client in another process: time to the first byte,
//! rows a second, and the memory of the service.
//!
//! The service is the `tourbillon` binary beside this one, on a folder that is filled through its
//! gateway. It is started again once everything is sealed, so that the rows come from files and
//! nothing that ingest held is counted.

#![expect(
    clippy::disallowed_methods,
    reason = "threads that read sockets measure wall time"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::bodies::{BODY_ROWS, arrow_stream};
use crate::{Figure, rate};
use tourbillon_cli::market::Market;

/// Connections that fill the stream.
const WRITERS: usize = 4;

/// Event time between trades, ns.
const STEP_NS: i64 = 5_000;

/// Most memory that the service may have while it answers, MiB.
const MAX_RSS_MIB: f64 = 512.0;

/// Latest first byte of an answer, ms.
const MAX_FIRST_BYTE_MS: f64 = 50.0;

/// Bytes a second of the slow reader.
const SLOW_BYTES: usize = 1_000_000;

/// Longest that a start, or sealing the last rows, may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// How an answer is read.
struct Reading {
    name: &'static str,
    accept: &'static str,
    query: &'static str,
    /// For how long at [`SLOW_BYTES`]; to the end, as fast as it comes, if zero.
    slow: Duration,
}

const NDJSON: &str = "application/x-ndjson";
const ARROW: &str = "application/vnd.apache.arrow.stream";

fn readings(slow: Duration) -> Vec<Reading> {
    let reading = |name, accept, query, slow| Reading {
        name,
        accept,
        query,
        slow,
    };
    let none = Duration::ZERO;
    vec![
        reading("first request, 1 MB/s", ARROW, "", slow),
        reading("arrow", ARROW, "", none),
        reading("ndjson", NDJSON, "", none),
        reading("arrow, 1 MB/s", ARROW, "", slow),
        reading("ndjson, 1 MB/s", NDJSON, "", slow),
        reading("arrow, newest first", ARROW, "order=desc", none),
        reading("arrow, by event time", ARROW, "time=event", none),
    ]
}

/// Fills a stream and reads it. Fails if the service takes more memory or time than it may.
pub(crate) fn measure(folder: &Path, rows: usize, slow: Duration) -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(folder).context("cannot make a folder")?;
    let service = Service::start(folder.path())?;
    let begun = Instant::now();
    fill(service.at, rows)?;
    let mut figures = vec![figure(
        "filling",
        "M rows/s",
        rate(rows, begun.elapsed()) / 1e6,
    )];
    service.until_sealed(rows)?;
    service.stop()?;
    let service = Service::start(folder.path())?;
    figures.push(figure("memory at rest", "MiB", service.rss_mib()?));
    let mut broken = Vec::new();
    for reading in readings(slow) {
        let read = service.read(&reading, rows)?;
        let name = |what: &str| format!("{}, {what}", reading.name);
        figures.push(figure(&name("first byte"), "ms", read.first_byte_ms));
        figures.push(figure(&name("memory"), "MiB", read.rss_mib));
        if reading.slow.is_zero() {
            figures.push(figure(
                &name("rows"),
                "M rows/s",
                rate(rows, read.took) / 1e6,
            ));
        }
        if read.rss_mib > MAX_RSS_MIB || read.first_byte_ms > MAX_FIRST_BYTE_MS {
            broken.push(reading.name);
        }
    }
    service.stop()?;
    if !broken.is_empty() {
        let bounds = format!("{MAX_RSS_MIB} MiB and {MAX_FIRST_BYTE_MS} ms");
        crate::print(&figures)?;
        bail!("more than {bounds}: {}", broken.join("; "));
    }
    Ok(figures)
}

fn figure(name: &str, unit: &'static str, value: f64) -> Figure {
    Figure {
        name: format!("large window: {name}"),
        unit,
        values: vec![value],
    }
}

/// Sends trades over several connections, each its own market.
fn fill(at: SocketAddr, rows: usize) -> anyhow::Result<()> {
    let left = Arc::new(AtomicU64::new(rows as u64));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let left = Arc::clone(&left);
            thread::spawn(move || send(at, writer as u64, &left))
        })
        .collect();
    for writer in writers {
        writer
            .join()
            .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
    }
    Ok(())
}

fn send(at: SocketAddr, writer: u64, left: &AtomicU64) -> anyhow::Result<()> {
    let mut market = Market::new(writer);
    let mut now = 1_700_000_000_000_000_000;
    let mut connection = BufReader::new(TcpStream::connect(at)?);
    for sequence in 1.. {
        let most = BODY_ROWS as u64;
        let take = |left: u64| Some(left.saturating_sub(most));
        let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        let rows = usize::try_from(before.unwrap_or(0).min(most))?;
        if rows == 0 {
            return Ok(());
        }
        let to = now + STEP_NS * i64::try_from(rows)?;
        let body = arrow_stream(&market.trades(rows, now, to)?)?;
        now = to;
        let head = format!(
            "POST /v1/streams/trades/events HTTP/1.1\r\nhost: x\r\ncontent-type: {ARROW}\r\n\
             tourbillon-source: large-{writer}\r\ntourbillon-sequence: {sequence}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        while !post(&mut connection, &head, &body)? {
            thread::sleep(Duration::from_secs(1));
        }
    }
    Ok(())
}

/// Sends a request; whether it was taken. If not, it is to be sent again.
fn post(connection: &mut BufReader<TcpStream>, head: &str, body: &[u8]) -> anyhow::Result<bool> {
    connection.get_mut().write_all(head.as_bytes())?;
    connection.get_mut().write_all(body)?;
    let answer = Head::read(connection)?;
    let mut text = vec![0; answer.length.context("an answer has a length")?];
    connection.read_exact(&mut text)?;
    let again = [429, 503].contains(&answer.status);
    ensure!(
        again || answer.status == 200,
        "{}",
        String::from_utf8_lossy(&text)
    );
    Ok(!again)
}

/// What stands before the body of an answer.
struct Head {
    status: u16,
    length: Option<usize>,
}

impl Head {
    fn read(connection: &mut impl BufRead) -> anyhow::Result<Self> {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        let status = line.split(' ').nth(1).context("no status")?.parse()?;
        let mut length = None;
        loop {
            line.clear();
            ensure!(connection.read_line(&mut line)? > 0, "the answer broke off");
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                return Ok(Self { status, length });
            }
            if let Some(value) = text.strip_prefix("content-length:") {
                length = Some(value.trim().parse()?);
            }
        }
    }
}

/// What reading an answer was like.
struct Outcome {
    first_byte_ms: f64,
    took: Duration,
    /// Most memory of the service meanwhile.
    rss_mib: f64,
}

/// A `tourbillon standalone`.
struct Service {
    process: Child,
    at: SocketAddr,
}

impl Service {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        // the port is free again at once, and nobody else here looks for one
        let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(binary()?);
        command.args(["standalone", "--listen", &at.to_string(), "--data"]);
        command
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().context("cannot start tourbillon")?;
        let service = Self { process, at };
        let begun = Instant::now();
        while service.get("/readyz").is_err() {
            ensure!(begun.elapsed() < PATIENCE, "the service does not get ready");
            thread::sleep(Duration::from_millis(100));
        }
        Ok(service)
    }

    fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.process.id().to_string();
        let asked = Command::new("kill").arg(pid).status()?;
        let ended = self.process.wait()?;
        ensure!(
            asked.success() && ended.success(),
            "the service ended with {ended}"
        );
        Ok(())
    }

    /// The body of a small answer.
    fn get(&self, path: &str) -> anyhow::Result<String> {
        let (_, mut connection) = self.ask(path, "*/*")?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Asks by HTTP/1.0, so that the body comes as it is, up to the end of the connection.
    fn ask(&self, path: &str, accept: &str) -> anyhow::Result<(Head, BufReader<TcpStream>)> {
        let mut connection = TcpStream::connect(self.at)?;
        write!(
            connection,
            "GET {path} HTTP/1.0\r\nhost: x\r\naccept: {accept}\r\n\r\n"
        )?;
        let mut connection = BufReader::new(connection);
        let head = Head::read(&mut connection)?;
        ensure!(head.status == 200, "{path}: {}", head.status);
        Ok((head, connection))
    }

    fn until_sealed(&self, rows: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let answer: Value = serde_json::from_str(&self.get("/v1/streams/trades/partitions")?)?;
            let partitions = answer["partitions"].as_array().context("partitions")?;
            let sealed = partitions.iter().filter_map(|p| p["sealed_rows"].as_u64());
            if sealed.sum::<u64>() == rows as u64 {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "not all rows get sealed");
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn rss_mib(&self) -> anyhow::Result<f64> {
        rss_mib(self.process.id())
    }

    fn read(&self, reading: &Reading, rows: usize) -> anyhow::Result<Outcome> {
        let (done, process) = (Arc::new(AtomicBool::new(false)), self.process.id());
        let stop = Arc::clone(&done);
        let watch = thread::spawn(move || -> anyhow::Result<f64> {
            let mut most = 0.0_f64;
            while !stop.load(Ordering::SeqCst) {
                most = most.max(rss_mib(process)?);
                thread::sleep(Duration::from_millis(20));
            }
            Ok(most)
        });
        let read = self.read_body(reading, rows);
        done.store(true, Ordering::SeqCst);
        let rss_mib = watch
            .join()
            .map_err(|_| anyhow::anyhow!("the watch panicked"))??;
        Ok(Outcome { rss_mib, ..read? })
    }

    fn read_body(&self, reading: &Reading, rows: usize) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        let path = format!("/v1/streams/trades/window?{}", reading.query);
        let (_, mut body) = self.ask(&path, reading.accept)?;
        ensure!(!body.fill_buf()?.is_empty(), "there is no first byte");
        let first_byte_ms = begun.elapsed().as_secs_f64() * 1e3;
        if !reading.slow.is_zero() {
            read_slowly(&mut body, reading.slow)?;
        } else {
            let found = match reading.accept {
                ARROW => arrow_rows(body)?,
                _ => lines(body)?,
            };
            ensure!(found == rows, "{}: {found} of {rows} rows", reading.name);
        }
        Ok(Outcome {
            first_byte_ms,
            took: begun.elapsed(),
            rss_mib: 0.0,
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // after a failure; a process that has ended is not killed
        self.process.kill().ok();
    }
}

fn binary() -> anyhow::Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("tourbillon");
    let build = "build it: cargo build --release -p tourbillon-cli";
    ensure!(
        binary.exists(),
        "{} is not there; {build}",
        binary.display()
    );
    Ok(binary)
}

fn rss_mib(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: f64 = kib.context("no VmRSS: is this Linux?")?.parse()?;
    Ok(kib / 1024.0)
}

/// Reads at [`SLOW_BYTES`] for a while, and goes away.
fn read_slowly(body: &mut impl Read, length: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut part = vec![0; SLOW_BYTES / 20];
    let mut due = begun;
    while begun.elapsed() < length {
        body.read_exact(&mut part)?;
        due += Duration::from_millis(50);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn lines(mut body: impl BufRead) -> anyhow::Result<usize> {
    let mut lines = 0;
    loop {
        let part = body.fill_buf()?;
        if part.is_empty() {
            return Ok(lines);
        }
        lines += part.iter().filter(|byte| **byte == b'\n').count();
        let read = part.len();
        body.consume(read);
    }
}

fn arrow_rows(body: impl Read) -> anyhow::Result<usize> {
    let mut rows = 0;
    for batch in arrow::ipc::reader::StreamReader::try_new(body, None)? {
        rows += batch?.num_rows();
    }
    Ok(rows)
}
