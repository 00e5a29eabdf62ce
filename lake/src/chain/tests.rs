//! Appending once, whatever the store or other workers do.

mod damage;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::ids::{Offset, WriterId};
use tourbillon_core::manifest::{CommitBody, MachineState, SegmentMeta};

use super::*;
use crate::faulty::{FaultyStore, StoreCall, StoreFault};
use crate::sample::stream;

const P: PartitionId = PartitionId(3);

fn segment(seq: u64) -> SegmentMeta {
    let key = |hlc| Key {
        hlc: Hlc(hlc),
        writer: WriterId(1),
    };
    let first = i64::try_from(seq).unwrap() * 100;
    SegmentMeta {
        name: format!("data/{seq}"),
        rows: 5,
        rows_root: Digest::of(&seq.to_le_bytes()),
        file_hash: Digest::of(b"file"),
        pieces: Vec::new(),
        bytes: 9,
        first_key: key(first),
        last_key: key(first + 50),
        offsets: (Offset(seq), Offset(seq)),
        event_time: None,
        schema_version: 1,
    }
}

fn body(seq: u64) -> CommitBody {
    CommitBody {
        stream: stream().as_str().to_owned(),
        partition: P,
        seq,
        segments: vec![segment(seq)],
        sealed_key: None,
        sealed_rows: 5 * (seq + 1),
        next_offset: Offset(seq + 1),
        scan_from: Offset(seq + 1),
        skips: vec![],
        state: MachineState::default(),
        rejects: None,
    }
}

fn commit(seq: u64, tip: &ChainTip, nonce: &str) -> Commit {
    Commit::link(body(seq), tip, nonce.into()).unwrap()
}

fn memory() -> Lake {
    Lake::open("memory://").unwrap()
}

fn chain(lake: &Lake) -> Chain {
    Chain::new(lake, &stream(), P)
}

/// Appends commits `0..count` and returns them.
async fn grown(lake: &Lake, count: u64) -> Vec<Link> {
    let chain = chain(lake);
    let (mut links, mut tip): (Vec<Link>, _) = (Vec::new(), ChainTip::EMPTY);
    for seq in 0..count {
        let commit = commit(seq, &tip, "a");
        let Appended::Mine(next) = chain.append(&commit).await.unwrap() else {
            panic!("commit {seq} is not mine");
        };
        tip = next;
        links.push(Link { commit, tip });
    }
    links
}

fn commits(links: &[Link]) -> Vec<&Commit> {
    links.iter().map(|link| &link.commit).collect()
}

async fn overwrite(lake: &Lake, seq: u64, bytes: Vec<u8>) {
    let path = chain(lake).path(seq);
    lake.put(&path, bytes.into(), PutMode::Overwrite)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_appended_is_read_back_in_order() {
    let lake = memory();
    assert!(chain(&lake).newest().await.unwrap().is_none());
    assert!(chain(&lake).load().await.unwrap().is_empty());
    let links = grown(&lake, 40).await;
    let chain = chain(&lake);
    assert_eq!(commits(&chain.load().await.unwrap()), commits(&links));
    let newest = chain.newest().await.unwrap().unwrap();
    assert_eq!(
        (&newest.commit, newest.tip),
        (&links[39].commit, links[39].tip)
    );
    let next = chain.after_tip(&links[6].tip).await.unwrap().unwrap();
    assert_eq!(next.commit, links[7].commit);
    assert!(chain.next_after(&newest).await.unwrap().is_none());
    let first = chain.after_tip(&ChainTip::EMPTY).await.unwrap().unwrap();
    assert_eq!(first.commit, links[0].commit);
}

#[tokio::test]
async fn a_local_folder_keeps_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("deep/lake");
    let open = || Lake::open(url.to_str().unwrap()).unwrap();
    let links = grown(&open(), 3).await;
    let again = open();
    assert_eq!(
        commits(&chain(&again).load().await.unwrap()),
        commits(&links)
    );
    let fourth = commit(3, &links[2].tip, "b");
    assert!(matches!(
        chain(&again).append(&fourth).await.unwrap(),
        Appended::Mine(_)
    ));
    let url = format!("file://{}", url.display());
    let newest = chain(&Lake::open(&url).unwrap())
        .newest()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(newest.commit, fourth);
}

#[tokio::test]
async fn the_same_commit_by_another_worker_is_adopted() {
    let lake = memory();
    let links = grown(&lake, 1).await;
    let (mine, theirs) = (
        commit(1, &links[0].tip, "mine"),
        commit(1, &links[0].tip, "theirs"),
    );
    let Appended::Mine(tip) = chain(&lake).append(&theirs).await.unwrap() else {
        panic!("the first to commit owns it");
    };
    let Appended::Adopted(link) = chain(&lake).append(&mine).await.unwrap() else {
        panic!("the second to commit adopts");
    };
    assert_eq!((&link.commit, link.tip), (&theirs, tip));
    let mut other_encoder = mine;
    other_encoder.body.segments[0].file_hash = Digest::of(b"other release");
    other_encoder.body.segments[0].bytes += 1;
    let adopted = chain(&lake).append(&other_encoder).await.unwrap();
    assert!(matches!(adopted, Appended::Adopted(_)));
    let third = commit(2, &link.tip, "mine");
    assert!(matches!(
        chain(&lake).append(&third).await.unwrap(),
        Appended::Mine(_)
    ));
    assert_eq!(chain(&lake).load().await.unwrap().len(), 3);
}

