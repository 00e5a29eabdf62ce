//! Crashes, rivals and outages: the chain must come out as if nothing had happened.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use tourbillon_core::manifest::ChainTip;
use tourbillon_core::replica::Replica;
use tourbillon_core::sealer::Sealer;

use super::*;

/// A log with frames, and what an undisturbed worker makes of it.
async fn history(seed: u64, partitions: u32) -> (Rig, Vec<Vec<(Digest, Offset, Vec<String>)>>) {
    let rig = Rig::new(memory(), partitions).await;
    let mut feed = Feed::new(&rig, seed, 3).await;
    feed.run(250 * partitions as usize, 4_000_000).await;
    rig.seal().await;
    let outcome = rig.outcome().await;
    assert!(
        outcome.iter().all(|links| links.len() > 5),
        "the history is long enough"
    );
    (rig, outcome)
}

fn job(rig: &Rig, nonce: &str) -> PartitionJob {
    PartitionJob {
        stream: rig.def.name.clone(),
        partition: PartitionId(0),
        at: rig.at(0),
        def: Arc::clone(&rig.def),
        log: rig.log(),
        lake: rig.lake.clone(),
        control: rig.control.clone(),
        nonce: nonce.into(),
        grace: Duration::from_secs(3600),
        progress: Arc::new(Progress::new(&rig.at(0))),
    }
}

/// A store that stops working for good after `calls` calls; the last one may still take effect.
fn doomed(inner: &Arc<InMemory>, calls: u64, last: StoreFault) -> Lake {
    let made = AtomicU64::new(0);
    let inner: Arc<dyn ObjectStore> = Arc::clone(inner) as _;
    let store = FaultyStore::new(inner, move |_, _| {
        match made.fetch_add(1, Ordering::SeqCst) {
            call if call < calls => None,
            call if call == calls => Some(last),
            _ => Some(StoreFault::NoEffect),
        }
    });
    Lake::with_store(Arc::new(store), "doomed://")
}

#[tokio::test(start_paused = true)]
async fn crashes_at_any_store_call_leave_the_same_chain() {
    let (rig, undisturbed) = history(11, 1).await;
    for seed in 0..12 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let store = Arc::new(InMemory::new());
        for incarnation in 0..100 {
            let last = [StoreFault::NoEffect, StoreFault::LostAnswer][rng.random_range(0..2)];
            let lake = doomed(&store, rng.random_range(0..25), last);
            let run = job(&rig.with_lake(lake), &format!("{incarnation}"));
            let stop = CancellationToken::new();
            let end = rig.end(0).await;
            let all_read = || async { Offset(run.progress.next_offset()) == end };
            let work = run.run(stop.clone());
            tokio::pin!(work);
            let done = tokio::select! {
                died = &mut work => died,
                () = until(all_read) => {
                    stop.cancel();
                    work.await
                }
            };
            match done {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
        let again = rig.with_lake(Lake::with_store(store as _, "memory://"));
        again.seal().await;
        assert_eq!(again.outcome().await, undisturbed, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_dropped_at_any_moment_leave_the_same_chain() {
    let (rig, undisturbed) = history(12, 1).await;
    for seed in 0..12 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let again = rig.with_lake(memory());
        for incarnation in 0..30 {
            let run = job(&again, &format!("{incarnation}"));
            let task = tokio::spawn(async move { run.run(CancellationToken::new()).await });
            for _ in 0..rng.random_range(0..40) {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..2))).await;
            task.abort();
            assert!(
                task.await.is_err_and(|error| error.is_cancelled()),
                "seed {seed}"
            );
        }
        again.seal().await;
        assert_eq!(again.outcome().await, undisturbed, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn rivals_on_the_same_partitions_make_one_chain() {
    let (rig, undisturbed) = history(13, 2).await;
    for round in 0..6 {
        let again = rig.with_lake(memory());
        let workers = ["a", "b", "c"].map(|nonce| again.worker(nonce));
        for worker in &workers {
            again.followed(worker).await;
            assert!(worker.is_healthy());
        }
        for worker in workers {
            worker.shutdown().await;
        }
        assert_eq!(again.outcome().await, undisturbed, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_late_adopts_what_another_made() {
    let (rig, undisturbed) = history(14, 1).await;
    let late = job(&rig, "late");
    let stop = CancellationToken::new();
    // as if it had looked at the chain before there was one
    let sealer = Sealer::new(rig.def.name.clone(), PartitionId(0), rig.def.window_ns);
    let begun = (Replica::new(rig.def.rules), sealer, ChainTip::EMPTY);
    let end = rig.end(0).await;
    let all_read = async {
        until(|| async { Offset(late.progress.next_offset()) == end }).await;
        stop.cancel();
    };
    let (done, ()) = tokio::join!(late.work(begun, stop.clone()), all_read);
    done.unwrap();
    assert_eq!(rig.outcome().await, undisturbed);
}

/// A store that fails while `down`, and else now and then.
fn shaky(inner: &Arc<InMemory>, down: &Arc<AtomicBool>, seed: u64) -> Lake {
    let (down, rng) = (Arc::clone(down), Mutex::new(SmallRng::seed_from_u64(seed)));
    let inner: Arc<dyn ObjectStore> = Arc::clone(inner) as _;
    let store = FaultyStore::new(inner, move |call, _| {
        let mut rng = rng.lock().unwrap();
        let fault = [StoreFault::NoEffect, StoreFault::LostAnswer][rng.random_range(0..2)];
        let often = if call == StoreCall::Put { 0.3 } else { 0.05 };
        (down.load(Ordering::SeqCst) || rng.random_bool(often)).then_some(fault)
    });
    Lake::with_store(Arc::new(store), "shaky://")
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_while_only_delays() {
    let (rig, undisturbed) = history(15, 2).await;
    for seed in 0..4 {
        let (inner, down) = (Arc::new(InMemory::new()), Arc::new(AtomicBool::new(true)));
        let sound = rig.with_lake(Lake::with_store(Arc::clone(&inner) as _, "memory://"));
        let worker = rig.with_lake(shaky(&inner, &down, seed)).worker("a");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(worker.is_healthy());
        down.store(false, Ordering::SeqCst);
        let mut left = 600;
        while sound.outcome().await != undisturbed {
            left -= 1;
            assert!(left > 0, "seed {seed} does not come to an end");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(worker.is_healthy());
        worker.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_halts_its_partition() {
    let (rig, _) = history(16, 1).await;
    let store = FaultyStore::new(Arc::new(InMemory::new()), |call, _| {
        assert!(call != StoreCall::Put, "a bug");
        None
    });
    let worker = rig
        .with_lake(Lake::with_store(Arc::new(store), "buggy://"))
        .worker("a");
    until(|| async { !worker.is_healthy() }).await;
    worker.shutdown().await;
}
