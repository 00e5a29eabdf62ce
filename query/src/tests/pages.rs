//! Page after page: together they are the window, whatever happens between them.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::snapshots::below;
use super::*;
use crate::rig::feed::Row;
use crate::token::Token;

const COLUMNS: [&str; 4] = ["hlc", "writer", "symbol", "n"];

pub(super) fn next(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    let link = link.strip_prefix('<').unwrap();
    Some(link.strip_suffix(">; rel=\"next\"").unwrap().to_owned())
}

fn worker(rig: &Rig) -> Worker {
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "w".into(),
        grace: Duration::from_secs(3600),
    };
    Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone())
}

/// Reads on from a page until there is none; all rows as CSV, with the header of the first.
async fn turn(rng: &mut SmallRng, bench: &Bench, feed: &mut Feed, first: Answer) -> String {
    let mut text = first.text().to_owned();
    let mut page = first;
    let limit = |uri: &str| -> usize {
        let limit = uri.split(['&', '?']).find_map(|p| p.strip_prefix("limit="));
        limit.unwrap().parse().unwrap()
    };
    while let Some(uri) = next(&page) {
        assert!(!uri.contains("snapshot=") && uri.matches("cursor=").count() == 1);
        if rng.random_bool(0.3) {
            feed.run(10, 3_000_000).await;
            // enough for the worker to seal and compact
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
        }
        // the size may change from page to page
        let size = *[1, 7, 200, 600].choose(rng).unwrap();
        let uri = uri.replace(&format!("limit={}", limit(&uri)), &format!("limit={size}"));
        page = bench.get(&uri, "text/csv").await;
        assert_eq!(page.status, StatusCode::OK, "{uri}: {}", page.text());
        if rng.random_bool(0.2) {
            assert_eq!(bench.get(&uri, "text/csv").await.body, page.body, "{uri}");
        }
        let (_, rows) = page.text().split_once('\n').unwrap();
        let full = rows.lines().count() == size;
        assert!(full || next(&page).is_none(), "{uri}");
        assert!(!rows.is_empty(), "an empty page after {uri}");
        text += rows;
    }
    text
}

#[tokio::test(start_paused = true)]
async fn pages_are_the_window_while_it_moves() {
    for seed in 0..3 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rig = Rig::keeping(memory(), 2, Some(1_000_000_000), None).await;
        let mut feed = Feed::new(&rig, 100 + seed, 3).await;
        feed.run(250, 3_000_000).await;
        let bench = Bench::on(&rig).await;
        let worker = worker(&rig);
        for _ in 0..6 {
            let all: Vec<Row> = feed.ordered();
            let mut query = format!(
                "columns={}&limit={}",
                COLUMNS.join(","),
                rng.random_range(1..99)
            );
            let (desc, latest, keyed) = (rng.random(), rng.random(), rng.random_bool(0.3));
            query += if desc { "&order=desc" } else { "" };
            query += if latest { "&consistency=latest" } else { "" };
            query += if keyed {
                "&key.symbol=%C3%9C,X%22Y"
            } else {
                ""
            };
            let start: bool = rng.random();
            let start = if start {
                all.choose(&mut rng).unwrap().hlc
            } else {
                0
            };
            query += &format!("&start={start}");
            let first = bench.window(&query, "text/csv").await;
            assert_eq!(first.status, StatusCode::OK, "{}", first.text());
            let token: Token = first.header("tourbillon-snapshot").parse().unwrap();
            let text = turn(&mut rng, &bench, &mut feed, first).await;
            let mut rows = below(&feed.ordered(), &token);
            let complete = token.complete_through.unwrap().0;
            rows.retain(|row| row.hlc >= start && (latest || row.hlc <= complete));
            rows.retain(|row| !keyed || ["Ü", "X\"Y"].contains(&row.symbol));
            if desc {
                rows.reverse();
            }
            assert_eq!(text, expected::csv(&rows, &COLUMNS), "{query}");
        }
        worker.shutdown().await;
        let (segments, ..) = bench.service.totals(&rig.def).unwrap();
        assert!(segments > 3, "{segments}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_that_was_cut_has_a_next_page() {
    let (feed, bench) = mixed(104, 2).await;
    let rows = feed.rows.len();
    for (limit, cut) in [(rows - 1, true), (rows, false), (rows + 1, false)] {
        let query = format!("consistency=latest&limit={limit}");
        let answer = bench.window(&query, "*/*").await;
        assert_eq!(next(&answer).is_some(), cut, "{limit} of {rows}");
    }
    let unlimited = bench.window("consistency=latest", "*/*").await;
    assert_eq!(next(&unlimited), None);
}

#[tokio::test(start_paused = true)]
async fn cursors_and_snapshots_are_told_apart() {
    let (_, bench) = mixed(105, 1).await;
    let answer = bench.window("limit=1", "*/*").await;
    let snapshot = answer.header("tourbillon-snapshot");
    let cursor = next(&answer).unwrap();
    let (_, cursor) = cursor.split_once("cursor=").unwrap();
    for (query, name) in [
        (format!("snapshot={cursor}"), "snapshot"),
        (format!("cursor={snapshot}"), "cursor"),
        (format!("cursor={cursor}&snapshot={snapshot}"), "snapshot"),
        (format!("cursor={cursor}x"), "byte"),
    ] {
        let answer = bench.window(&query, "*/*").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.text().contains(name), "{}", answer.text());
    }
}
