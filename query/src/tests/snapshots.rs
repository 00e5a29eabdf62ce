//! The same token, the same bytes: wherever the rows lie by then.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::sse::Client;
use super::*;
use crate::rig::EPOCH;
use crate::rig::feed::{Row, SYMBOLS};
use crate::token::Token;

const SPAN: i64 = 1_000_000_000;
const GRACE: Duration = Duration::from_secs(60);
const COLUMNS: [&str; 4] = ["hlc", "writer", "n", "log_offset"];

/// A request and the answer that it must have for ever.
struct Kept {
    query: String,
    accept: &'static str,
    body: Bytes,
}

pub(super) fn below(rows: &[Row], token: &Token) -> Vec<Row> {
    let known = |row: &&Row| {
        let partition = tourbillon_core::ids::PartitionId(row.partition);
        row.offset < token.offset(partition).0
    };
    rows.iter().filter(known).cloned().collect()
}

/// A token that nobody gave, and what it must give, filtered and sorted in the plainest way.
fn made_up(rng: &mut SmallRng, all: &[Row], ends: &[Offset]) -> Kept {
    let known = rng.random_range(1..=ends.len());
    let offsets = ends[..known].iter();
    let offsets: Vec<String> = offsets
        .map(|end| rng.random_range(0..=end.0).to_string())
        .collect();
    let token = format!("1.{}", offsets.join("-"));
    let mut rows = below(all, &token.parse().unwrap());
    let mut query = format!(
        "snapshot={token}&consistency=latest&wait=0s&columns={}",
        COLUMNS.join(",")
    );
    let mut stamp = || all.choose(rng).unwrap().hlc;
    let (one, two) = (stamp(), stamp());
    if rng.random() {
        query += &format!("&start={}", one.min(two));
        rows.retain(|row| row.hlc >= one.min(two));
    }
    if rng.random() {
        query += &format!("&end={}", one.max(two));
        rows.retain(|row| row.hlc < one.max(two));
    }
    if rng.random() {
        let symbol = SYMBOLS.choose(rng).unwrap();
        query += &format!("&key.symbol={}", encoded(symbol));
        rows.retain(|row| row.symbol == *symbol);
    }
    if rng.random_bool(0.2) {
        query += "&partition=1";
        rows.retain(|row| row.partition == 1);
    }
    if rng.random() {
        query += "&order=desc";
        rows.reverse();
    }
    if rng.random_bool(0.3) {
        let limit = rng.random_range(1..200);
        query += &format!("&limit={limit}");
        rows.truncate(limit);
    }
    let body = expected::csv(&rows, &COLUMNS).into();
    Kept {
        query,
        accept: "text/csv",
        body,
    }
}

/// A request without a token, and the same with the token of the answer.
async fn asked(rng: &mut SmallRng, all: &[Row], bench: &Bench) -> Kept {
    let accept = ["text/csv", "*/*", "application/vnd.apache.arrow.stream"];
    let accept = accept.choose(rng).unwrap();
    let mut query = "wait=0s".to_owned();
    for (more, odds) in [
        ("&order=desc", 0.5),
        ("&limit=77", 0.3),
        ("&consistency=latest", 0.5),
        ("&key.lot=0", 0.3),
        ("&columns=n,price,symbol", 0.3),
        ("&partition=0", 0.2),
    ] {
        query += if rng.random_bool(odds) { more } else { "" };
    }
    if rng.random() {
        query += &format!("&start={}", all.choose(rng).unwrap().hlc);
    }
    let answer = bench.window(&query, accept).await;
    assert_eq!(answer.status, StatusCode::OK, "{query} {:?}", answer.body);
    query += &format!("&snapshot={}", answer.header("tourbillon-snapshot"));
    let again = bench.window(&query, accept).await;
    for name in ["snapshot", "complete-through", "final"] {
        let name = format!("tourbillon-{name}");
        assert_eq!(again.header(&name), answer.header(&name), "{query}");
    }
    Kept {
        query,
        accept,
        body: answer.body,
    }
}

async fn check(kept: &[Kept], bench: &Bench, when: &str) {
    for Kept {
        query,
        accept,
        body,
    } in kept
    {
        let answer = bench.window(query, accept).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{when}: {query} {:?}",
            answer.body
        );
        assert!(answer.body == body, "{when}: {query}");
    }
}

