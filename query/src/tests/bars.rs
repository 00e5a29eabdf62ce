//! Random bars over random histories, line for line.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::pages::next;
use super::*;
use crate::rig::feed::{Row, SYMBOLS};

const HEADER: &str = "time,symbol,lot,open,high,low,close,volume,notional,vwap,count\n";

/// A column, its decimal places and its value.
type Number = (&'static str, usize, fn(&Row) -> Option<i128>);

/// A row's time, after which rows are sorted before they are grouped.
type Time = fn(&Row) -> Option<i64>;

/// Columns of decimals and integers.
#[derive(Clone, Copy)]
struct Numbers {
    price: Number,
    size: Number,
    /// Decimal places of vwap.
    vwap: usize,
}

const COLUMNS: [Numbers; 3] = [
    Numbers {
        price: ("price", 9, |row| row.price),
        size: ("n", 0, |row| Some(row.n.into())),
        vwap: 15,
    },
    Numbers {
        price: ("n", 0, |row| Some(row.n.into())),
        size: ("big", 0, |row| row.big.map(i128::from)),
        vwap: 6,
    },
    Numbers {
        price: ("big", 0, |row| row.big.map(i128::from)),
        size: ("lot", 0, |row| Some(row.lot.into())),
        vwap: 6,
    },
];

/// A scaled integer as text.
fn decimal(value: i128, places: usize) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", value.unsigned_abs(), width = places + 1);
    match digits.split_at(digits.len() - places) {
        (whole, "") => format!("{sign}{whole}"),
        (whole, rest) => format!("{sign}{whole}.{rest}"),
    }
}

/// `dividend / divisor`, a half to the even neighbour.
fn rounded(dividend: i128, divisor: i128) -> i128 {
    let below = dividend.div_euclid(divisor);
    let distance = |quotient: i128| (quotient * divisor - dividend).abs();
    let near = (below - 1..=below + 1).min_by_key(|q| (distance(*q), q.rem_euclid(2)));
    near.unwrap()
}

/// A line of CSV for a bar of rows in order.
fn line(start: i64, rows: &[&Row], columns: Numbers) -> String {
    let ((_, places, price), (_, size_places, size)) = (columns.price, columns.size);
    let prices: Vec<i128> = rows.iter().filter_map(|row| price(row)).collect();
    let sized = || {
        rows.iter()
            .filter_map(|row| Some((price(row)?, size(row)?)))
    };
    let volume: i128 = sized().map(|(_, size)| size).sum();
    let notional: i128 = sized().map(|(price, size)| price * size).sum();
    let vwap = || {
        rounded(
            notional * 10_i128.pow((columns.vwap - places).try_into().unwrap()),
            volume,
        )
    };
    let symbol = rows[0].symbol.replace('"', "\"\"");
    let quote = if symbol.contains('"') { "\"" } else { "" };
    let fields = [
        tourbillon_core::time::format_time_ns(start),
        format!("{quote}{symbol}{quote}"),
        rows[0].lot.to_string(),
        decimal(prices[0], places),
        decimal(*prices.iter().max().unwrap(), places),
        decimal(*prices.iter().min().unwrap(), places),
        decimal(prices[prices.len() - 1], places),
        decimal(volume, size_places),
        decimal(notional, places + size_places),
        if volume == 0 {
            String::new()
        } else {
            decimal(vwap(), columns.vwap)
        },
        prices.len().to_string(),
    ];
    fields.join(",") + "\n"
}

/// Bars made from all rows, in the plainest way.
fn lines(rows: &[Row], interval: i64, columns: Numbers, time: Time) -> Vec<String> {
    let mut bars: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| columns.price.2(row).is_some()) {
        let start = time(row).unwrap() / interval * interval;
        bars.entry((start, row.symbol, row.lot))
            .or_default()
            .push(row);
    }
    let bars = bars.iter();
    bars.map(|((start, ..), rows)| line(*start, rows, columns))
        .collect()
}

