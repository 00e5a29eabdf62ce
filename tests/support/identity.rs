//! Consumers of a log that is complete: workers in this process, each with a lake of its own that
//! is empty at first. However they read, die and hand over, their objects must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use tourbillon_core::digest::Digest;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::CommitBody;
use tourbillon_lake::faulty::{FaultyStore, StoreFault};
use tourbillon_lake::{Chain, Lake};
use tourbillon_log::control::ControlTopic;
use tourbillon_log::{Log, TopicPartition};
use tourbillon_shard_worker::{Worker, WorkerSettings};

use super::cut::Cut;

/// How one consumer goes about it.
pub(crate) struct Plan {
    /// Records that a read returns at most.
    pub(crate) poll: usize,
    /// Times that all its workers die at once, each at a call to the store.
    pub(crate) crashes: u64,
    /// Who works after each death: `(share, shares)` of every worker, in turn.
    pub(crate) shares: &'static [&'static [(u32, u32)]],
    pub(crate) seed: u64,
}

/// What a consumer left behind.
pub(crate) struct Consumed {
    /// By partition.
    pub(crate) chains: Vec<Vec<Link>>,
    /// Deaths that came in the middle of the work.
    pub(crate) struck: u64,
}

/// A commit without what depends on its nonce, and the digests of the files it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    root: Digest,
    pub(crate) body: CommitBody,
    files: Vec<(String, Digest)>,
}

/// A log as a new process finds it.
pub(crate) type Opened = (Arc<dyn Log>, ControlTopic);

/// Reads the log of `stream` from its beginning to its end.
pub(crate) fn consume(open: impl AsyncFn() -> Opened, stream: &str, plan: &Plan) -> Consumed {
    let (store, stream) = (Arc::new(InMemory::new()), StreamName::new(stream).unwrap());
    let mut rng = SmallRng::seed_from_u64(plan.seed);
    let mut struck = 0;
    for (life, shares) in (0..=plan.crashes).zip(plan.shares.iter().cycle()) {
        let doom = (life < plan.crashes).then(|| Doom {
            calls: rng.random_range(1..40),
            last: [StoreFault::NoEffect, StoreFault::LostAnswer][rng.random_range(0..2)],
        });
        // dropping its runtime in the middle of everything is how an incarnation dies
        let runtime = runtime();
        let died = runtime.block_on(async {
            let (log, control) = open().await;
            let log: Arc<dyn Log> = Arc::new(Cut::new(log, plan.poll));
            live((log, control), &stream, &store, doom, shares).await
        });
        runtime.shutdown_background();
        struck += u64::from(died);
    }
    let lake = Lake::with_store(Arc::clone(&store) as _, "memory://");
    let chains = runtime().block_on(async {
        let (_, control) = open().await;
        let chains = chains(&lake, &control, &stream).await;
        assert_eq!(
            listed(&store, &stream).await,
            named(&chains),
            "nothing is left over"
        );
        chains
    });
    Consumed { chains, struck }
}

struct Doom {
    calls: u64,
    last: StoreFault,
}

impl Doom {
    /// A store that stops for good after some calls, and tells.
    fn falls_on(self, store: &Arc<InMemory>, told: Arc<Notify>) -> Lake {
        let made = AtomicU64::new(0);
        let store = FaultyStore::new(Arc::clone(store) as _, move |_, _| {
            let call = made.fetch_add(1, Ordering::SeqCst);
            if call < self.calls {
                return None;
            }
            told.notify_one();
            Some(if call == self.calls {
                self.last
            } else {
                StoreFault::NoEffect
            })
        });
        Lake::with_store(Arc::new(store), "doomed://")
    }
}

/// One incarnation of all workers; whether its doom struck before everything was read.
async fn live(
    (log, control): Opened,
    stream: &StreamName,
    store: &Arc<InMemory>,
    doom: Option<Doom>,
    shares: &[(u32, u32)],
) -> bool {
    let (told, dies) = (Arc::new(Notify::new()), doom.is_some());
    let lake = match doom {
        Some(doom) => doom.falls_on(store, Arc::clone(&told)),
        None => Lake::with_store(Arc::clone(store) as _, "memory://"),
    };
    let start = |(i, (share, shares)): (usize, &(u32, u32))| {
        let nonce = format!("worker {i}");
        let settings = WorkerSettings {
            share: *share,
            shares: *shares,
            nonce,
            grace: Duration::from_secs(900),
        };
        Worker::start(settings, Arc::clone(&log), lake.clone(), control.clone())
    };
    let workers: Vec<_> = shares.iter().enumerate().map(start).collect();
    let read = async {
        let all_read = all_read(&workers, &log, &control, stream);
        let limit = Duration::from_secs(120);
        tokio::time::timeout(limit, all_read)
            .await
            .expect("the log is read in time");
    };
    tokio::select! {
        biased;
        () = told.notified() => return true,
        () = read => {}
    }
    if !dies {
        for worker in &workers {
            worker.shutdown().await;
            assert!(worker.is_healthy());
        }
    }
    false
}

