//! Compaction and retention: what becomes of old segments, whoever does the work and whatever
//! happens on the way.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::time::{sleep, timeout};
use tourbillon_core::manifest::{Boundary, ChainTip, CompactionBody, SegmentMeta};
use tourbillon_core::replica::Replica;
use tourbillon_core::sealer::Sealer;

use super::*;
use crate::rig::WINDOW;
use crate::verify::{PartitionReport, Verifier};

const SPAN: i64 = 1_000_000_000;
const GRACE: Duration = Duration::from_secs(60);

/// Some seconds of history on a store that can be looked into.
struct Bench {
    rig: Rig,
    store: Arc<InMemory>,
}

impl Bench {
    async fn new(seed: u64, retention_ns: Option<i64>) -> Self {
        let store = Arc::new(InMemory::new());
        let lake = Lake::with_store(Arc::clone(&store) as _, "memory://");
        let mut rig = Rig::keeping(lake, 1, Some(SPAN), retention_ns).await;
        let mut feed = Feed::new(&rig, seed, 3).await;
        feed.run(400, 4_000_000).await;
        rig.evolve().await;
        feed.rig = rig.clone();
        feed.run(1600, 4_000_000).await;
        Self { rig, store }
    }

    /// The same log with an empty store.
    fn afresh(&self) -> Self {
        let store = Arc::new(InMemory::new());
        let lake = Lake::with_store(Arc::clone(&store) as _, "memory://");
        let rig = self.rig.with_lake(lake);
        Self { rig, store }
    }

    fn worker(&self, nonce: &str) -> Worker {
        let settings = WorkerSettings {
            share: 0,
            shares: 1,
            nonce: nonce.into(),
            grace: GRACE,
        };
        let rig = &self.rig;
        Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone())
    }

    /// Lets a worker seal everything and do its upkeep for so long.
    async fn work(&self, upkeep: Duration) {
        let worker = self.worker("a");
        self.rig.followed(&worker).await;
        sleep(upkeep).await;
        assert!(worker.is_healthy());
        worker.shutdown().await;
    }

    async fn compactions(&self) -> Vec<CompactionBody> {
        let chain = Chain::compactions(&self.rig.lake, &self.rig.def.name, PartitionId(0));
        let links = chain.links_after(self.kept_compactions().await);
        let links: Vec<_> = links.try_collect().await.unwrap();
        links.into_iter().map(|link| link.commit.body).collect()
    }

    async fn boundary(&self) -> Option<Boundary> {
        let chain = Chain::boundaries(&self.rig.lake, &self.rig.def.name, PartitionId(0));
        chain.standing().await.unwrap().map(|link| link.commit.body)
    }

    async fn kept_compactions(&self) -> ChainTip {
        let kept = self.boundary().await.and_then(|boundary| boundary.kept);
        kept.map_or(ChainTip::EMPTY, |kept| kept.compactions)
    }

    async fn objects(&self, folder: &str) -> BTreeSet<String> {
        let prefix = Path::from(format!("ticks/{folder}"));
        let listed = self.store.list(Some(&prefix));
        let names = listed.map_ok(|meta| meta.location.to_string());
        names.try_collect().await.unwrap()
    }

    async fn verify(&self) -> PartitionReport {
        let verifier = Verifier {
            log: self.rig.log(),
            lake: self.rig.lake.clone(),
            control: self.rig.control.clone(),
            def: Arc::clone(&self.rig.def),
            partition: PartitionId(0),
        };
        verifier.run().await.unwrap()
    }

    /// `(hlc, n)` of the rows of these files.
    async fn rows(&self, files: impl Iterator<Item = &SegmentMeta>) -> Vec<(i64, i64)> {
        let mut rows = Vec::new();
        for file in files {
            let stored = self.rig.lake.get_segment(&self.rig.def.name, &file.name);
            let reader = ParquetRecordBatchReaderBuilder::try_new(stored.await.unwrap()).unwrap();
            for batch in reader.build().unwrap() {
                let batch = batch.unwrap();
                let hlcs = tourbillon_core::open_rows::stamps(&batch).to_vec();
                let n = batch
                    .column_by_name("n")
                    .unwrap()
                    .as_primitive::<Int64Type>();
                rows.extend(hlcs.into_iter().zip(n.values().iter().copied()));
            }
        }
        rows
    }
}

