//! What query nodes tell while a test breaks things: through which time the stream is complete, and
//! how new the newest row is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tourbillon_core::time::parse_time_ns;

const PATIENCE: Duration = Duration::from_secs(2);

/// What a node told at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    /// T, and the stamp of the newest row, in ns.
    pub(crate) through: Option<i64>,
    pub(crate) newest: Option<i64>,
}

pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Sample>>>,
}

impl Watch {
    /// Starts to ask each query node, as often.
    pub(crate) fn start(queries: &[String], pace: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = queries.iter().map(|query| {
            let (query, stop) = (query.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.unwrap().block_on(sampled(&query, &stop, pace))
            })
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }

    /// All that was told, in order of time. Fails if a node's T, or its newest row, ever fell.
    pub(crate) fn finish(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        for thread in self.threads {
            let samples = thread.join().expect("the sampler ends well");
            assert_rising("T", samples.iter().filter_map(|sample| sample.through));
            all.extend(samples);
        }
        all.sort_unstable_by_key(|sample| sample.at);
        all
    }
}

fn assert_rising(what: &str, values: impl Iterator<Item = i64>) {
    let values: Vec<_> = values.collect();
    let fell = values.windows(2).find(|pair| pair[0] > pair[1]);
    assert!(fell.is_none(), "{what} fell: {fell:?}");
}

async fn sampled(query: &str, stop: &AtomicBool, pace: Duration) -> Vec<Sample> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap();
    let mut samples = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let through = through(&http, query).await;
        let newest = newest(&http, query).await;
        samples.push(Sample {
            at: Instant::now(),
            through,
            newest,
        });
        tokio::time::sleep(pace).await;
    }
    samples
}

/// T of `trades`.
pub(crate) async fn through(http: &reqwest::Client, query: &str) -> Option<i64> {
    let told = told(http, &format!("{query}/v1/streams/trades/partitions")).await?;
    let told: Value = serde_json::from_str(&told).ok()?;
    parse_time_ns(told["complete_through"].as_str()?).ok()
}

/// The stamp of the newest row that can be had.
async fn newest(http: &reqwest::Client, query: &str) -> Option<i64> {
    let how = "consistency=latest&order=desc&limit=1&columns=hlc";
    let told = told(http, &format!("{query}/v1/streams/trades/window?{how}")).await?;
    let row: Value = serde_json::from_str(told.lines().next()?).ok()?;
    parse_time_ns(row["hlc"].as_str()?).ok()
}

async fn told(http: &reqwest::Client, url: &str) -> Option<String> {
    let answer = http.get(url).send().await.ok()?.error_for_status().ok()?;
    answer.text().await.ok()
}

/// The longest time within which no sample said more than those before it, of what ended after
/// `since`.
pub(crate) fn stood(
    samples: &[Sample],
    since: Instant,
    of: impl Fn(&Sample) -> Option<i64>,
) -> Duration {
    let mut told = samples
        .iter()
        .filter_map(|sample| Some((sample.at, of(sample)?)));
    let Some(mut last) = told.next() else {
        return Duration::MAX;
    };
    let mut longest = Duration::ZERO;
    for sample in told {
        if sample.1 > last.1 {
            if sample.0 > since {
                longest = longest.max(sample.0 - last.0);
            }
            last = sample;
        }
    }
    longest
}
