//! The bytes of answers.

use super::oracle::{arrow, parquet};
use super::*;
use crate::rig::{EPOCH, WINDOW};

const FORMATS: [&str; 5] = [
    "application/x-ndjson",
    "application/json",
    "text/csv",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
];

/// Windows over the whole life of a feed.
fn queries(feed: &Feed) -> Vec<String> {
    let last = feed.ordered().last().unwrap().hlc;
    let third = (last - EPOCH) / 3;
    let of = |from: i64, to: i64, more: &str| {
        format!(
            "start={}&end={}&consistency=latest{more}",
            EPOCH + from,
            EPOCH + to
        )
    };
    vec![
        of(0, 3 * third + 10, ""),
        of(third, 2 * third, "&order=desc"),
        of(7, third, "&key.symbol=BTCUSDT"),
        of(0, 3 * third, "&key.symbol=ETHUSDT&order=desc&limit=33"),
        of(third / 2, 3 * third, "&limit=777&columns=up,side,ratio"),
    ]
}

#[tokio::test(start_paused = true)]
async fn bytes_do_not_depend_on_where_the_rows_lie() {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 50, 3).await;
    feed.run(600, 1_500_000).await;
    let bench = Bench::on(&rig).await;
    let (segments, ..) = bench.service.totals(&rig.def).unwrap();
    assert_eq!(segments, 0);
    let queries = queries(&feed);
    let mut before = Vec::new();
    for query in &queries {
        for format in FORMATS {
            before.push(bench.window(query, format).await.body);
        }
    }
    // the writers go on, so that the whole history is sealed
    feed.pass(2 * WINDOW);
    feed.beat().await;
    seal(&rig).await;
    bench.caught_up().await;
    let (segments, _, tail) = bench.service.totals(&rig.def).unwrap();
    assert!(segments > 10 && tail == 0, "{segments} {tail}");
    let fresh = Bench::on(&rig).await;
    for (i, query) in queries.iter().enumerate() {
        for (j, format) in FORMATS.into_iter().enumerate() {
            for bench in [&bench, &fresh] {
                let after = bench.window(query, format).await.body;
                assert!(after == before[i * 5 + j], "{format} of {query}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_final_window_keeps_its_bytes_while_the_stream_goes_on() {
    let (mut feed, bench) = mixed(51, 2).await;
    let complete = bench.service.complete_through(&bench.rig.def).unwrap();
    let query = format!("start=0&end={}&wait=0s", complete.0 + 1);
    let mut answers = Vec::new();
    for round in 0..3 {
        for format in FORMATS {
            let answer = bench.window(&query, format).await;
            assert_eq!(answer.header("tourbillon-final"), "true");
            assert!(!answer.body.is_empty());
            answers.push(answer.body);
        }
        feed.run(150, 2_000_000).await;
        if round == 1 {
            seal(&bench.rig).await;
        }
        bench.caught_up().await;
    }
    for later in answers.chunks(5).skip(1) {
        assert!(later == &answers[..5]);
    }
}

#[tokio::test(start_paused = true)]
async fn empty_windows_are_valid_documents() {
    let (_, bench) = mixed(52, 1).await;
    for query in ["start=5&end=5&wait=0s", "start=5&end=9&order=desc&wait=0s"] {
        let answers = async |format| bench.window(query, format).await;
        let [nd, json, csv, arrow_stream, file] = FORMATS;
        assert_eq!(answers(nd).await.text(), "");
        assert_eq!(answers(json).await.text(), "[]");
        let header = expected::COLUMNS.join(",") + "\n";
        assert_eq!(answers(csv).await.text(), header);
        let wanted = expected::batch(&[], &expected::COLUMNS);
        assert_eq!(arrow(&answers(arrow_stream).await), wanted);
        assert_eq!(parquet(&answers(file).await), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn text_is_exact() {
    let rig = Rig::new(memory(), 1).await;
    let mut feed = Feed::new(&rig, 53, 1).await;
    feed.run(20, 1000).await;
    let bench = Bench::on(&rig).await;
    let lines = bench
        .window("consistency=latest&columns=hlc,price,big,ratio", FORMATS[0])
        .await;
    for (line, row) in lines.text().lines().zip(feed.ordered()) {
        assert!(
            line.starts_with("{\"hlc\":\"2023-11-14T22:13:20.000"),
            "{line}"
        );
        assert_eq!(
            line.find("Z\""),
            Some("{\"hlc\":\"2023-11-14T22:13:20.123456789".len())
        );
        // digits as written, not as a double would have them
        let price = line
            .split("\"price\":")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        match row.price {
            None => assert_eq!(price, "null"),
            Some(value) => {
                assert_eq!(price.split_once('.').unwrap().1.len(), 9);
                assert_eq!(price.replace('.', "").parse::<i128>().unwrap(), value);
            }
        }
        let _valid: serde_json::Value = serde_json::from_str(line).unwrap();
    }
}