fn path(name: &str) -> String {
    format!("ticks/{name}")
}

fn named(segments: &[SegmentMeta]) -> BTreeSet<String> {
    segments.iter().map(|segment| path(&segment.name)).collect()
}

fn files(compactions: &[CompactionBody]) -> BTreeSet<String> {
    let files = compactions.iter().flat_map(|compaction| &compaction.files);
    files.map(|file| path(&file.file.name)).collect()
}

#[tokio::test(start_paused = true)]
async fn segments_of_a_span_become_one_file_and_go_after_the_grace() {
    let bench = Bench::new(51, None).await;
    let worker = bench.worker("a");
    bench.rig.followed(&worker).await;
    sleep(GRACE / 2).await;
    let compactions = bench.compactions().await;
    assert!(compactions.len() >= 5, "{}", compactions.len());
    let links = bench.rig.links(0).await;
    let segments: Vec<_> = links
        .iter()
        .flat_map(|l| l.commit.body.segments.clone())
        .collect();
    let last = compactions.last().unwrap();
    let covered = usize::try_from(last.segments).unwrap();
    assert!(covered > 3 * compactions.len());
    // a schema that changed within a span begins another file
    let count = compactions.iter().map(|c| c.files.len()).sum::<usize>();
    assert_eq!(count, compactions.len() + 1);
    let all_files = compactions.iter().flat_map(|c| &c.files).map(|f| &f.file);
    assert_eq!(
        bench.rows(all_files).await,
        bench.rows(segments[..covered].iter()).await
    );
    let before: BTreeSet<_> = named(&segments)
        .union(&files(&compactions))
        .cloned()
        .collect();
    assert_eq!(bench.objects("data").await, before);

    sleep(GRACE).await;
    let after: BTreeSet<_> = named(&segments[covered..])
        .union(&files(&compactions))
        .cloned()
        .collect();
    assert_eq!(bench.objects("data").await, after);
    let report = bench.verify().await;
    assert_eq!(report.differences, [""; 0]);
    assert_eq!(report.compactions, compactions.len() as u64);
    worker.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn another_store_and_any_restarts_make_the_same_files() {
    let bench = Bench::new(52, None).await;
    bench.work(GRACE * 3).await;
    let (data, wanted) = (bench.objects("data").await, bench.compactions().await);
    for (round, pause) in [(0, 3), (1, 20), (2, 77)] {
        let again = bench.afresh();
        // rivals that come and go at any moment
        for number in 0..6 {
            let workers = [format!("{round}-{number}a"), format!("{round}-{number}b")];
            let workers = workers.map(|nonce| again.worker(&nonce));
            sleep(Duration::from_secs(pause + number)).await;
            for worker in workers {
                assert!(worker.is_healthy());
                worker.shutdown().await;
            }
        }
        again.work(GRACE * 3).await;
        assert_eq!(again.objects("data").await, data, "round {round}");
        let found = again.compactions().await;
        let hashes = |compactions: &[CompactionBody]| -> Vec<_> {
            let files = compactions
                .iter()
                .flat_map(|compaction| compaction.files.clone());
            files.collect()
        };
        assert_eq!(hashes(&found), hashes(&wanted));
        assert_eq!(again.verify().await.differences, [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_done_to_compacted_files_is_found() {
    let bench = Bench::new(53, None).await;
    bench.work(GRACE * 3).await;
    let compactions = bench.compactions().await;
    let file = Path::from(path(&compactions[1].files[0].file.name));
    let other = Path::from(path(&compactions[2].files[0].file.name));
    let link = Path::from(format!("ticks/compaction/p0/{:020}", 2));
    let newest = Path::from(format!("ticks/compaction/p0/{:020}", compactions.len() - 1));
    let get = async |at: &Path| bench.store.get(at).await.unwrap().bytes().await.unwrap();
    let put = async |at: &Path, bytes: Vec<u8>| bench.store.put(at, bytes.into()).await.unwrap();
    let expect = async |what: &str, named: &str| {
        let report = bench.verify().await;
        let told = report.differences.join("\n");
        assert!(
            told.contains(named),
            "{what}: {told:?} does not name {named}"
        );
    };
    let sound = get(&file).await.to_vec();
    for at in [4, sound.len() / 2, sound.len() - 5] {
        let mut flipped = sound.clone();
        flipped[at] ^= 1;
        put(&file, flipped).await;
        expect("a flipped byte", file.as_ref()).await;
    }
    let swapped = get(&other).await.to_vec();
    put(&file, swapped.clone()).await;
    expect("another file", file.as_ref()).await;
    bench.store.delete(&file).await.unwrap();
    expect("a removed file", file.as_ref()).await;
    put(&file, sound).await;
    assert_eq!(bench.verify().await.differences, [""; 0]);
    for gone in [&link, &newest] {
        let kept = get(gone).await.to_vec();
        bench.store.delete(gone).await.unwrap();
        // whoever needs it says so: the gap in the chain, or the segments that are gone with it
        let told = bench.verify().await.differences;
        assert!(!told.is_empty(), "{gone} was removed");
        put(gone, kept.clone()).await;
        let mut flipped = kept.clone();
        flipped[kept.len() / 2] ^= 1;
        put(gone, flipped).await;
        expect("a flipped byte", gone.as_ref()).await;
        put(gone, kept).await;
    }
    assert_eq!(bench.verify().await.differences, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn retention_lets_go_after_the_grace_and_the_rest_verifies() {
    let bench = Bench::new(54, Some(2 * SPAN)).await;
    bench.work(GRACE / 2).await;
    let all = bench.compactions().await;
    assert!(bench.boundary().await.is_none());
    bench.work(GRACE * 4).await;
    let kept = bench.boundary().await.unwrap().kept.unwrap();
    let left = bench.compactions().await;
    let watermark = bench.rig.links_kept(&kept.commits).await;
    let newest = watermark.last().unwrap().commit.body.state.watermark;
    assert!(kept.from.0 <= newest.0 - 2 * SPAN, "rows went too early");
    assert!(left.len() < all.len() && left.len() >= 2, "{}", left.len());
    assert_eq!(left[..], all[all.len() - left.len()..]);
    // nothing of what went is there any more, and all that is left is
    let data = bench.objects("data").await;
    assert!(files(&left).is_subset(&data));
    assert!(files(&all[..all.len() - left.len()]).is_disjoint(&data));
    let commits = bench.objects("commit").await;
    assert_eq!(commits.len(), watermark.len() + 1);
    assert_eq!(bench.objects("compaction").await.len(), left.len());
    assert!(bench.objects("boundary").await.len() <= 64);
    let report = bench.verify().await;
    assert_eq!(report.differences, [""; 0]);
    assert_eq!(report.gone_rows, kept.rows);
    assert!(report.complete && report.compactions == left.len() as u64);
    // a newcomer finds the end of the chain
    bench.work(GRACE).await;
    assert_eq!(bench.verify().await, report);
}

#[tokio::test(start_paused = true)]
async fn nobody_can_hide_rows_behind_a_boundary() {
    let bench = Bench::new(55, None).await;
    bench.work(GRACE * 3).await;
    let compactions = bench.compactions().await;
    let chain = Chain::compactions(&bench.rig.lake, &bench.rig.def.name, PartitionId(0));
    let link = chain.get(1).await.unwrap().unwrap();
    let boundaries = Chain::boundaries(&bench.rig.lake, &bench.rig.def.name, PartitionId(0));
    let newest = boundaries.standing().await.unwrap().unwrap();
    let body = &compactions[1];
    let kept = tourbillon_core::manifest::Kept {
        gone_through: body.last_key,
        from: body.span.1.max(body.last_key.hlc.plus(1)),
        segments: body.segments,
        rows: body.rows,
        through: body.through.next_seq,
        commits: body.scan_from,
        compactions: link.tip,
    };
    let forged = Boundary {
        seq: newest.tip.next_seq,
        kept: Some(kept),
        ..newest.commit.body.clone()
    };
    let forged = tourbillon_core::manifest::Commit::link(forged, &newest.tip, "f".into());
    boundaries.append(&forged.unwrap()).await.unwrap();
    let told = bench.verify().await.differences.join("\n");
    assert!(told.contains("no retention"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_slept_through_retention_leaves_nothing_behind() {
    let bench = Bench::new(56, Some(2 * SPAN)).await;
    bench.work(GRACE * 4).await;
    let kept = bench.boundary().await.unwrap().kept.unwrap();
    assert!(kept.commits.next_seq > 3);
    let before = bench.objects("").await;
    let rig = &bench.rig;
    // it has looked at the chain when there was none
    let sealer = Sealer::new(rig.def.name.clone(), PartitionId(0), WINDOW);
    let begun = (Replica::new(rig.def.rules), sealer, ChainTip::EMPTY);
    let late = PartitionJob {
        stream: rig.def.name.clone(),
        partition: PartitionId(0),
        at: rig.at(0),
        def: Arc::clone(&rig.def),
        log: rig.log(),
        lake: rig.lake.clone(),
        control: rig.control.clone(),
        nonce: "late".into(),
        // as if it had slept this long between its last look and its put
        grace: Duration::ZERO,
        progress: Arc::new(Progress::new(&rig.at(0))),
    };
    let work = late.work(begun, CancellationToken::new());
    let error = timeout(GRACE, work).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let left: BTreeSet<_> = bench
        .objects("")
        .await
        .difference(&before)
        .cloned()
        .collect();
    // segments beyond its first commit, whose upload it had begun, are another worker's to clear
    let own = |name: &&String| !name.contains("/data/");
    assert_eq!(left.iter().filter(own).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(bench.verify().await.differences, [""; 0]);
}

/// Upkeep that dies at any store call, again and again, ends like one that never did.
#[tokio::test(start_paused = true)]
async fn upkeep_that_dies_anywhere_ends_alike() {
    let bench = Bench::new(57, Some(3 * SPAN)).await;
    bench.work(GRACE * 4).await;
    let wanted = bench.objects("data").await;
    for seed in 0..4u64 {
        let again = bench.afresh();
        for incarnation in 0..60u64 {
            let calls = (seed * 7 + incarnation * 13) % 90;
            let last = match incarnation % 2 {
                0 => StoreFault::NoEffect,
                _ => StoreFault::LostAnswer,
            };
            let made = std::sync::atomic::AtomicU64::new(0);
            let inner: Arc<dyn ObjectStore> = Arc::clone(&again.store) as _;
            let store = FaultyStore::new(inner, move |_, _| {
                match made.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    call if call < 40 + calls => None,
                    call if call == 40 + calls => Some(last),
                    _ => Some(StoreFault::NoEffect),
                }
            });
            let rig = again
                .rig
                .with_lake(Lake::with_store(Arc::new(store), "doomed://"));
            let doomed = Bench {
                rig,
                store: Arc::clone(&again.store),
            };
            let worker = doomed.worker(&format!("{seed}-{incarnation}"));
            sleep(GRACE + Duration::from_secs(2)).await;
            worker.shutdown().await;
        }
        again.work(GRACE * 5).await;
        assert_eq!(again.objects("data").await, wanted, "seed {seed}");
        assert_eq!(again.verify().await.differences, [""; 0]);
    }
}
