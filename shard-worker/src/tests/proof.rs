//! Verifying commits against the log.

mod past;
mod sweep;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutOptions};
use tourbillon_core::manifest::{Commit, CommitBody};

use super::*;
use crate::verify::{PartitionReport, Verifier};

/// A sealed history on a store that can be tampered with.
struct Bench {
    rig: Rig,
    store: Arc<InMemory>,
    accepted: u64,
}

impl Bench {
    async fn new(seed: u64) -> Self {
        let store = Arc::new(InMemory::new());
        let mut rig = Rig::new(Lake::with_store(Arc::clone(&store) as _, "memory://"), 1).await;
        let mut feed = Feed::new(&rig, seed, 3).await;
        feed.run(200, 2_000_000).await;
        rig.evolve().await;
        feed.rig = rig.clone();
        feed.run(200, 2_000_000).await;
        rig.seal().await;
        let accepted = feed.rows.len() as u64;
        Self {
            rig,
            store,
            accepted,
        }
    }

    fn verifier(&self) -> Verifier {
        Verifier {
            log: self.rig.log(),
            lake: self.rig.lake.clone(),
            control: self.rig.control.clone(),
            def: Arc::clone(&self.rig.def),
            partition: PartitionId(0),
        }
    }

    async fn report(&self) -> PartitionReport {
        self.verifier().run().await.unwrap()
    }

    fn path(name: &str) -> Path {
        Path::from(format!("ticks/{name}"))
    }

    async fn put(&self, path: &Path, bytes: Bytes) {
        self.store
            .put_opts(path, bytes.into(), PutOptions::default())
            .await
            .unwrap();
    }

    /// Changes an object in place.
    async fn tamper(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) {
        let found = self.store.get(path).await.unwrap().bytes().await.unwrap();
        let mut bytes = found.to_vec();
        change(&mut bytes);
        self.put(path, bytes.into()).await;
    }

    /// The newest commit that `which` holds for.
    async fn body(&self, which: fn(&CommitBody) -> bool) -> CommitBody {
        let links = self.rig.links(0).await;
        let bodies = links.into_iter().map(|link| link.commit.body);
        bodies.rev().find(which).unwrap()
    }

    /// The report has exactly one difference, which names `path`.
    async fn expect_one(&self, path: &Path) {
        let report = self.report().await;
        assert_eq!(report.differences.len(), 1, "{:?}", report.differences);
        assert!(
            report.differences[0].contains(path.as_ref()),
            "{:?}",
            report.differences
        );
    }
}

#[tokio::test(start_paused = true)]
async fn good_data_verifies_and_is_counted() {
    let bench = Bench::new(21).await;
    let report = bench.report().await;
    let links = bench.rig.links(0).await;
    assert_eq!(report.differences, [""; 0]);
    assert!(report.complete && report.duplicate_rows > 0 && report.rejected_rows == 0);
    assert_eq!(report.commits, links.len() as u64);
    assert_eq!(report.sealed_rows + report.open_rows, bench.accepted);
    assert_eq!(
        report.sealed_rows,
        links.last().unwrap().commit.body.sealed_rows
    );
}

