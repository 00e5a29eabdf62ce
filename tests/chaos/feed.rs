//! Clients that send real ticks, looped, at a steady rate, repeat what was not acknowledged, and keep
//! their own record of what was.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::client::acknowledged;
use crate::support::{setting, shared};

/// Clients, each with its own connections, source and keys.
pub(crate) const CLIENTS: u64 = 8;

/// Requests of a client in a second.
const REQUESTS: u64 = 10;

/// How long an answer may take before a client gives up and repeats.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause before a request is repeated.
const PAUSE: Duration = Duration::from_millis(50);

/// Numbers that one client gives its rows.
pub(crate) const SPAN: u64 = 1_000_000_000;

/// Rows of a second of all clients together.
pub(crate) fn rate() -> u64 {
    setting("TOURBILLON_RATE", 4_000)
}

/// An acknowledged request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) client: u64,
    pub(crate) at: Instant,
    pub(crate) rows: u64,
    pub(crate) attempts: u32,
}

pub(crate) struct Feed {
    stop: Arc<AtomicBool>,
    acks: Arc<Mutex<Vec<Ack>>>,
    thread: JoinHandle<()>,
}

impl Feed {
    /// Starts all clients. They go to the next address when one does not serve them.
    pub(crate) fn start(urls: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acks = Arc::new(Mutex::new(Vec::new()));
        let ticks: Arc<[String]> = ticks().into();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| Client {
                urls: urls.to_vec(),
                number,
                ticks: Arc::clone(&ticks),
                batch: (rate() / CLIENTS / REQUESTS).max(1),
                stop: Arc::clone(&stop),
                acks: Arc::clone(&acks),
            })
            .collect();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let work: Vec<_> = clients.into_iter().map(|c| tokio::spawn(c.run())).collect();
                for client in work {
                    client.await.expect("the client ends well");
                }
            });
        });
        Self { stop, acks, thread }
    }

    /// Whether every client has had an acknowledgement since.
    pub(crate) fn all_served_since(&self, since: Instant) -> bool {
        let acks = self.acks.lock().unwrap();
        let late = acks.iter().rev().take_while(|ack| ack.at > since);
        let clients: BTreeSet<u64> = late.map(|ack| ack.client).collect();
        (0..CLIENTS).all(|number| clients.contains(&number))
    }

    /// Rows acknowledged since.
    pub(crate) fn rows_since(&self, since: Instant) -> u64 {
        let acks = self.acks.lock().unwrap();
        let late = acks.iter().rev().take_while(|ack| ack.at > since);
        late.map(|ack| ack.rows).sum()
    }

    /// Lets each client repeat its last request until that is acknowledged; all that was.
    pub(crate) fn finish(self) -> Vec<Ack> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the clients end well");
        let acks = self.acks.lock().unwrap();
        acks.clone()
    }
}

struct Client {
    urls: Vec<String>,
    number: u64,
    ticks: Arc<[String]>,
    batch: u64,
    stop: Arc<AtomicBool>,
    acks: Arc<Mutex<Vec<Ack>>>,
}

impl Client {
    async fn run(self) {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let mut at = usize::try_from(self.number).unwrap();
        let mut pace =
            tokio::time::interval(Duration::from_secs(1) / u32::try_from(REQUESTS).unwrap());
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for sequence in 0.. {
            pace.tick().await;
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let body = self.body(sequence);
            let mut attempts = 1;
            while !self
                .attempt(&http, &self.urls[at % self.urls.len()], sequence, &body)
                .await
            {
                (attempts, at) = (attempts + 1, at + 1);
                tokio::time::sleep(PAUSE).await;
            }
            let ack = Ack {
                client: self.number,
                at: Instant::now(),
                rows: self.batch,
                attempts,
            };
            self.acks.lock().unwrap().push(ack);
        }
    }

    /// Rows of a request, numbered on from those before.
    fn body(&self, sequence: u64) -> String {
        let mut body = String::new();
        for row in sequence * self.batch..(sequence + 1) * self.batch {
            let tick = &self.ticks[usize::try_from(row).unwrap() % self.ticks.len()];
            let (number, seq) = (self.number, self.number * SPAN + row);
            // each client has venues, so keys, of its own
            writeln!(body, "{{\"venue\":\"{number}-{tick},\"seq\":{seq}}}").unwrap();
        }
        body
    }

    /// Whether it was acknowledged.
    async fn attempt(&self, http: &reqwest::Client, url: &str, sequence: u64, body: &str) -> bool {
        let request = http
            .post(format!("{url}/v1/streams/trades/events"))
            .header("content-type", "application/x-ndjson")
            .header("tourbillon-source", format!("client-{}", self.number))
            .header("tourbillon-sequence", sequence)
            .body(body.to_owned());
        acknowledged(request).await
    }
}

/// Real trades as JSON, open at both ends: without the beginning of the venue, and without number.
/// Where there is no capture beside the project, made ones.
fn ticks() -> Vec<String> {
    let Some(file) = shared("binance_trades.csv.gz") else {
        let made = |i: u64| {
            let price = 60_000 + i * i % 977;
            format!(
                "XT\",\"symbol\":\"S{}\",\"ts_event\":{i},\"price\":\"{price}.25\",\"size\":\"1\"",
                i % 6
            )
        };
        return (0..10_000).map(made).collect();
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let tick = |line: &str| {
        let cells: Vec<_> = line.split(',').map(|cell| cell.trim_matches('"')).collect();
        let [venue, symbol, recv, event_ms, _, side, price, size, _] = cells[..] else {
            panic!("{line}");
        };
        format!(
            "{venue}\",\"symbol\":\"{symbol}\",\"ts_event\":{event_ms}000000,\"ts_recv\":{recv},\
             \"side\":\"{side}\",\"price\":\"{price}\",\"size\":\"{size}\""
        )
    };
    text.lines().skip(1).map(tick).collect()
}
