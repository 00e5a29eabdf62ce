//! Random statements, row for row.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tourbillon_core::time::format_time_ns;

use super::*;
use crate::rig::EPOCH;
use crate::rig::feed::{Row, SYMBOLS};

/// All columns, as `select *` gives them.
const COLUMNS: [&str; 13] = [
    "hlc",
    "writer",
    "log_offset",
    "symbol",
    "lot",
    "ts",
    "price",
    "big",
    "ratio",
    "side",
    "up",
    "n",
    "note",
];

/// Stamps that are or border on stamps of rows, or lie outside.
fn stamp(rng: &mut SmallRng, all: &[Row]) -> i64 {
    match rng.random_range(0..10) {
        0 => EPOCH - rng.random_range(0..10),
        1 => all[all.len() - 1].hlc + rng.random_range(0..1_000_000_000),
        _ => all.choose(rng).unwrap().hlc + rng.random_range(-1..=1),
    }
}

/// A stamp as it may be written.
fn written(rng: &mut SmallRng, ns: i64) -> String {
    let text = format_time_ns(ns);
    match rng.random_range(0..4) {
        0 => format!("'{text}'"),
        1 => format!(
            "timestamp '{}'",
            text.trim_end_matches('Z').replace('T', " ")
        ),
        2 => format!("to_timestamp_nanos({ns})"),
        _ => format!("arrow_cast('{text}', 'Timestamp(Nanosecond, Some(\"UTC\"))')"),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn money(value: i128) -> String {
    let (sign, value) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let (whole, part) = (value / 1_000_000_000, value % 1_000_000_000);
    format!("{sign}{whole}.{part:09}")
}

type Passes = Box<dyn Fn(&Row) -> bool>;

/// A condition and the rows for which it is true.
fn condition(rng: &mut SmallRng, all: &[Row]) -> (String, Passes) {
    match rng.random_range(0..9) {
        0 => {
            let at = stamp(rng, all);
            (
                format!("hlc >= {}", written(rng, at)),
                Box::new(move |row| row.hlc >= at),
            )
        }
        1 => {
            let at = stamp(rng, all);
            (
                format!("{} > hlc", written(rng, at)),
                Box::new(move |row| row.hlc < at),
            )
        }
        2 => {
            let (one, two) = (stamp(rng, all), stamp(rng, all));
            let (from, to) = (one.min(two), one.max(two));
            let text = format!(
                "hlc between {} and {}",
                written(rng, from),
                written(rng, to)
            );
            (text, Box::new(move |row| (from..=to).contains(&row.hlc)))
        }
        3 => {
            let symbol = *SYMBOLS.choose(rng).unwrap();
            let text = format!("symbol = {}", quoted(symbol));
            (text, Box::new(move |row| row.symbol == symbol))
        }
        4 => {
            let count = rng.random_range(1..=4);
            let symbols: Vec<&str> = SYMBOLS.choose_multiple(rng, count).copied().collect();
            let list: Vec<String> = symbols.iter().map(|symbol| quoted(symbol)).collect();
            let text = format!("symbol in ({})", list.join(", "));
            (text, Box::new(move |row| symbols.contains(&row.symbol)))
        }
        5 => {
            let lot = rng.random_range(-2..3);
            (format!("lot = {lot}"), Box::new(move |row| row.lot == lot))
        }
        6 => {
            let price = i128::from(
                rng.random_range(-1_000_000_000_000_000_000..1_000_000_000_000_000_000_i64),
            );
            let text = format!("price > cast('{}' as decimal(18,9))", money(price));
            (
                text,
                Box::new(move |row| row.price.is_some_and(|own| own > price)),
            )
        }
        7 => (
            "side is null or n % 3 = 1".to_owned(),
            Box::new(|row| row.side.is_none() || row.n % 3 == 1),
        ),
        _ => {
            let at = stamp(rng, all);
            let text = format!("hlc <= {} or lot = 1", written(rng, at));
            (text, Box::new(move |row| row.hlc <= at || row.lot == 1))
        }
    }
}

struct Case {
    query: String,
    wanted: String,
}

fn selection(rng: &mut SmallRng, all: &[Row], version: u32) -> (String, Vec<Row>) {
    let mut rows = all.to_vec();
    let mut conditions = Vec::new();
    for _ in 0..rng.random_range(0..3) {
        let (text, holds) = condition(rng, all);
        conditions.push(format!("({text})"));
        rows.retain(|row| holds(row));
    }
    let clause = match conditions.is_empty() {
        true => String::new(),
        false => format!(" where {}", conditions.join(" and ")),
    };
    assert!(version > 1);
    (clause, rows)
}

fn rows_case(rng: &mut SmallRng, all: &[Row], version: u32) -> Case {
    let (clause, mut rows) = selection(rng, all, version);
    let mut columns = COLUMNS.to_vec();
    let mut list = "*".to_owned();
    if rng.random_bool(0.6) {
        columns.shuffle(rng);
        columns.truncate(rng.random_range(1..=columns.len()));
        list = columns.join(", ");
    }
    let mut query = format!("select {list} from ticks{clause}");
    match rng.random_range(0..4) {
        0 => query += " order by hlc",
        1 => query += " order by hlc, writer",
        2 => {
            query += " order by hlc desc";
            rows.reverse();
        }
        // without an order, rows come in that of the stream
        _ => {}
    }
    if rng.random_bool(0.5) {
        let limit = *[1, 2, 10, 100, 1000].choose(rng).unwrap();
        let skip = if rng.random_bool(0.3) {
            rng.random_range(0..20)
        } else {
            0
        };
        query += &format!(" limit {limit}");
        if skip > 0 {
            query += &format!(" offset {skip}");
        }
        rows = rows.into_iter().skip(skip).take(limit).collect();
    }
    Case {
        wanted: expected::ndjson(&rows, &columns),
        query,
    }
}

fn totals_case(rng: &mut SmallRng, all: &[Row], version: u32) -> Case {
    let (clause, rows) = selection(rng, all, version);
    let mut groups: BTreeMap<(&str, i64), Vec<&Row>> = BTreeMap::new();
    for row in &rows {
        groups.entry((row.symbol, row.lot)).or_default().push(row);
    }
    let ordered = rng.random_bool(0.5);
    let open = match ordered {
        true => "first_value(n order by hlc, writer)",
        false => "min(n)",
    };
    let query = format!(
        "select symbol, lot, count(*) as c, count(price) as p, sum(price) as s, max(price) as m, \
         {open} as o, max(hlc) as h from ticks{clause} group by symbol, lot order by symbol, lot"
    );
    let line = |((symbol, lot), rows): (&(&str, i64), &Vec<&Row>)| {
        let prices: Vec<i128> = rows.iter().filter_map(|row| row.price).collect();
        let decimal = |value: Option<i128>| value.map_or("null".into(), money);
        let sum = (!prices.is_empty()).then(|| prices.iter().sum());
        let first = match ordered {
            true => rows[0].n,
            false => rows.iter().map(|row| row.n).min().unwrap(),
        };
        format!(
            "{{\"symbol\":{},\"lot\":{lot},\"c\":{},\"p\":{},\"s\":{},\"m\":{},\"o\":{first},\"h\":\"{}\"}}\n",
            json!(symbol),
            rows.len(),
            prices.len(),
            decimal(sum),
            decimal(prices.iter().max().copied()),
            format_time_ns(rows[rows.len() - 1].hlc),
        )
    };
    Case {
        query,
        wanted: groups.iter().map(line).collect(),
    }
}

#[tokio::test]
async fn statements_give_what_plain_rust_gives() {
    for seed in 0..3 {
        let (feed, bench) = mixed(seed, 1 + u32::try_from(seed).unwrap() % 3).await;
        let all = feed.ordered();
        let (segments, sealed, tail) = bench.query.totals(&bench.rig.def).unwrap();
        assert!(segments >= 3 && sealed > 1000 && tail > 500);
        let mut rng = SmallRng::seed_from_u64(seed);
        let version = bench.rig.def.version();
        for number in 0..80 {
            let case = match number % 3 {
                0 => totals_case(&mut rng, &all, version),
                _ => rows_case(&mut rng, &all, version),
            };
            let answer = bench.ask(&case.query).await;
            let lines = answer.text().lines().zip(case.wanted.lines());
            let differing = lines.clone().find(|(found, wanted)| found != wanted);
            assert_eq!(differing, None, "{}", case.query);
            let (found, wanted) = (answer.text().len(), case.wanted.len());
            assert_eq!(found, wanted, "{}", case.query);
        }
        bench.query.shutdown().await;
    }
}

#[tokio::test]
async fn streams_are_joined_and_looked_back_in_order() {
    let (feed, bench) = mixed(9, 2).await;
    let all = feed.ordered();
    // the row before, by window function: ties of hlc are broken by writer
    let answer = bench
        .ask("select n, lag(n) over (order by hlc, writer) as before from ticks order by hlc, writer")
        .await;
    let mut wanted = String::new();
    for (place, row) in all.iter().enumerate() {
        let before = place
            .checked_sub(1)
            .map_or("null".into(), |p| all[p].n.to_string());
        wanted += &format!("{{\"n\":{},\"before\":{before}}}\n", row.n);
    }
    assert!(answer.text() == wanted);
    // the same stream twice, under one snapshot
    let answer = bench
        .ask("select count(*) as c from ticks a join ticks b on a.n = b.n where a.lot = 1")
        .await;
    let count = all.iter().filter(|row| row.lot == 1).count();
    assert_eq!(answer.text(), format!("{{\"c\":{count}}}\n"));
    bench.query.shutdown().await;
}

#[tokio::test]
async fn nested_selects_that_are_spelled_alike_all_count() {
    let (_, bench) = mixed(11, 1).await;
    for (query, wanted) in [
        (
            "select n + 1 as n from (select n + 1 as n from (select n + 1 as n from (select 5 as n)))",
            8,
        ),
        (
            "select n + 1 as n from (select n + 1 as n from (select n + 1 as n, lot from \
             (select n as n, lot from ticks where n = 5)))",
            8,
        ),
        (
            "with a as (select n * n as n from ticks where n = 3), \
             b as (select n * n as n from a), c as (select n * n as n from b) select n from c",
            6561,
        ),
    ] {
        let answer = bench.ask(query).await;
        assert_eq!(answer.text(), format!("{{\"n\":{wanted}}}\n"), "{query}");
    }
    bench.query.shutdown().await;
}