#[tokio::test(start_paused = true)]
async fn rows_in_a_partition_that_their_key_does_not_belong_to_are_found() {
    let store = Arc::new(InMemory::new());
    let rig = Rig::new(Lake::with_store(store as _, "memory://"), 2).await;
    let mut feed = Feed::new(&rig, 31, 3).await;
    feed.run(200, 2_000_000).await;
    let at_home = feed.rows.len();
    feed.misplace();
    feed.run(200, 2_000_000).await;
    rig.seal().await;
    for partition in 0..2 {
        let verifier = Verifier {
            log: rig.log(),
            lake: rig.lake.clone(),
            control: rig.control.clone(),
            def: Arc::clone(&rig.def),
            partition: PartitionId(partition),
        };
        let report = verifier.run().await.unwrap();
        assert_eq!(report.differences, [""; 0]);
        let told = report.strays;
        let first = feed.rows[at_home..]
            .iter()
            .find(|row| row.partition == partition);
        let offset = format!("at offset {} ", first.unwrap().offset);
        assert!(told.iter().any(|line| line.contains(&offset)), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_lags_is_incomplete_but_not_different() {
    let bench = Bench::new(22).await;
    let links = bench.rig.links(0).await;
    let newest = Bench::path(&format!("commit/p0/{:020}", links.len() - 1));
    bench.store.delete(&newest).await.unwrap();
    let report = bench.report().await;
    assert!(
        !report.complete && report.differences.is_empty(),
        "{:?}",
        report.differences
    );
    assert_eq!(report.commits, links.len() as u64 - 1);
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_was_cut_is_told_from_one_that_lags() {
    let bench = Bench::new(25).await;
    let mut links = bench.rig.links(0).await;
    let mut segments = 0;
    // the first one cut is the first that its segments vouch for
    while let Some(link) = links.pop() {
        let body = &link.commit.body;
        let path = Bench::path(&format!("commit/p0/{:020}", body.seq));
        bench.store.delete(&path).await.unwrap();
        segments += usize::from(!body.segments.is_empty());
        let told = bench.report().await.differences;
        if segments < 3 {
            assert_eq!(told, [""; 0], "{segments}");
        } else {
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains(path.as_ref()), "{told:?}");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_in_a_segment_is_reported() {
    let bench = Bench::new(23).await;
    let body = bench.body(|body| !body.segments.is_empty()).await;
    let path = Bench::path(&body.segments[0].name);
    bench.tamper(&path, |bytes| bytes[100] ^= 4).await;
    bench.expect_one(&path).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_segment_is_reported() {
    let bench = Bench::new(24).await;
    let body = bench.body(|body| !body.segments.is_empty()).await;
    let path = Bench::path(&body.segments[0].name);
    bench.store.delete(&path).await.unwrap();
    bench.expect_one(&path).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_missing_sidecar_is_reported() {
    let bench = Bench::new(25).await;
    let body = bench.body(|body| body.rejects.is_some()).await;
    let path = Bench::path(&body.rejects.unwrap().name);
    bench.tamper(&path, |bytes| bytes[3] ^= 1).await;
    bench.expect_one(&path).await;
    bench.store.delete(&path).await.unwrap();
    bench.expect_one(&path).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_commit_below_others_is_reported() {
    let bench = Bench::new(26).await;
    let path = Bench::path("commit/p0/00000000000000000003");
    bench.store.delete(&path).await.unwrap();
    bench.expect_one(&path).await;
    assert!(!bench.report().await.complete);
}

#[tokio::test(start_paused = true)]
async fn an_altered_commit_is_reported() {
    let spoil: [fn(&mut Commit); 4] = [
        |commit| commit.body.sealed_rows += 1,
        |commit| commit.body.state.counts.accepted += 1,
        |commit| commit.body.segments[0].file_hash = Digest::ZERO,
        |commit| commit.body.segments[0].bytes += 1,
    ];
    for change in spoil {
        let bench = Bench::new(27).await;
        let links = bench.rig.links(0).await;
        // the newest that names a segment, so that no later link gives it away
        let found = |link: &&Link| !link.commit.body.segments.is_empty();
        let mut commit = links.iter().rfind(found).unwrap().commit.clone();
        change(&mut commit);
        let commit = commit.seal().unwrap();
        let path = Bench::path(&format!("commit/p0/{:020}", commit.body.seq));
        bench.put(&path, commit.encode().unwrap().into()).await;
        let report = bench.report().await;
        let told = |text: &String| {
            text.contains(path.as_ref()) || text.contains(&commit.body.segments[0].name)
        };
        assert!(
            report.differences.iter().any(told),
            "{:?}",
            report.differences
        );
    }
}

/// A chain that is whole in itself, but not what the log says.
#[tokio::test(start_paused = true)]
async fn a_forged_chain_is_reported() {
    let bench = Bench::new(28).await;
    let mut tip = tourbillon_core::manifest::ChainTip::EMPTY;
    for link in bench.rig.links(0).await {
        let mut body = link.commit.body;
        body.state.counts.duplicate += 1;
        let forged = Commit::link(body, &tip, "forger".into()).unwrap();
        let bytes = forged.encode().unwrap();
        tip = forged.tip(&bytes);
        let path = Bench::path(&format!("commit/p0/{:020}", forged.body.seq));
        bench.put(&path, bytes.into()).await;
    }
    let report = bench.report().await;
    assert_eq!(report.differences.len() as u64, report.commits);
}

#[tokio::test(start_paused = true)]
async fn commits_that_the_log_does_not_ask_for_are_reported() {
    let bench = Bench::new(29).await;
    let link = bench.rig.links(0).await.pop().unwrap();
    let mut body = link.commit.body;
    body.seq += 1;
    body.segments.clear();
    body.rejects = None;
    let extra = Commit::link(body, &link.tip, "forger".into()).unwrap();
    let path = Bench::path(&format!("commit/p0/{:020}", extra.body.seq));
    bench.put(&path, extra.encode().unwrap().into()).await;
    bench.expect_one(&path).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_records_behind_a_commit_is_reported() {
    let bench = Bench::new(32).await;
    let link = bench.rig.links(0).await.pop().unwrap();
    let range = bench.rig.log().range(&bench.rig.at(0)).await.unwrap();
    let mut body = link.commit.body;
    body.seq += 1;
    body.segments.clear();
    body.rejects = None;
    body.next_offset = Offset(range.end.0 + 1);
    let beyond = Commit::link(body, &link.tip, "elder".into()).unwrap();
    let path = Bench::path(&format!("commit/p0/{:020}", beyond.body.seq));
    bench.put(&path, beyond.encode().unwrap().into()).await;
    bench.expect_one(&path).await;
    let report = bench.report().await;
    assert!(
        report.differences[0].starts_with("the log was truncated"),
        "{:?}",
        report.differences
    );
}

#[tokio::test(start_paused = true)]
async fn files_of_another_release_with_the_same_rows_are_no_difference() {
    let bench = Bench::new(30).await;
    let mut tip = tourbillon_core::manifest::ChainTip::EMPTY;
    for link in bench.rig.links(0).await {
        let mut body = link.commit.body;
        for segment in &mut body.segments {
            let bytes = bench
                .rig
                .lake
                .get_segment(&bench.rig.def.name, &segment.name)
                .await;
            let bytes = reencoded(bytes.unwrap());
            segment.file_hash = Digest::of(&bytes);
            segment.bytes = bytes.len() as u64;
            bench.put(&Bench::path(&segment.name), bytes).await;
        }
        let commit = Commit::link(body, &tip, "older".into()).unwrap();
        assert_eq!(commit.chain_root, link.commit.chain_root);
        let bytes = commit.encode().unwrap();
        tip = commit.tip(&bytes);
        let path = Bench::path(&format!("commit/p0/{:020}", commit.body.seq));
        bench.put(&path, bytes.into()).await;
    }
    assert_eq!(bench.report().await.differences, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_no_difference() {
    let bench = Bench::new(31).await;
    for path in ["commit/", "data/", "rejects/"] {
        let inner: Arc<dyn ObjectStore> = Arc::clone(&bench.store) as _;
        let store = FaultyStore::new(inner, move |_, at| {
            at.as_ref().contains(path).then_some(StoreFault::NoEffect)
        });
        let lake = Lake::with_store(Arc::new(store), "faulty://");
        let error = Verifier {
            lake,
            ..bench.verifier()
        }
        .run()
        .await
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{path}");
    }
}

fn reencoded(bytes: Bytes) -> Bytes {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = Arc::clone(reader.schema());
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    for batch in reader.build().unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.into_inner().unwrap().into()
}