/// A request and the lines that it must have.
fn case(rng: &mut SmallRng, all: &[Row], complete: i64) -> (String, Vec<String>) {
    let (name, interval) = *[
        ("1ms", 1_000_000),
        ("7ms", 7_000_000),
        ("100ms", 100_000_000),
        ("1d", 86_400_000_000_000),
    ]
    .choose(rng)
    .unwrap();
    let columns = *COLUMNS.choose(rng).unwrap();
    let mut query = format!(
        "interval={name}&price={}&size={}&wait=0s",
        columns.price.0, columns.size.0
    );
    let by_event = rng.random_bool(0.4);
    let time: Time = if by_event {
        |row| row.ts
    } else {
        |row| Some(row.hlc)
    };
    query += if by_event { "&time=event" } else { "" };
    let mut rows = all.to_vec();
    rows.retain(|row| time(row).is_some());
    rows.sort_by_key(|row| (time(row), row.hlc, row.writer));
    let mut stamp = || rows.choose(rng).and_then(time).unwrap();
    let (one, two) = (stamp(), stamp());
    if rng.random() {
        query += &format!("&start={}", one.min(two));
        rows.retain(|row| time(row) >= Some(one.min(two)));
    }
    let latest = rng.random();
    if rng.random() && (latest || one.max(two) <= complete) {
        query += &format!("&end={}", one.max(two));
        rows.retain(|row| time(row) < Some(one.max(two)));
    }
    if latest {
        query += "&consistency=latest";
    } else {
        rows.retain(|row| row.hlc <= complete);
    }
    if rng.random_bool(0.4) {
        let symbol = SYMBOLS.choose(rng).unwrap();
        query += &format!("&key.symbol={}", encoded(symbol));
        rows.retain(|row| row.symbol == *symbol);
    }
    let mut lines = lines(&rows, interval, columns, time);
    if rng.random() {
        query += "&order=desc";
        lines.reverse();
    }
    (query, lines)
}

async fn bars(bench: &Bench, query: &str, accept: &str) -> Answer {
    bench
        .get(&format!("/v1/streams/ticks/bars?{query}"), accept)
        .await
}

fn same(answer: &Answer, lines: &[String], what: &str) {
    assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text());
    let body = answer.text().strip_prefix(HEADER).expect(what);
    let wrong = body
        .split_inclusive('\n')
        .zip(lines)
        .find(|(found, wanted)| found != wanted);
    assert_eq!(wrong, None, "{what}");
    assert_eq!(body.lines().count(), lines.len(), "{what}");
}