#[tokio::test]
async fn racing_workers_make_one_chain() {
    let lake = memory();
    let work = |nonce: &'static str| {
        let chain = chain(&lake);
        async move {
            let (mut tip, mut mine) = (ChainTip::EMPTY, 0);
            for seq in 0..30 {
                tip = match chain.append(&commit(seq, &tip, nonce)).await.unwrap() {
                    Appended::Mine(tip) => {
                        mine += 1;
                        tip
                    }
                    Appended::Adopted(link) => link.tip,
                };
                tokio::task::yield_now().await;
            }
            (tip, mine)
        }
    };
    let (a, b, c) = tokio::join!(work("a"), work("b"), work("c"));
    assert_eq!(a.1 + b.1 + c.1, 30);
    let links = chain(&lake).load().await.unwrap();
    assert!(links.len() == 30 && [a.0, b.0, c.0].iter().all(|tip| *tip == links[29].tip));
}

#[tokio::test]
async fn a_commit_of_other_rows_is_a_fork() {
    let lake = memory();
    let links = grown(&lake, 2).await;
    let mut other = body(1);
    other.segments[0].rows_root = Digest::of(b"other rows");
    let other = Commit::link(other, &links[0].tip, "b".into()).unwrap();
    let forked = chain(&lake).append(&other).await.unwrap_err();
    assert!(matches!(&forked, LakeError::Forked { .. }), "{forked}");
    assert_eq!(forked.kind(), ErrorKind::Data);
    assert!(
        forked
            .to_string()
            .contains("commit/p3/00000000000000000001"),
        "{forked}"
    );
    let elsewhere = ChainTip {
        hash: Digest::of(b"elsewhere"),
        ..links[0].tip
    };
    let forked = chain(&lake)
        .append(&commit(1, &elsewhere, "b"))
        .await
        .unwrap_err();
    assert!(matches!(forked, LakeError::Forked { .. }));
}

#[tokio::test]
async fn an_altered_commit_is_not_adopted() {
    let lake = memory();
    let links = grown(&lake, 2).await;
    let mut altered = links[1].commit.clone();
    altered.body.sealed_rows += 1;
    overwrite(&lake, 1, altered.encode().unwrap()).await;
    let error = chain(&lake)
        .append(&commit(1, &links[0].tip, "b"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(
        error.to_string().contains("commit/p3/00000000000000000001"),
        "{error}"
    );
}

/// A store whose next calls of a kind fail by plan.
fn faulty(inner: &Arc<InMemory>, call: StoreCall, plan: &[Option<StoreFault>]) -> Lake {
    let plan: Mutex<VecDeque<_>> = Mutex::new(plan.iter().copied().collect());
    let inner: Arc<dyn ObjectStore> = Arc::clone(inner) as _;
    let store = FaultyStore::new(inner, move |made, _| {
        (made == call)
            .then(|| plan.lock().unwrap().pop_front().flatten())
            .flatten()
    });
    Lake::with_store(Arc::new(store), "faulty://")
}

#[tokio::test(start_paused = true)]
async fn store_faults_before_or_after_the_write_commit_once() {
    use StoreFault::{LostAnswer, NoEffect};
    let plans: [&[Option<StoreFault>]; 5] = [
        &[Some(NoEffect)],
        &[Some(LostAnswer)],
        &[Some(NoEffect), Some(NoEffect), Some(LostAnswer)],
        &[Some(LostAnswer), Some(NoEffect)],
        &[Some(NoEffect); 4],
    ];
    for plan in plans {
        let inner = Arc::new(InMemory::new());
        let lake = faulty(&inner, StoreCall::Put, plan);
        let first = commit(0, &ChainTip::EMPTY, "a");
        let appended = chain(&lake).append(&first).await.unwrap();
        assert!(matches!(appended, Appended::Mine(_)), "{plan:?}");
        let links = chain(&lake).load().await.unwrap();
        assert_eq!(commits(&links), [&first], "{plan:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_that_fail_while_in_doubt_are_tried_again() {
    let inner = Arc::new(InMemory::new());
    let theirs = commit(0, &ChainTip::EMPTY, "theirs");
    let lake = Lake::with_store(Arc::clone(&inner) as _, "memory://");
    chain(&lake).append(&theirs).await.unwrap();
    let lake = faulty(&inner, StoreCall::Get, &[Some(StoreFault::NoEffect); 3]);
    let mine = commit(0, &ChainTip::EMPTY, "mine");
    let appended = chain(&lake).append(&mine).await.unwrap();
    assert!(matches!(appended, Appended::Adopted(_)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_an_error_to_retry() {
    let inner = Arc::new(InMemory::new());
    let lake = faulty(&inner, StoreCall::Put, &[Some(StoreFault::NoEffect); 5]);
    let first = commit(0, &ChainTip::EMPTY, "a");
    let error = chain(&lake).append(&first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error_chain(&error).contains("injected fault"),
        "{}",
        error_chain(&error)
    );
    assert!(chain(&lake).newest().await.unwrap().is_none());
    chain(&lake).append(&first).await.unwrap();
}
