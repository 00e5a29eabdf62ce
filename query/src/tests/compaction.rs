//! Windows while segments become large files and old rows go.

use std::collections::BTreeMap;

use super::*;

const SPAN: i64 = 1_000_000_000;
const GRACE: Duration = Duration::from_secs(60);

fn worker(rig: &Rig) -> Worker {
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "w".into(),
        grace: GRACE,
    };
    Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone())
}

/// Some seconds of history with rejects and two schema versions, and where they begin.
async fn history(seed: u64, retention_ns: Option<i64>) -> (Feed, Rig) {
    let mut rig = Rig::keeping(memory(), 2, Some(SPAN), retention_ns).await;
    let mut feed = Feed::new(&rig, seed, 3).await;
    feed.run(700, 3_000_000).await;
    rig.evolve().await;
    feed.rig = rig.clone();
    feed.run(1300, 3_000_000).await;
    (feed, rig)
}

/// Answers to windows of many kinds, by what was asked.
async fn answers(bench: &Bench, feed: &Feed) -> BTreeMap<String, String> {
    let (first, last) = (feed.rows[0].hlc, feed.rows[feed.rows.len() - 1].hlc);
    let mut asked = vec!["".to_owned(), "order=desc&limit=999".into()];
    for part in 0..12 {
        let start = first + (last - first) * part / 13;
        let end = start + (part + 1) * 211_000_003;
        asked.push(format!("consistency=latest&start={start}&end={end}"));
        let keys = format!("key.symbol=ETHUSDT&columns=hlc,n,log_offset&start={start}");
        asked.push(format!("consistency=latest&{keys}"));
    }
    let mut answers = BTreeMap::new();
    for query in asked {
        let answer = bench.window(&query, "text/csv").await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
        answers.insert(query, answer.text().to_owned());
    }
    let rejects = bench
        .get("/v1/streams/ticks/rejects?limit=10000", "*/*")
        .await;
    answers.insert("rejects".into(), rejects.text().to_owned());
    answers
}

fn files(bench: &Bench) -> usize {
    let partitions = bench.service.partitions(&bench.rig.def).unwrap();
    partitions
        .iter()
        .map(|partition| partition.summary().segments)
        .sum()
}

#[tokio::test(start_paused = true)]
async fn answers_stay_the_same_through_compaction_and_on_other_nodes() {
    let (feed, rig) = history(80, None).await;
    let early = Bench::on(&rig).await;
    let from_tails = answers(&early, &feed).await;
    assert!(from_tails["rejects"].matches("\"reason\"").count() > 20);
    seal(&rig).await;
    early.caught_up().await;
    let small = files(&early);
    assert_eq!(answers(&early, &feed).await, from_tails);
    let worker = worker(&rig);
    until(|| async { files(&early) < small / 2 }).await;
    // both the segments and what holds their rows are still in the store
    assert_eq!(answers(&early, &feed).await, from_tails);
    assert_eq!(answers(&Bench::on(&rig).await, &feed).await, from_tails);
    tokio::time::sleep(GRACE * 2).await;
    worker.shutdown().await;
    assert_eq!(answers(&early, &feed).await, from_tails);
    let late = Bench::on(&rig).await;
    assert_eq!(answers(&late, &feed).await, from_tails);
    assert_eq!(files(&late), files(&early));
}

#[tokio::test(start_paused = true)]
async fn rows_past_retention_are_refused_by_name_and_left_out_by_default() {
    let (feed, rig) = history(81, Some(2 * SPAN)).await;
    let bench = Bench::on(&rig).await;
    let whole = bench.window("columns=hlc,n", "text/csv").await;
    let worker = worker(&rig);
    let gone = format!("start={}", feed.rows[0].hlc);
    tokio::time::sleep(GRACE * 5).await;
    worker.shutdown().await;
    for bench in [&bench, &Bench::on(&rig).await] {
        let refused = bench.window(&gone, "text/csv").await;
        assert_eq!(refused.status, StatusCode::GONE);
        assert!(refused.text().contains("retention"), "{}", refused.text());
        let left = bench.window("columns=hlc,n", "text/csv").await;
        assert_eq!(left.status, StatusCode::OK);
        let count = left.text().lines().count();
        assert!(count > 1000 && count < whole.text().lines().count());
        let (_, rows) = left.text().split_once('\n').unwrap();
        assert!(whole.text().ends_with(rows), "the newest rows are left");
        let newest = rows.lines().last().unwrap();
        let from = newest.split_once(',').unwrap().0;
        let from = tourbillon_core::time::parse_time_ns(from).unwrap();
        let ok = bench.window(&format!("start={from}"), "text/csv").await;
        assert_eq!(ok.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_slept_through_the_grace_says_so_and_looks_again() {
    let (feed, rig) = history(82, None).await;
    seal(&rig).await;
    let bench = Bench::on(&rig).await;
    let wanted = bench.window("", "text/csv").await;
    // asleep: its chains are not followed, as if its process had been stopped
    bench.service.shutdown().await;
    let worker = worker(&rig);
    tokio::time::sleep(GRACE * 3).await;
    worker.shutdown().await;
    let answer = bench.window("", "text/csv").await;
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        answer.text()
    );
    assert!(answer.text().contains("replaced"), "{}", answer.text());
    let other = Bench::on(&rig).await;
    assert_eq!(other.window("", "text/csv").await.text(), wanted.text());
    assert!(!feed.rows.is_empty());
}
