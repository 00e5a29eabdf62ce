//! A store that is watched, and away when a test wants it to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tourbillon_lake::faulty::{FaultyStore, StoreCall, StoreFault};

use super::*;

/// A store whose reads of segments are counted, and fail while `down`.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) reads: Arc<AtomicU64>,
    pub(super) down: Arc<AtomicBool>,
    pub(super) chain_down: Arc<AtomicBool>,
    pub(super) store: FaultyStore,
}

impl Watched {
    pub(super) fn new() -> Self {
        let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (reads, down) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let chain_down = Arc::<AtomicBool>::default();
        let (count, fail, fail_chain) = (
            Arc::clone(&reads),
            Arc::clone(&down),
            Arc::clone(&chain_down),
        );
        let store = FaultyStore::new(inner, move |call, path| {
            if call == StoreCall::Get && path.as_ref().contains("data/") {
                count.fetch_add(1, Ordering::SeqCst);
                return fail.load(Ordering::SeqCst).then_some(StoreFault::NoEffect);
            }
            fail_chain
                .load(Ordering::SeqCst)
                .then_some(StoreFault::NoEffect)
        });
        Self {
            reads,
            down,
            chain_down,
            store,
        }
    }

    pub(super) fn lake(&self) -> Lake {
        Lake::with_store(Arc::new(self.store.clone()), "watched://")
    }

    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

/// A sealed history of many segments in a watched store.
pub(super) async fn sealed(seed: u64, frames: usize) -> (Watched, Feed, Bench) {
    sealed_in(seed, frames, |_| ()).await
}

/// The same of rows that are made in another way.
pub(super) async fn sealed_in(
    seed: u64,
    frames: usize,
    set: impl FnOnce(&mut Feed),
) -> (Watched, Feed, Bench) {
    let watched = Watched::new();
    let rig = Rig::new(watched.lake(), 1).await;
    let mut feed = Feed::new(&rig, seed, 3).await;
    set(&mut feed);
    for _ in 0..frames {
        feed.pass(20_000_000);
        feed.data(0, 0, 4000, None).await;
    }
    feed.pass(300_000_000);
    feed.beat().await;
    seal(&rig).await;
    let bench = Bench::on(&rig).await;
    (watched, feed, bench)
}
