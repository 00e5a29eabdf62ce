//! A client that sends trades for as long as it is wanted, repeats what was not acknowledged, and
//! keeps its own record of what was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::runtime;

/// Rows of a request.
const BATCH: u64 = 10;

/// Pause between two requests: load without end, not rows without number.
const PACE: Duration = Duration::from_millis(8);

/// How long an answer may take before the client gives up and repeats.
const PATIENCE: Duration = Duration::from_secs(5);

/// Numbers that one client gives its rows.
const SPAN: u64 = 1_000_000_000;

/// A client at work.
pub(crate) struct Client {
    number: u64,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

/// What a client knows in the end. Its rows have the numbers `first..first + rows` in `seq`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) first: u64,
    pub(crate) rows: u64,
    pub(crate) repeats: u64,
}

impl Client {
    /// Starts the client `number` of the stream `trades`.
    pub(crate) fn start(url: &str, number: u64) -> Self {
        let (stop, acknowledged) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let work = Work {
            url: format!("{url}/v1/streams/trades/events"),
            number,
            stop: Arc::clone(&stop),
            acknowledged: Arc::clone(&acknowledged),
            repeats: 0,
        };
        let thread = std::thread::spawn(move || runtime().block_on(work.run()));
        Self {
            number,
            stop,
            acknowledged,
            thread,
        }
    }

    /// Rows acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Lets it repeat its last request until that is acknowledged; its record.
    pub(crate) fn finish(self) -> Record {
        self.stop.store(true, Ordering::SeqCst);
        let repeats = self.thread.join().expect("the client ends well");
        let rows = self.acknowledged.load(Ordering::SeqCst);
        Record {
            first: self.number * SPAN,
            rows,
            repeats,
        }
    }
}

struct Work {
    url: String,
    number: u64,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    repeats: u64,
}

impl Work {
    async fn run(mut self) -> u64 {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        let http = http.build().expect("a client");
        for sequence in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            while !self.attempt(&http, sequence).await {
                self.repeats += 1;
                tokio::time::sleep(PACE).await;
            }
            self.acknowledged.fetch_add(BATCH, Ordering::SeqCst);
            tokio::time::sleep(PACE).await;
        }
        self.repeats
    }

    /// Whether it was acknowledged.
    async fn attempt(&self, http: &reqwest::Client, sequence: u64) -> bool {
        let row = |i: u64| {
            // every other client writes to one partition alone, so that these keep no common time
            let symbol = if self.number.is_multiple_of(2) {
                0
            } else {
                i % 7
            };
            let (seq, n) = (self.number * SPAN + i, symbol);
            let names = format!("\"venue\":\"V{}\",\"symbol\":\"S{n}\"", self.number);
            format!(
                "{{{names},\"ts_event\":{seq},\"price\":\"{n}.25\",\"size\":\"1\",\"seq\":{seq}}}\n"
            )
        };
        let body: String = (sequence * BATCH..(sequence + 1) * BATCH)
            .map(row)
            .collect();
        let request = http
            .post(&self.url)
            .header("content-type", "application/x-ndjson")
            .header("tourbillon-source", format!("client-{}", self.number))
            .header("tourbillon-sequence", sequence)
            .body(body);
        acknowledged(request).await
    }
}

/// Whether a request was acknowledged. Fails if it was refused for good, for it will not get better
/// by repeating it.
pub(crate) async fn acknowledged(request: reqwest::RequestBuilder) -> bool {
    let Ok(answer) = request.send().await else {
        return false;
    };
    let status = answer.status();
    let may_help = status.is_server_error() || [408, 429].contains(&status.as_u16());
    assert!(
        status.is_success() || may_help,
        "{status}: {:?}",
        answer.text().await
    );
    // an answer that breaks off is none
    status.is_success() && answer.bytes().await.is_ok()
}