fn worker(rig: &Rig) -> Worker {
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "w".into(),
        grace: GRACE,
    };
    Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone())
}

#[tokio::test(start_paused = true)]
async fn a_token_gives_the_same_bytes_wherever_the_rows_lie() {
    for seed in 0..2 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut rig = Rig::keeping(memory(), 2, Some(SPAN), None).await;
        let mut feed = Feed::new(&rig, 90 + seed, 3).await;
        let bench = Bench::on(&rig).await;
        let mut kept = Vec::new();
        for round in 0..6 {
            if round == 3 {
                // columns that come later must not show in earlier answers
                rig.evolve().await;
                feed.rig = rig.clone();
            }
            feed.run(150, 3_000_000).await;
            if round % 2 == 1 {
                seal(&rig).await;
            }
            bench.caught_up().await;
            let all = feed.ordered();
            let ends = [rig.end(0).await, rig.end(1).await];
            for _ in 0..6 {
                kept.push(made_up(&mut rng, &all, &ends));
                kept.push(asked(&mut rng, &all, &bench).await);
            }
            check(&kept, &bench, "while rows come in").await;
        }
        check(&kept, &Bench::on(&rig).await, "on another node").await;
        let files = || {
            let partitions = bench.service.partitions(&rig.def).unwrap();
            let files = partitions.iter().map(|p| p.summary().segments);
            files.sum::<usize>()
        };
        let small = files();
        let worker = worker(&rig);
        until(|| async { files() < small / 2 }).await;
        check(&kept, &bench, "after compaction").await;
        sleep(GRACE * 2).await;
        worker.shutdown().await;
        check(
            &kept,
            &Bench::on(&rig).await,
            "on a node that began after it",
        )
        .await;
    }
}

/// The last field of a line.
fn number(line: &str) -> i64 {
    line.rsplit_once(',').unwrap().1.parse().unwrap()
}

