//! A service that breaks off, refuses and ends: what is printed has every row once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array, TimestampNanosecondArray, UInt32Array};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Rows that there are: as many as their last stamp.
const ROWS: i64 = 2000;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    tail: TailArgs,
}

fn args(line: &[&str]) -> TailArgs {
    Line::parse_from([&["tail", "ticks"], line].concat()).tail
}

/// What the service does to its clients.
#[derive(Clone)]
struct Breaking {
    asked: Arc<AtomicUsize>,
    /// Connections after which it is gone for good.
    most: usize,
}

fn rows(from: i64, to: i64) -> RecordBatch {
    let stamps = || from..to;
    let columns: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from_iter_values(stamps()))),
        (
            "hlc",
            Arc::new(TimestampNanosecondArray::from_iter_values(stamps()).with_timezone("UTC")),
        ),
        (
            "writer",
            Arc::new(UInt32Array::from_value(
                3,
                usize::try_from(to - from).unwrap(),
            )),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Some batches of the rows after a cursor, and then it breaks off within one, or ends.
async fn subscribe(
    State(breaking): State<Breaking>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let asked = breaking.asked.fetch_add(1, Ordering::SeqCst);
    let mut rng = SmallRng::seed_from_u64(asked as u64);
    if asked > 0 && (rng.random_bool(0.3) || asked > breaking.most) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let asked_for = |name: &str| {
        pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    assert_eq!(asked_for("columns"), Some("n,hlc,writer"));
    let from = asked_for("from");
    let had = from.and_then(|from| from.strip_prefix("o1.")?.strip_suffix("-3"));
    assert_eq!(
        had.is_some(),
        asked > 0,
        "it goes on from a cursor: {from:?}"
    );
    let mut had: i64 = had.map_or(0, |had| had.parse().unwrap());
    let cursor = format!("o1.{had}-3");
    let mut encoder = Encoder::new(OutputFormat::Arrow, &rows(0, 0).schema()).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..rng.random_range(0..6) {
        let next = (had + rng.random_range(0..90)).min(ROWS);
        bytes.extend_from_slice(&encoder.encode(&rows(had + 1, next + 1)).unwrap());
        had = next;
    }
    let cut = match rng.random_bool(0.5) {
        true => rng.random_range(0..=bytes.len()),
        false => bytes.len(),
    };
    bytes.truncate(cut);
    let bytes = futures::stream::once(async { Ok(Bytes::from(bytes)) });
    let broken = bytes.chain(futures::stream::once(async {
        // what came before must have left
        sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("cut off"))
    }));
    let headers = [("tourbillon-cursor", cursor)];
    (headers, Body::from_stream(broken)).into_response()
}

async fn service(most: usize) -> String {
    let asked = Arc::<AtomicUsize>::default();
    let router = Router::new().route("/v1/streams/{stream}/subscribe", get(subscribe));
    let router = router.with_state(Breaking { asked, most });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Output whose reader goes after so many lines.
struct Pipe {
    text: Vec<u8>,
    lines: i64,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let lines = self.text.iter().filter(|byte| **byte == b'\n').count();
        match lines as i64 >= self.lines {
            true => Err(std::io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_loses_and_repeats_nothing() {
    let url = service(usize::MAX).await;
    let args = args(&["--url", &url, "--columns", "n", "--format", "csv"]);
    let mut pipe = Pipe {
        text: Vec::new(),
        lines: ROWS + 1,
    };
    let outcome = follow(args, &mut pipe).await.unwrap();
    assert_eq!(outcome, Outcome::Done);
    let lines: Vec<String> = (1..=ROWS).map(|n| n.to_string()).collect();
    let wanted = format!("n\n{}\n", lines.join("\n"));
    assert_eq!(String::from_utf8(pipe.text).unwrap(), wanted);
}

#[tokio::test]
async fn patience_ends() {
    let url = service(3).await;
    let args = args(&["--url", &url, "--columns", "n", "--retry-for", "500ms"]);
    let mut pipe = Pipe {
        text: Vec::new(),
        lines: i64::MAX,
    };
    let begun = Instant::now();
    let error = follow(args, &mut pipe).await.unwrap_err().to_string();
    assert!(error.contains("given up after 500ms"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_key_is_asked_for_and_not_shown() {
    assert_eq!(with_key("n"), ("n,hlc,writer".to_owned(), 2));
    assert_eq!(with_key("writer, n"), ("writer, n,hlc".to_owned(), 1));
    assert_eq!(with_key("hlc,writer"), ("hlc,writer".to_owned(), 0));
}
