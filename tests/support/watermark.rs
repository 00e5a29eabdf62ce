//! T, through which a stream is complete, sampled all the time: it must never fall.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tourbillon_core::time::parse_time_ns;

use super::{client, runtime};

/// Pause between two samples.
const PACE: Duration = Duration::from_millis(20);

/// T of `trades` as a query node tells it now; none before it tells.
pub(crate) fn complete_through(query: &str) -> Option<i64> {
    runtime().block_on(ask(&client(), query))
}

async fn ask(client: &reqwest::Client, query: &str) -> Option<i64> {
    let answer = client.get(format!("{query}/v1/streams/trades/partitions"));
    let body = answer.send().await.ok()?.error_for_status().ok()?;
    let told: serde_json::Value = body.json().await.ok()?;
    parse_time_ns(told["complete_through"].as_str()?).ok()
}

/// A sampler at work.
pub(crate) struct Watermark {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, i64)>>,
}

impl Watermark {
    /// Starts to ask a query node.
    pub(crate) fn watch(query: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, query) = (Arc::clone(&stop), query.to_owned());
        let watch = async move {
            let (client, mut samples) = (client(), Vec::new());
            while !stopped.load(Ordering::SeqCst) {
                let through = ask(&client, &query).await;
                samples.extend(through.map(|through| (Instant::now(), through)));
                tokio::time::sleep(PACE).await;
            }
            samples
        };
        let thread = std::thread::spawn(move || runtime().block_on(watch));
        Self { stop, thread }
    }

    /// Every sample: when, and what it said. Fails if T ever fell.
    pub(crate) fn finish(self) -> Vec<(Instant, i64)> {
        self.stop.store(true, Ordering::SeqCst);
        let samples = self.thread.join().expect("the sampler ends well");
        let fell = samples.windows(2).find(|pair| pair[0].1 > pair[1].1);
        assert!(fell.is_none(), "T fell: {fell:?}");
        samples
    }
}

/// The longest time without a step of T.
pub(crate) fn longest_standstill(samples: &[(Instant, i64)]) -> Duration {
    let (mut longest, mut since) = (Duration::ZERO, samples[0]);
    for sample in samples {
        if sample.1 > since.1 {
            longest = longest.max(sample.0 - since.0);
            since = *sample;
        }
    }
    longest
}