#[tokio::test(start_paused = true)]
async fn bars_are_what_grouping_the_rows_gives_now_and_later() {
    for seed in 0..2 {
        let (mut feed, bench) = mixed(200 + seed, 1 + u32::try_from(seed).unwrap()).await;
        let all = feed.ordered();
        let complete = bench.service.complete_through(&bench.rig.def).unwrap();
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut kept = Vec::new();
        for _ in 0..40 {
            let (query, lines) = case(&mut rng, &all, complete.0);
            let what = format!("seed {seed}: {query}");
            let answer = bars(&bench, &query, "text/csv").await;
            same(&answer, &lines, &what);
            let token = answer.header("tourbillon-snapshot");
            kept.push((format!("{query}&snapshot={token}"), answer));
        }
        feed.run(100, 1_500_000).await;
        seal(&bench.rig).await;
        for bench in [&bench, &Bench::on(&bench.rig).await] {
            bench.caught_up().await;
            for (query, answer) in &kept {
                let again = bars(bench, query, "text/csv").await;
                assert!(again.body == answer.body, "seed {seed}: {query}");
                for name in ["tourbillon-final", "tourbillon-complete-through"] {
                    assert_eq!(again.header(name), answer.header(name), "{query}");
                }
            }
        }
        bench.service.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_bars_are_all_bars_while_rows_come_in() {
    let (mut feed, bench) = mixed(210, 2).await;
    let mut rng = SmallRng::seed_from_u64(210);
    for _ in 0..10 {
        bench.caught_up().await;
        let complete = bench.service.complete_through(&bench.rig.def).unwrap();
        let (query, lines) = case(&mut rng, &feed.ordered(), complete.0);
        // not more pages than a test has time for
        let size = rng.random_range(1..40).max(lines.len() / 20);
        let mut uri = format!("/v1/streams/ticks/bars?{query}&limit={size}");
        let mut text = HEADER.to_owned();
        loop {
            let page = bench.get(&uri, "text/csv").await;
            assert_eq!(page.status, StatusCode::OK, "{uri}: {}", page.text());
            let (_, rows) = page.text().split_once('\n').unwrap_or_default();
            text += rows;
            match next(&page) {
                Some(next) => uri = next,
                None => break,
            }
            assert_eq!(rows.lines().count(), size, "{uri}");
            feed.run(3, 1_500_000).await;
        }
        assert!(
            text == HEADER.to_owned() + &lines.concat(),
            "{query} {size}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn formats_hold_the_same_bars_with_their_types() {
    use arrow::datatypes::DataType;
    let (_, bench) = mixed(220, 1).await;
    let query = "interval=10ms&size=n";
    let text = bars(&bench, query, "text/csv").await;
    let count = text.text().lines().count() - 1;
    let arrow = oracle::arrow(&bars(&bench, query, "application/vnd.apache.arrow.stream").await);
    let parquet = oracle::parquet(&bars(&bench, query, "application/vnd.apache.parquet").await);
    assert_eq!((arrow.num_rows(), &arrow), (count, &parquet));
    let schema = arrow.schema();
    let ty = |name: &str| schema.field_with_name(name).unwrap().data_type().clone();
    assert_eq!(ty("symbol"), DataType::Utf8);
    assert_eq!(ty("open"), DataType::Decimal128(18, 9));
    assert_eq!(ty("volume"), DataType::Decimal128(38, 0));
    assert_eq!(ty("notional"), DataType::Decimal128(38, 9));
    assert_eq!(ty("vwap"), DataType::Decimal128(38, 15));
    for accept in ["application/x-ndjson", "application/json"] {
        let answer = bars(&bench, query, accept).await;
        let objects = answer.text().matches("\"open\":").count();
        assert_eq!(objects, count, "{accept}");
    }
    // doubles, of which those that are no numbers make no bars
    let query = "interval=1d&price=ratio&size=price&consistency=latest";
    let floats = bars(&bench, query, "text/csv").await;
    let first = floats
        .text()
        .lines()
        .nth(1)
        .unwrap()
        .split(',')
        .collect::<Vec<_>>();
    assert_eq!((first[4], first[5]), ("6.02e23", "-inf"), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_answered_is_told() {
    let (_, bench) = mixed(230, 1).await;
    for (query, status, told) in [
        ("", 400, "interval"),
        ("interval=1s", 400, "size: the stream has no column `size`"),
        (
            "interval=1s&size=side",
            400,
            "size: column `side` has no numbers",
        ),
        ("interval=1s&size=n&limit=0", 400, "limit"),
        ("interval=1s&size=n&step=1", 400, "interval, price"),
        (
            "interval=1d&price=price&size=price",
            400,
            "notional of the bar at",
        ),
        (
            "interval=1s&size=n&end=2200-01-01T00:00:00Z&wait=0s",
            503,
            "complete through",
        ),
        (
            "interval=1s&size=n&cursor=1.0-0-0-0.t1.b7-1",
            400,
            "partitions",
        ),
    ] {
        let answer = bars(&bench, query, "*/*").await;
        assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text());
        assert!(answer.text().contains(told), "{query}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let answer = bench.get("/v1/streams/none/bars?interval=1s", "*/*").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
