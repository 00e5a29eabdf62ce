//! Commits that do not belong where they stand.

use super::*;

/// What reading the chain says, by each of the three ways to read it.
async fn complaints(lake: &Lake, tip: &ChainTip) -> [Option<String>; 3] {
    let chain = chain(lake);
    let text = |error: LakeError| {
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        error_chain(&error)
    };
    [
        chain.load().await.err().map(text),
        chain.newest().await.err().map(text),
        chain.after_tip(tip).await.err().map(text),
    ]
}

#[tokio::test]
async fn a_gap_names_the_missing_commit() {
    for gap in [0, 2, 3] {
        let lake = memory();
        let links = grown(&lake, 5).await;
        let path = chain(&lake).path(gap);
        lake.delete(&path).await.unwrap();
        let [load, newest, _] = complaints(&lake, &links[3].tip).await;
        assert!(load.unwrap().contains(path.as_ref()), "{gap}");
        // the newest commit is tied to the one before it
        assert_eq!(
            newest.is_some_and(|text| text.contains(path.as_ref())),
            gap == 3,
            "{gap}"
        );
    }
}

#[tokio::test]
async fn altered_commits_are_named() {
    let spoil: [fn(&mut Commit); 5] = [
        |commit| commit.body.sealed_rows += 1,
        |commit| commit.body.segments[0].rows_root = Digest::ZERO,
        |commit| commit.body.state.watermark = Hlc(1),
        |commit| commit.chain_root = Digest::ZERO,
        |commit| commit.prev_hash = Digest::ZERO,
    ];
    for (case, change) in spoil.into_iter().enumerate() {
        let lake = memory();
        let links = grown(&lake, 3).await;
        let mut altered = links[2].commit.clone();
        change(&mut altered);
        overwrite(&lake, 2, altered.seal().unwrap().encode().unwrap()).await;
        for complaint in complaints(&lake, &links[1].tip).await {
            let complaint = complaint.unwrap_or_else(|| panic!("case {case} goes unnoticed"));
            assert!(
                complaint.contains("commit/p3/00000000000000000002"),
                "{complaint}"
            );
        }
    }
}

#[tokio::test]
async fn bytes_altered_without_a_trace_in_the_content_break_the_next_link() {
    let lake = memory();
    let links = grown(&lake, 3).await;
    let mut altered = links[1].commit.clone();
    altered.nonce = "b".into();
    overwrite(&lake, 1, altered.seal().unwrap().encode().unwrap()).await;
    let [load, newest, _] = complaints(&lake, &links[1].tip).await;
    for complaint in [load, newest] {
        assert!(
            complaint
                .unwrap()
                .contains("commit/p3/00000000000000000002")
        );
    }
}

#[tokio::test]
async fn foreign_and_unreadable_commits_are_named() {
    let elsewhere: [fn(&mut CommitBody); 3] = [
        |body| body.seq += 1,
        |body| body.partition = PartitionId(4),
        |body| body.stream.push('x'),
    ];
    let foreign = |change: fn(&mut CommitBody)| {
        let mut body = body(2);
        change(&mut body);
        Commit::link(body, &ChainTip::EMPTY, "a".into())
            .unwrap()
            .encode()
            .unwrap()
    };
    let mut cases: Vec<Vec<u8>> = elsewhere.into_iter().map(foreign).collect();
    cases.extend([
        Vec::new(),
        b"{}".to_vec(),
        b"{\"version\":2}".to_vec(),
        b"not json".to_vec(),
    ]);
    for (case, bytes) in cases.into_iter().enumerate() {
        let lake = memory();
        let links = grown(&lake, 3).await;
        overwrite(&lake, 2, bytes).await;
        for complaint in complaints(&lake, &links[1].tip).await {
            let complaint = complaint.unwrap_or_else(|| panic!("case {case} goes unnoticed"));
            assert!(
                complaint.contains("commit/p3/00000000000000000002"),
                "{complaint}"
            );
        }
    }
}

#[tokio::test]
async fn objects_that_are_no_commits_are_left_alone() {
    let lake = memory();
    let links = grown(&lake, 2).await;
    for name in [
        "7",
        "boundary",
        "00000000000000000009.tmp",
        "+0000000000000000009",
    ] {
        let path = object_path(&stream(), &format!("commit/p3/{name}"));
        lake.put(&path, Bytes::from_static(b"x"), PutMode::Create)
            .await
            .unwrap();
    }
    assert_eq!(
        commits(&chain(&lake).load().await.unwrap()),
        commits(&links)
    );
    let newest = chain(&lake).newest().await.unwrap().unwrap();
    assert_eq!(newest.commit, links[1].commit);
}