async fn all_read(workers: &[Worker], log: &Arc<dyn Log>, control: &ControlTopic, of: &StreamName) {
    let mut partition = 0;
    while partition < partitions(control, of) {
        let at = TopicPartition {
            topic: control.stream_topic(of),
            partition: PartitionId(partition),
        };
        let end = log.range(&at).await.unwrap().end.0;
        let key = (of.clone(), at.partition);
        let reached = |worker: &Worker| Some(worker.progress().get(&key)?.next_offset());
        loop {
            let reached: Vec<u64> = workers.iter().filter_map(reached).collect();
            if !reached.is_empty() && reached.iter().all(|offset| *offset == end) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        partition += 1;
    }
}

fn partitions(control: &ControlTopic, stream: &StreamName) -> u32 {
    control.view().streams[stream].partitions
}

/// The chains of a stream with what they name, read back from a lake.
pub(crate) async fn chains(lake: &Lake, control: &ControlTopic, of: &StreamName) -> Vec<Vec<Link>> {
    let mut all = Vec::new();
    for partition in (0..partitions(control, of)).map(PartitionId) {
        let mut links = Vec::new();
        for link in Chain::new(lake, of, partition).load().await.unwrap() {
            let body = link.commit.body;
            let segments = body.segments.iter().map(|segment| &segment.name);
            let names = segments.chain(body.rejects.as_ref().map(|rejects| &rejects.name));
            let mut files = Vec::new();
            for name in names {
                let bytes = lake.get_segment(of, name).await.unwrap();
                files.push((name.clone(), Digest::of(&bytes)));
            }
            let root = link.commit.chain_root;
            links.push(Link { root, body, files });
        }
        all.push(links);
    }
    all
}

/// Names of the files that chains name.
fn named(chains: &[Vec<Link>]) -> BTreeSet<String> {
    let files = chains.iter().flatten().flat_map(|link| &link.files);
    files.map(|(name, _)| name.clone()).collect()
}

/// Names of the files that a store holds, commits left out.
async fn listed(store: &InMemory, stream: &StreamName) -> BTreeSet<String> {
    let folder = stream.as_str().into();
    let found: Vec<_> = store.list(Some(&folder)).try_collect().await.unwrap();
    let below = |path: &str| path.strip_prefix(&format!("{stream}/")).map(str::to_owned);
    let names = found
        .iter()
        .filter_map(|meta| below(meta.location.as_ref()));
    names.filter(|name| !name.starts_with("commit/")).collect()
}

/// Three consumers that have nothing in common but the log agree to the last bit, and what a
/// service had committed while the log grew is how they began.
pub(crate) fn assert_identical(
    open: impl AsyncFn() -> Opened,
    stream: &str,
    live: &[Vec<Link>],
    rows: u64,
) {
    let plans = [
        Plan {
            poll: usize::MAX,
            crashes: 0,
            shares: &[&[(0, 1)]],
            seed: 0,
        },
        Plan {
            poll: 1,
            crashes: 12,
            shares: &[&[(0, 2), (1, 2)], &[(0, 1)], &[(1, 3), (0, 3), (2, 3)]],
            seed: 1,
        },
        Plan {
            poll: 13,
            crashes: 8,
            shares: &[&[(0, 1), (0, 1)], &[(0, 1)]],
            seed: 2,
        },
    ];
    let begun = plans.iter().map(|plan| consume(&open, stream, plan));
    let consumed: Vec<_> = begun.collect();
    let first = &consumed[0].chains;
    for (plan, other) in plans.iter().zip(&consumed) {
        assert!(*first == other.chains, "poll {} differs", plan.poll);
        assert!(
            other.struck >= plan.crashes / 2,
            "{} deaths struck",
            other.struck
        );
    }
    let sealed = |chains: &[Vec<Link>]| -> BTreeMap<usize, u64> {
        let last = |links: &Vec<Link>| links.last().map_or(0, |link| link.body.sealed_rows);
        chains.iter().map(last).enumerate().collect()
    };
    assert_eq!(sealed(first).values().sum::<u64>(), rows);
    assert_eq!(sealed(live), sealed(first));
    for (live, first) in live.iter().zip(first) {
        assert!(
            live.len() >= 3 && first.starts_with(live),
            "what was made live differs"
        );
    }
    let segments = named(first).len();
    let commits: usize = first.iter().map(Vec::len).sum();
    let struck: u64 = consumed.iter().map(|consumed| consumed.struck).sum();
    eprintln!(
        "3 consumers, {struck} deaths: {commits} commits and {segments} files, all identical"
    );
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}
