//! When each partition committed, seen from the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::ChainTip;
use tourbillon_lake::{Chain, Lake};
use tourbillon_log::control::StreamRequest;

use super::{PARTITIONS, WINDOW};
use crate::identity::connected;
use crate::support::identity::runtime;

/// Pause between two looks.
const PACE: Duration = Duration::from_millis(50);

/// Times of the commits of each partition.
type Times = Arc<Mutex<Vec<Vec<Instant>>>>;

/// Makes the stream `trades` as the test wants it, before a gateway makes it otherwise.
pub(super) fn make_stream(args: &[String]) {
    let request = StreamRequest {
        partitions: Some(PARTITIONS),
        window_ns: Some(i64::try_from(WINDOW.as_nanos()).unwrap()),
        ..StreamRequest::builtin("trades").unwrap()
    };
    runtime().block_on(async {
        let (_, control) = connected(&args[1], &args[5]).await;
        control.ensure_stream(&request).await.unwrap();
    });
}

/// A watcher of the chains.
pub(super) struct Commits {
    times: Times,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Commits {
    pub(super) fn watch(args: &[String]) -> Self {
        let times: Times = Arc::new(Mutex::new(vec![Vec::new(); PARTITIONS as usize]));
        let stop = Arc::new(AtomicBool::new(false));
        let lake = Lake::open(&args[3]).unwrap();
        let watch = follow(lake, Arc::clone(&times), Arc::clone(&stop));
        let thread = std::thread::spawn(move || runtime().block_on(watch));
        Self {
            times,
            stop,
            thread,
        }
    }

    /// Whether every partition has committed since.
    pub(super) fn all_since(&self, since: Instant) -> bool {
        let times = self.times.lock().unwrap();
        let last = times.iter().map(|times| times.last());
        last.into_iter()
            .all(|last| last.is_some_and(|last| *last > since))
    }

    /// The longest time between two commits of each partition, of which the second came since.
    pub(super) fn pauses(&self, since: Instant) -> Vec<Duration> {
        let times = self.times.lock().unwrap();
        let longest = |times: &Vec<Instant>| {
            let pairs = times.windows(2).filter(|pair| pair[1] > since);
            let pauses = pairs.map(|pair| pair[1] - pair[0]);
            pauses.max().unwrap_or_default()
        };
        times.iter().map(longest).collect()
    }

    pub(super) fn finish(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the watcher ends well");
    }
}

async fn follow(lake: Lake, times: Times, stop: Arc<AtomicBool>) {
    let stream = StreamName::new("trades").unwrap();
    let chain = |p| Chain::new(&lake, &stream, PartitionId(p));
    let mut chains: Vec<_> = (0..PARTITIONS)
        .map(|p| (chain(p), ChainTip::EMPTY))
        .collect();
    while !stop.load(Ordering::SeqCst) {
        for (partition, (chain, tip)) in chains.iter_mut().enumerate() {
            while let Some(link) = chain.after_tip(tip).await.unwrap() {
                *tip = link.tip;
                times.lock().unwrap()[partition].push(Instant::now());
            }
        }
        tokio::time::sleep(PACE).await;
    }
}
