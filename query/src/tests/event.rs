//! Windows by event time: long ones, what they cost, and what is refused.

use futures::StreamExt;
use serde_json::Value;

use super::watched::{Watched, sealed_in};
use super::*;
use crate::rig::EPOCH;
use crate::rig::feed::Row;

const COLUMNS: [&str; 2] = ["n", "writer"];

/// A sealed history of 240,000 rows whose events are so late and so coarse.
async fn sealed(seed: u64, late: i64, coarse: i64) -> (Watched, Feed, Bench) {
    sealed_in(seed, 60, |feed| (feed.late, feed.coarse) = (late, coarse)).await
}

/// The rows that have an event time, in its order.
fn by_event(feed: &Feed) -> Vec<Row> {
    let mut rows = feed.rows.clone();
    rows.retain(|row| row.ts.is_some());
    rows.sort_by_key(|row| (row.ts, row.hlc, row.writer));
    rows
}

#[tokio::test(start_paused = true)]
async fn windows_longer_than_a_piece_are_whole_and_in_order() {
    // in order; in none; a few event times, of which each has more rows than a piece; a single one
    let feeds = [
        (1_000_000, 1),
        (5_000_000_000, 1),
        (1_000_000, 1_000_000_000),
        (1_000_000, i64::MAX),
    ];
    for (seed, (late, coarse)) in (110..).zip(feeds) {
        let (_, feed, bench) = sealed(seed, late, coarse).await;
        let mut rows = by_event(&feed);
        assert!(rows.len() > crate::order::pieces::MAX_PIECE_ROWS);
        for order in ["asc", "desc"] {
            let query = format!("time=event&columns=n,writer&order={order}");
            let answer = bench.window(&query, "text/csv").await;
            assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
            let wanted = expected::csv(&rows, &COLUMNS);
            assert!(answer.text() == wanted, "{late} {coarse} {order}");
            rows.reverse();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn narrow_windows_read_few_files_and_a_client_that_goes_away_stops_the_work() {
    let (watched, feed, bench) = sealed(120, 1_000_000, 1).await;
    let rows = by_event(&feed);
    let cost = async |query: &str| {
        let before = watched.reads();
        let answer = bench.window(query, "text/csv").await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        (answer.text().lines().count() - 1, watched.reads() - before)
    };
    let (found, all) = cost("time=event&columns=n").await;
    assert_eq!(found, rows.len());
    let (start, end) = (rows[1000].ts.unwrap(), rows[2000].ts.unwrap());
    let wanted = rows
        .iter()
        .filter(|row| row.ts >= Some(start) && row.ts < Some(end));
    let query = format!("time=event&columns=n&start={start}&end={end}");
    let (found, few) = cost(&query).await;
    assert_eq!(found, wanted.count());
    assert!(few * 8 < all, "{few} of {all} reads");
    for order in ["asc", "desc"] {
        let (found, few) = cost(&format!("time=event&columns=n&limit=10&order={order}")).await;
        assert!(found == 10 && few * 4 < all, "{few} of {all} reads");
        let before = watched.reads();
        let uri = format!("/v1/streams/ticks/window?time=event&order={order}");
        let mut body = bench
            .send(&uri, "text/csv")
            .await
            .into_body()
            .into_data_stream();
        assert!(body.next().await.unwrap().unwrap().len() > 100);
        drop(body);
        let begun = watched.reads() - before;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(watched.reads() - before, begun, "{order}");
        assert!(begun * 4 < all, "{order}: {begun} of {all} reads");
    }
    let (found, none) = cost("time=event&start=5&end=5").await;
    assert_eq!((found, none), (0, 0));
}

fn detail(answer: &Answer) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_by_event_time_is_refused_by_name() {
    let (_, bench) = mixed(121, 2).await;
    let cursor = async |time: &str| {
        let query = format!("time={time}&limit=1");
        let next = pages::next(&bench.window(&query, "*/*").await).unwrap();
        let (_, cursor) = next.split_once("cursor=").unwrap();
        cursor.to_owned()
    };
    let (by_event, by_hlc) = (cursor("event").await, cursor("hlc").await);
    for (query, named) in [
        (format!("cursor={by_event}"), "time=event"),
        (format!("time=event&cursor={by_hlc}"), "time=hlc"),
        ("time=wall".into(), "time: "),
        ("time=event&time=event".into(), "twice"),
    ] {
        let answer = bench.window(&query, "*/*").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(detail(&answer).contains(named), "{}", detail(&answer));
    }
    let request = tourbillon_log::control::StreamRequest {
        name: "timeless".into(),
        columns: vec![tourbillon_core::control::ColumnSpec {
            name: "x".into(),
            ty: "bool".into(),
            nullable: true,
        }],
        ..Default::default()
    };
    bench.rig.control.ensure_stream(&request).await.unwrap();
    let answer = bench
        .get("/v1/streams/timeless/window?time=event", "*/*")
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(detail(&answer).starts_with("time: "), "{}", detail(&answer));
}

#[tokio::test(start_paused = true)]
async fn final_windows_wait_for_their_end_and_are_never_final() {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 122, 2).await;
    feed.run(50, 1_000_000).await;
    let bench = Bench::on(&rig).await;
    let end = feed.ordered().last().unwrap().hlc + 2_000_000;
    let query = format!("time=event&end={end}&columns=n,writer");
    let answer = bench.window(&format!("{query}&wait=1s"), "text/csv").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().contains("held_back_by"), "{}", answer.text());
    let late = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        feed.pass(4_000_000);
        feed.beat().await;
    };
    let uri = format!("{query}&wait=30s");
    let (answer, ()) = tokio::join!(bench.window(&uri, "text/csv"), late);
    assert_eq!(answer.header("tourbillon-final"), "false");
    assert_eq!(answer.text(), expected::csv(&by_event(&feed), &COLUMNS));
    // an event that is very late changes the window, but not the snapshot
    feed.late = 900_000;
    feed.data(0, 0, 40, None).await;
    feed.pass(4_000_000);
    feed.beat().await;
    bench.caught_up().await;
    let again = bench
        .window("time=event&columns=n,writer", "text/csv")
        .await;
    assert_eq!(again.text(), expected::csv(&by_event(&feed), &COLUMNS));
    let token = answer.header("tourbillon-snapshot");
    let same = bench
        .window(&format!("{query}&snapshot={token}"), "text/csv")
        .await;
    assert_eq!(same.text(), answer.text());
    assert!(again.text() != answer.text() && EPOCH < end);
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_rows_are_gone_is_told_so() {
    const SPAN: i64 = 1_000_000_000;
    let rig = Rig::keeping(memory(), 2, Some(SPAN), Some(2 * SPAN)).await;
    let mut feed = Feed::new(&rig, 123, 3).await;
    feed.run(2000, 3_000_000).await;
    let bench = Bench::on(&rig).await;
    let query = "time=event&columns=n,writer";
    let whole = bench.window(query, "text/csv").await;
    let token = whole.header("tourbillon-snapshot").to_owned();
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "w".into(),
        grace: Duration::from_secs(60),
    };
    let worker = Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone());
    tokio::time::sleep(Duration::from_secs(300)).await;
    worker.shutdown().await;
    let gone = bench
        .window(&format!("{query}&snapshot={token}"), "*/*")
        .await;
    assert_eq!(gone.status, StatusCode::GONE, "{}", gone.text());
    let problem: Value = serde_json::from_slice(&gone.body).unwrap();
    let from = problem["kept_from"].as_str().unwrap();
    // stamps say what is left, whatever the event times
    let from = tourbillon_core::time::parse_time_ns(from).unwrap();
    let left = bench.window(query, "text/csv").await;
    let mut rows = by_event(&feed);
    let complete = bench.service.complete_through(&rig.def).unwrap();
    rows.retain(|row| row.hlc >= from && row.hlc <= complete.0);
    assert_eq!(left.text(), expected::csv(&rows, &COLUMNS));
    assert!(rows.len() > 1000);
}
