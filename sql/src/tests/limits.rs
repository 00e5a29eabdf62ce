//! No statement takes more than it may.

use futures::StreamExt;

use super::*;
use crate::Statement;

async fn limited(seed: u64, settings: SqlSettings) -> (Feed, Bench) {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, seed, 2).await;
    for _ in 0..20 {
        feed.pass(2_000_000);
        feed.data(0, 0, 4000, None).await;
        feed.data(1, 1, 4000, None).await;
    }
    let bench = Bench::on(&rig, feed.rows.len(), settings).await;
    (feed, bench)
}

#[tokio::test]
async fn memory_is_bounded() {
    let settings = SqlSettings {
        memory_bytes: 1 << 20,
        ..settings()
    };
    let (feed, bench) = limited(60, settings).await;
    for query in [
        "select * from ticks order by n",
        "select n, count(*) from ticks group by n",
        "select count(*) from ticks a join ticks b on a.n = b.n",
        "select n, sum(lot) over () from ticks",
    ] {
        let answer = bench.post(&json!({ "query": query }), NDJSON).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{query}");
        assert!(answer.headers.contains_key("retry-after"));
        answer.problem();
    }
    // what streams needs none
    let answer = bench.ask("select n from ticks order by hlc desc").await;
    assert_eq!(answer.text().lines().count(), feed.rows.len());
    bench.query.shutdown().await;
}

#[tokio::test]
async fn time_is_bounded() {
    let limit = Duration::from_secs(3);
    let settings = SqlSettings {
        timeout: limit,
        ..settings()
    };
    let (_, bench) = limited(61, settings).await;
    // a reader that stalls is broken off
    let mut answer = bench
        .sql
        .run(Statement::latest("select * from ticks"))
        .await
        .unwrap();
    answer.batches.next().await.unwrap().unwrap();
    tokio::time::sleep(limit * 2).await;
    let rest: Vec<_> = answer.batches.collect().await;
    assert!(rest.last().unwrap().is_err());
    // and so is one that waits for an operator which computes without a pause
    let query = "select count(*) from ticks a, ticks b where a.n + b.n < 0";
    let begun = tokio::time::Instant::now();
    let answer = bench.post(&json!({ "query": query }), NDJSON).await;
    assert_eq!(
        answer.status,
        StatusCode::REQUEST_TIMEOUT,
        "{}",
        answer.text()
    );
    assert!(
        answer.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("--sql-timeout")
    );
    assert!(begun.elapsed() < limit * 3);
    bench.query.shutdown().await;
}

#[tokio::test]
async fn rows_are_bounded() {
    let settings = SqlSettings {
        max_rows: 1000,
        ..settings()
    };
    let (_, bench) = limited(62, settings).await;
    let answer = bench
        .post(&json!({ "query": "select * from ticks" }), NDJSON)
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("--sql-max-rows")
    );
    let answer = bench.ask("select * from ticks limit 1000").await;
    assert_eq!(answer.text().lines().count(), 1000);
    bench.query.shutdown().await;
}

#[tokio::test]
async fn statements_at_once_are_bounded_and_a_client_that_leaves_makes_room() {
    let settings = SqlSettings {
        concurrency: 1,
        ..settings()
    };
    let (_, bench) = limited(63, settings).await;
    let mut answer = bench
        .sql
        .run(Statement::latest("select * from ticks"))
        .await
        .unwrap();
    answer.batches.next().await.unwrap().unwrap();
    let refused = bench.post(&json!({ "query": "select 1" }), NDJSON).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers.contains_key("retry-after"));
    drop(answer);
    until(|| async { bench.sql.seats.available_permits() == 1 }).await;
    bench.ask("select 1").await;
    // one that only computes stops too
    let endless = "select count(*) from ticks a, ticks b, ticks c where a.n + b.n + c.n < 0";
    let running = bench.sql.clone();
    let task = tokio::spawn(async move { running.run(Statement::latest(endless)).await });
    until(|| async { bench.sql.seats.available_permits() == 0 }).await;
    task.abort();
    until(|| async { bench.sql.seats.available_permits() == 1 }).await;
    bench.query.shutdown().await;
}

#[tokio::test]
async fn values_that_grow_without_bound_are_refused() {
    let (feed, bench) = mixed(65, 1).await;
    let doubled = {
        let mut query = "select symbol as s from ticks".to_owned();
        for _ in 0..14 {
            query = format!("select concat(s, s) as s from ({query})");
        }
        query
    };
    let long = "x".repeat(100_000);
    for query in [
        doubled.replace("symbol", "side"),
        doubled,
        format!("select '{long}' from ticks"),
        format!(
            "select replace(symbol, 'B', '{}') from ticks",
            &long[..20_000]
        ),
        format!(
            "select concat_ws('{}', {}) from ticks",
            &long[..2000],
            ["side"; 40].join(", ")
        ),
    ] {
        let answer = bench.post(&json!({ "query": query }), NDJSON).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", &query[..60]);
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("bytes of every row"), "{detail}");
    }
    let list = vec!["'a long symbol that is not there'"; 3000].join(", ");
    for query in [
        format!("select n from ticks where side in ({list}) or n >= 0"),
        "select concat_ws('-', symbol, side, note), replace(symbol, 'USDT', '/USDT') from ticks"
            .into(),
        "select upper(symbol) || ':' || lower(side) from ticks".into(),
    ] {
        let answer = bench.ask(&query).await;
        assert_eq!(answer.text().lines().count(), feed.rows.len());
    }
    bench.query.shutdown().await;
}

#[tokio::test]
async fn deep_statements_do_not_overflow_the_stack() {
    let (_, bench) = mixed(64, 1).await;
    let nested = |open: &str, middle: &str, close: &str, depth: usize| {
        format!(
            "select {}{middle}{}",
            open.repeat(depth),
            close.repeat(depth)
        )
    };
    let subqueries = {
        let mut query = "select n from ticks".to_owned();
        for _ in 0..400 {
            query = format!("select n from ({query})");
        }
        query
    };
    for query in [
        nested("(", "1", ")", 1000),
        nested("(", "1", ")", 100_000),
        nested("- ", "1", "", 1000),
        nested("not ", "true", "", 1000),
        nested("", "1", "+1", 1000),
        nested("", "1", "+1", 120_000),
        nested("case when true then ", "1", " end", 500),
        nested("abs(", "1", ")", 500),
        format!("select 1{}", " union all select 1".repeat(300)),
        subqueries,
    ] {
        let answer = bench.post(&json!({ "query": query }), NDJSON).await;
        let good = [200, 400, 413].contains(&answer.status.as_u16());
        assert!(good, "{}: {}", &query[..40], answer.text());
    }
    bench.ask("select 1").await;
    bench.query.shutdown().await;
}