fn problem(answer: &Answer, status: StatusCode) -> Value {
    assert_eq!(answer.status, status, "{:?}", answer.body);
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_behind_waits_and_says_which_partition_is() {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 95, 1).await;
    feed.run(20, 1000).await;
    let bench = Bench::on(&rig).await;
    let (zero, one) = (rig.end(0).await.0, rig.end(1).await.0);
    for ahead in [
        format!("snapshot=1.{zero}-{}&consistency=latest", one + 1),
        format!("at_least=1.{zero}-{}", one + 1),
        format!("at_least=1:{one},0:{}", zero - 1),
    ] {
        let begun = Instant::now();
        let answer = bench.window(&format!("{ahead}&wait=3s"), "*/*").await;
        assert!(begun.elapsed() >= Duration::from_secs(3));
        let problem = problem(&answer, StatusCode::SERVICE_UNAVAILABLE);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("partition 1"), "{detail}");
    }
    // and answers as soon as it has got there
    let query = format!("at_least=1:{one}&wait=30s&consistency=latest&columns=n");
    let begun = Instant::now();
    let late = async {
        sleep(Duration::from_secs(5)).await;
        feed.data(0, 1, 7, None).await;
    };
    let (answer, ()) = tokio::join!(bench.window(&query, "text/csv"), late);
    assert!((5..6).contains(&begun.elapsed().as_secs()));
    let newest = feed.rows.last().unwrap().n;
    assert!(
        answer.text().ends_with(&format!("\n{newest}\n")),
        "{answer:?}",
        answer = answer.text()
    );
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_came_later_is_empty_and_an_unknown_one_is_refused() {
    let (feed, bench) = mixed(96, 2).await;
    let end = bench.rig.end(0).await.0;
    let query = |token: &str| format!("snapshot={token}&consistency=latest&columns=n&wait=0s");
    let answer = bench.window(&query(&format!("1.{end}")), "text/csv").await;
    let mut rows = feed.ordered();
    rows.retain(|row| row.partition == 0);
    assert_eq!(answer.text(), expected::csv(&rows, &["n"]));
    for wrong in [
        query("1.1-1-1"),
        query("1.1-1.c99"),
        "at_least=2:5".into(),
        "at_least=1.1-1-1".into(),
    ] {
        let answer = bench.window(&wrong, "*/*").await;
        problem(&answer, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_was_complete_is_only_given_on_request() {
    let (feed, bench) = mixed(97, 2).await;
    let answer = bench.window("", "text/csv").await;
    let token: Token = answer.header("tourbillon-snapshot").parse().unwrap();
    let complete = token.complete_through.unwrap().0;
    let bare = token.to_string().split(".t").next().unwrap().to_owned();
    for (query, status) in [
        (format!("snapshot={token}&end={}", complete + 1), 200),
        (format!("snapshot={token}&end={}", complete + 2), 400),
        (format!("snapshot={bare}"), 400),
        (format!("snapshot={bare}&end={EPOCH}"), 400),
        (format!("snapshot={bare}&consistency=latest"), 200),
    ] {
        let answer = bench.window(&query, "text/csv").await;
        assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text());
    }
    let query = format!("snapshot={token}&consistency=latest");
    let answer = bench.window(&query, "text/csv").await;
    assert_eq!(answer.header("tourbillon-final"), "false");
    assert_eq!(answer.text().lines().count(), feed.rows.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_rows_are_gone_is_told_what_is_left() {
    let rig = Rig::keeping(memory(), 2, Some(SPAN), Some(2 * SPAN)).await;
    let mut feed = Feed::new(&rig, 98, 3).await;
    feed.run(2000, 3_000_000).await;
    let bench = Bench::on(&rig).await;
    let whole = bench.window("columns=hlc,n", "text/csv").await;
    let token = whole.header("tourbillon-snapshot").to_owned();
    let worker = worker(&rig);
    sleep(GRACE * 5).await;
    worker.shutdown().await;
    for bench in [&bench, &Bench::on(&rig).await] {
        let query = format!("snapshot={token}&columns=hlc,n");
        let problem = problem(&bench.window(&query, "text/csv").await, StatusCode::GONE);
        // what it says is left is given, and is the end of what there was
        let from = problem["kept_from"].as_str().unwrap();
        let left = bench
            .window(&format!("{query}&start={from}"), "text/csv")
            .await;
        assert_eq!(left.status, StatusCode::OK, "{}", left.text());
        let (_, rows) = left.text().split_once('\n').unwrap();
        assert!(rows.lines().count() > 1000 && whole.text().ends_with(rows));
        let fresh = bench.window("columns=hlc,n", "text/csv").await;
        let token = fresh.header("tourbillon-snapshot");
        let again = bench
            .window(&format!("snapshot={token}&columns=hlc,n"), "text/csv")
            .await;
        assert_eq!(again.text(), fresh.text());
        assert!(fresh.text().lines().count() < whole.text().lines().count());
        // subscriptions are not silently begun later than asked for either
        let first = &feed.ordered()[0];
        for from in [
            first.hlc.to_string(),
            format!("o1.{}-{}", first.hlc, first.writer),
            format!("e1.0-0.t{}", first.hlc),
        ] {
            let uri = format!("/v1/streams/ticks/subscribe?from={from}");
            let answer = bench.get(&uri, "*/*").await;
            assert_eq!(answer.status, StatusCode::GONE, "{from}: {}", answer.text());
        }
        let wanted: Vec<i64> = fresh.text().lines().skip(1).map(number).collect();
        for mode in ["ordered", "eager"] {
            let query = format!("from=earliest&columns=n,hlc&mode={mode}");
            let mut client = Client::on(bench, &query, None).await;
            let mut found = Vec::new();
            loop {
                let event = client.next().await.unwrap();
                if event.name == "watermark" {
                    break;
                }
                found.extend(event.numbers("n"));
            }
            if mode == "eager" {
                let complete = fresh.header("tourbillon-complete-through");
                let complete = tourbillon_core::time::parse_time_ns(complete).unwrap();
                let is_final: std::collections::BTreeSet<i64> = feed
                    .rows
                    .iter()
                    .filter(|row| row.hlc <= complete)
                    .map(|row| row.n)
                    .collect();
                found.retain(|n| is_final.contains(n));
                found.sort_unstable();
                let mut wanted = wanted.clone();
                wanted.sort_unstable();
                assert!(found == wanted, "{mode}");
            } else {
                assert!(found == wanted, "{mode}");
            }
        }
    }
}
