//! The same rows again.

use super::*;

const QUERIES: [&str; 4] = [
    "select * from ticks",
    "select n, price from ticks where lot <> 0 order by hlc desc",
    "select symbol, count(*), sum(price), sum(ratio), min(hlc) from ticks group by symbol order by symbol",
    "select n, sum(lot) over (order by hlc, writer) from ticks order by hlc, writer limit 500",
];

#[tokio::test]
async fn a_snapshot_gives_the_same_rows_before_and_after_sealing_and_elsewhere() {
    let mut rig = Rig::new(memory(), 3).await;
    let mut feed = Feed::new(&rig, 40, 3).await;
    feed.run(200, 1_500_000).await;
    let bench = Bench::on(&rig, feed.rows.len(), settings()).await;
    let mut first = Vec::new();
    for query in QUERIES {
        first.push(bench.ask(query).await);
    }
    let token = first[0].header("tourbillon-snapshot").to_owned();
    assert!(token.starts_with("ticks=1."), "{token}");
    assert!(
        first
            .iter()
            .all(|answer| answer.header("tourbillon-snapshot") == token)
    );
    assert_eq!(first[0].header("tourbillon-final"), "false");
    // more rows, a new column, and files in place of tails
    rig.evolve().await;
    feed.rig = rig.clone();
    feed.run(150, 1_500_000).await;
    feed.pass(500_000_000);
    feed.beat().await;
    seal(&rig).await;
    bench.knows(feed.rows.len()).await;
    let other = Bench::on(&rig, feed.rows.len(), settings()).await;
    let (_, sealed, _) = other.query.totals(&rig.def).unwrap();
    assert!(sealed > 1000);
    for (query, first) in QUERIES.iter().zip(&first) {
        for bench in [&bench, &other] {
            let again = json!({ "query": query, "snapshot": token });
            let again = bench.post(&again, NDJSON).await;
            assert_eq!(again.status, StatusCode::OK, "{}", again.text());
            assert!(again.text() == first.text(), "{query}");
            assert_eq!(again.header("tourbillon-snapshot"), token);
        }
        let bare = json!({ "query": query, "snapshot": token.trim_start_matches("ticks=") });
        let bare = other.post(&bare, NDJSON).await;
        assert!(bare.text() == first.text(), "{query}");
    }
    let now = bench.ask(QUERIES[0]).await;
    assert!(now.body.len() > first[0].body.len() && now.text().contains("\"note\""));
    bench.query.shutdown().await;
    other.query.shutdown().await;
}

#[tokio::test]
async fn final_answers_end_where_the_stream_is_complete() {
    let (feed, bench) = mixed(41, 2).await;
    let complete = bench.query.complete_through(&bench.rig.def).unwrap();
    let query = "select n from ticks";
    let answer = bench
        .post(&json!({ "query": query, "consistency": "final" }), NDJSON)
        .await;
    let rows: Vec<_> = feed.ordered();
    let rows: Vec<_> = rows
        .into_iter()
        .filter(|row| row.hlc <= complete.0)
        .collect();
    assert!(!rows.is_empty() && rows.len() < feed.rows.len());
    assert!(answer.text() == expected::ndjson(&rows, &["n"]));
    assert_eq!(answer.header("tourbillon-final"), "true");
    let through = tourbillon_core::time::format_time_ns(complete.0);
    assert_eq!(answer.header("tourbillon-complete-through"), through);
    // a token written by hand does not tell how far it is complete
    let hand = json!({ "query": query, "consistency": "final", "snapshot": "1.5-5" });
    let refused = bench.post(&hand, NDJSON).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(
        refused.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("snapshot")
    );
    bench.query.shutdown().await;
}

#[tokio::test]
async fn snapshots_that_do_not_fit_are_told() {
    let (_, bench) = mixed(42, 2).await;
    for (snapshot, status) in [
        ("1.5-5-5", StatusCode::BAD_REQUEST),
        ("ticks=1.5-5.c99", StatusCode::BAD_REQUEST),
        ("ticks=1.5-5.k7-1", StatusCode::BAD_REQUEST),
        ("ticks=1.5-x", StatusCode::BAD_REQUEST),
        ("trades=1.5-5", StatusCode::BAD_REQUEST),
        ("ticks=1.99999999-5", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let body = json!({ "query": "select 1 from ticks", "snapshot": snapshot, "wait": "0s" });
        let answer = bench.post(&body, NDJSON).await;
        assert_eq!(answer.status, status, "{snapshot}: {}", answer.text());
        answer.problem();
    }
    bench.query.shutdown().await;
}
