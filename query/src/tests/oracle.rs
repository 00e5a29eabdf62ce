//! Random windows over random histories, row for row.

use std::time::Duration;

use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tourbillon_core::hlc::Hlc;

use super::*;
use crate::rig::EPOCH;
use crate::rig::feed::{Row, SYMBOLS};

/// A window and the rows that it must have.
struct Case {
    query: String,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
    /// Whether T may lie below its end.
    latest: bool,
    end: i64,
}

/// Stamps that are or border on stamps of rows, or lie outside.
fn stamp(rng: &mut SmallRng, all: &[Row]) -> i64 {
    match rng.random_range(0..10) {
        0 => EPOCH - rng.random_range(0..10),
        1 => all[all.len() - 1].hlc + rng.random_range(0..1_000_000_000),
        _ => all.choose(rng).unwrap().hlc + rng.random_range(-1..=1),
    }
}

fn case(rng: &mut SmallRng, all: &[Row], version: u32, complete: Hlc) -> Case {
    let latest = rng.random_bool(0.5);
    let (one, two) = (stamp(rng, all), stamp(rng, all));
    let start = if rng.random_bool(0.1) {
        0
    } else {
        one.min(two)
    };
    let end = if rng.random_bool(0.1) {
        None
    } else {
        Some(one.max(two))
    };
    let mut query = vec![format!("start={start}"), "wait=0s".to_owned()];
    query.extend(end.map(|end| format!("end={end}")));
    let unbounded = if latest { i64::MAX } else { complete.0 + 1 };
    let end = end.unwrap_or(unbounded);
    let mut rows: Vec<Row> = all
        .iter()
        .filter(|row| (start..end).contains(&row.hlc))
        .cloned()
        .collect();
    if rng.random_bool(0.4) {
        let symbols: Vec<&str> = SYMBOLS.choose_multiple(rng, 2).copied().collect();
        let values: Vec<String> = symbols.iter().map(|s| encoded(s)).collect();
        query.push(format!("key.symbol={}", values.join(",")));
        rows.retain(|row| symbols.contains(&row.symbol));
    }
    if rng.random_bool(0.3) {
        query.push("key.lot=-1,1".to_owned());
        rows.retain(|row| row.lot != 0);
    }
    if rng.random_bool(0.5) {
        query.push("order=desc".to_owned());
        rows.reverse();
    }
    if rng.random_bool(0.5) {
        let limit = *[1, 2, 10, 100, 1000].choose(rng).unwrap();
        query.push(format!("limit={limit}"));
        rows.truncate(limit);
    }
    let mut columns = expected::COLUMNS.to_vec();
    if version == 1 {
        columns.retain(|column| *column != "note");
    }
    if rng.random_bool(0.5) {
        columns.push("log_offset");
        columns.shuffle(rng);
        columns.truncate(rng.random_range(1..=columns.len()));
        query.push(format!("columns={}", columns.join(",")));
    }
    if latest {
        query.push("consistency=latest".to_owned());
    }
    Case {
        query: query.join("&"),
        columns,
        rows,
        latest,
        end,
    }
}

impl Case {
    async fn check(&self, bench: &Bench, format: usize, complete: Hlc) {
        let accept = [
            "application/x-ndjson",
            "application/json",
            "text/csv",
            "application/vnd.apache.arrow.stream",
            "application/vnd.apache.parquet",
        ][format];
        let answer = bench.window(&self.query, accept).await;
        let what = format!("{accept} {}", self.query);
        let complete_enough = self.end <= complete.0 + 1;
        if !self.latest && !complete_enough {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
            return;
        }
        assert_eq!(answer.status, StatusCode::OK, "{what}: {:?}", answer.body);
        assert_eq!(answer.header("content-type"), accept);
        assert_eq!(
            answer.header("tourbillon-final"),
            complete_enough.to_string(),
            "{what}"
        );
        let (rows, columns) = (&self.rows[..], &self.columns[..]);
        let text = |wanted: String| {
            let same = answer
                .text()
                .lines()
                .zip(wanted.lines())
                .find(|(found, wanted)| found != wanted);
            assert_eq!(same, None, "{what}");
            assert!(
                answer.text() == wanted,
                "{what}: {} and {} bytes",
                answer.body.len(),
                wanted.len()
            );
        };
        match format {
            0 => text(expected::ndjson(rows, columns)),
            1 => text(expected::json_array(rows, columns)),
            2 => text(expected::csv(rows, columns)),
            _ => {
                let wanted = expected::batch(rows, columns);
                let found = if format == 3 {
                    arrow(&answer)
                } else {
                    parquet(&answer)
                };
                assert_eq!(found.schema(), wanted.schema(), "{what}");
                assert!(found == wanted, "{what}");
            }
        }
    }
}

pub(super) fn arrow(answer: &Answer) -> arrow::array::RecordBatch {
    let reader = StreamReader::try_new(&answer.body[..], None).unwrap();
    let schema = reader.schema();
    let batches: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

pub(super) fn parquet(answer: &Answer) -> arrow::array::RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(answer.body.clone()).unwrap();
    let reader = reader.build().unwrap();
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    let batches: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

#[tokio::test(start_paused = true)]
async fn windows_are_what_sorting_and_filtering_gives() {
    for seed in 0..4 {
        let (feed, bench) = mixed(seed, 1 + u32::try_from(seed % 3).unwrap()).await;
        let all = feed.ordered();
        let (segments, sealed, tail) = bench.service.totals(&bench.rig.def).unwrap();
        assert!(
            segments >= 3 && sealed > 1000 && tail > 500,
            "{segments} {sealed} {tail}"
        );
        assert_eq!(sealed + tail, all.len() as u64);
        let complete = bench.service.complete_through(&bench.rig.def).unwrap();
        let mut rng = SmallRng::seed_from_u64(seed);
        for format in (0..5).cycle().take(80) {
            case(&mut rng, &all, bench.rig.def.version(), complete)
                .check(&bench, format, complete)
                .await;
        }
        bench.service.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn windows_stay_right_while_rows_come_in_and_are_sealed() {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 40, 3).await;
    let bench = Bench::on(&rig).await;
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "w".into(),
        grace: Duration::from_secs(3600),
    };
    let worker = Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone());
    let mut rng = SmallRng::seed_from_u64(40);
    for round in 0..40 {
        feed.run(15, 3_000_000).await;
        // at any time between, both see as much as they happen to have seen
        tokio::time::sleep(std::time::Duration::from_millis(rng.random_range(0..300))).await;
        let complete = bench.service.complete_through(&rig.def).unwrap();
        let all = feed.ordered();
        for format in 0..3 {
            let mut case = case(&mut rng, &all, bench.rig.def.version(), complete);
            // the window without an end goes as far as T does by then
            if !case.latest && case.query.contains("end=") && case.end <= complete.0 + 1 {
                case.check(&bench, format, complete).await;
            } else if case.latest {
                until(|| async {
                    let partitions = bench.service.partitions(&rig.def).unwrap();
                    let ends = [rig.end(0).await, rig.end(1).await];
                    partitions
                        .iter()
                        .zip(ends)
                        .all(|(p, end)| p.summary().next_offset == end)
                })
                .await;
                let complete = bench.service.complete_through(&rig.def).unwrap();
                case.latest = true;
                case.check(&bench, format, complete).await;
            }
        }
        assert!(worker.is_healthy(), "round {round}");
    }
    let (segments, ..) = bench.service.totals(&rig.def).unwrap();
    assert!(segments > 10, "{segments} segments");
    worker.shutdown().await;
    bench.service.shutdown().await;
}
