//! Random windows and the rows that they must have, by sorting and filtering in memory.

use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tourbillon_core::hlc::Hlc;

use super::*;
use crate::rig::feed::{Row, SYMBOLS};
use crate::token::Token;

const FORMATS: [&str; 5] = [
    "application/x-ndjson",
    "application/json",
    "text/csv",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
];

/// The rows that a window is asked of.
pub(super) struct World<'a> {
    pub(super) rows: &'a [Row],
    /// How far they are complete; unknown for a token that nobody gave.
    pub(super) complete: Option<Hlc>,
    pub(super) token: Option<&'a Token>,
    /// Whether they have the column `note`.
    pub(super) has_note: bool,
}

/// A window, the rows that it must have, and its answer's status.
pub(super) struct Case {
    query: String,
    columns: Vec<&'static str>,
    /// All rows of the window, and how many of them an answer may have.
    rows: Vec<Row>,
    limit: usize,
    status: u16,
    is_final: bool,
}

/// Times that are or border on times of rows, or lie outside.
fn time(rng: &mut SmallRng, all: &[Row], event: bool) -> i64 {
    let of = |row: &Row| {
        if event {
            row.ts.unwrap_or(row.hlc)
        } else {
            row.hlc
        }
    };
    let times = || all.iter().map(of);
    match rng.random_range(0..10) {
        0 => times().min().unwrap_or(5) - rng.random_range(0..10),
        1 => times().max().unwrap_or(7) + rng.random_range(0..1_000_000_000),
        _ => all.choose(rng).map_or(5, of) + rng.random_range(-1..=1),
    }
}

impl Case {
    pub(super) fn random(rng: &mut SmallRng, world: &World<'_>) -> Self {
        let mut query = vec!["wait=0s".to_owned()];
        let mut rows = world.rows.to_vec();
        rows.sort_by_key(|row| (row.hlc, row.writer));
        let event = rng.random_bool(0.4);
        if event {
            query.push("time=event".into());
            rows.retain(|row| row.ts.is_some());
            rows.sort_by_key(|row| (row.ts, row.hlc, row.writer));
        }
        if let Some(token) = world.token {
            query.push(format!("snapshot={token}"));
        }
        let of = |row: &Row| if event { row.ts.unwrap() } else { row.hlc };
        let (one, two) = (time(rng, world.rows, event), time(rng, world.rows, event));
        if rng.random_bool(0.8) {
            query.push(format!("start={}", one.min(two)));
            rows.retain(|row| of(row) >= one.min(two));
        }
        let end = rng.random_bool(0.8).then_some(one.max(two));
        if let Some(end) = end {
            query.push(format!("end={end}"));
            rows.retain(|row| of(row) < end);
        }
        let latest = rng.random_bool(0.5);
        let complete = world.complete.map_or(i64::MIN, |complete| complete.0);
        if latest {
            query.push("consistency=latest".into());
        } else {
            rows.retain(|row| row.hlc <= complete);
        }
        let mut case = Self {
            query: String::new(),
            columns: expected::COLUMNS.to_vec(),
            rows,
            limit: usize::MAX,
            status: 200,
            is_final: !event && end.is_some_and(|end| end <= complete.saturating_add(1)),
        };
        case.is_final |= !event && !latest && end.is_none();
        let beyond = end.map_or(world.complete.is_none(), |end| {
            end > complete.saturating_add(1)
        });
        if !latest && beyond {
            case.status = if world.token.is_some() { 400 } else { 503 };
        }
        case.narrow(rng, world, &mut query);
        case.query = query.join("&");
        case
    }

    /// Filters, order, limit and columns.
    fn narrow(&mut self, rng: &mut SmallRng, world: &World<'_>, query: &mut Vec<String>) {
        // both filters, which together fix the key, more often than by chance
        let whole_key = rng.random_bool(0.2);
        if whole_key || rng.random_bool(0.3) {
            let count = rng.random_range(1..3);
            let symbols: Vec<&str> = SYMBOLS.choose_multiple(rng, count).copied().collect();
            let values: Vec<String> = symbols.iter().map(|s| encoded(s)).collect();
            query.push(format!("key.symbol={}", values.join(",")));
            self.rows.retain(|row| symbols.contains(&row.symbol));
        }
        if whole_key {
            let lot = rng.random_range(-1..2);
            query.push(format!("key.lot={lot}"));
            self.rows.retain(|row| row.lot == lot);
        } else if rng.random_bool(0.2) {
            query.push("key.lot=-1,1".to_owned());
            self.rows.retain(|row| row.lot.abs() == 1);
        }
        if rng.random_bool(0.2) {
            query.push("partition=0".to_owned());
            self.rows.retain(|row| row.partition == 0);
        }
        if rng.random_bool(0.5) {
            query.push("order=desc".to_owned());
            self.rows.reverse();
        }
        if rng.random_bool(0.5) {
            self.limit = *[1, 2, 10, 100, 1000].choose(rng).unwrap();
            query.push(format!("limit={}", self.limit));
        }
        if !world.has_note {
            self.columns.retain(|column| *column != "note");
        }
        if rng.random_bool(0.5) {
            self.columns.push("log_offset");
            self.columns.shuffle(rng);
            self.columns
                .truncate(rng.random_range(1..=self.columns.len()));
            query.push(format!("columns={}", self.columns.join(",")));
        }
    }

    /// Asks, in a format, and compares; also with its pages together, if it is cut.
    pub(super) async fn check(&self, bench: &Bench, format: usize, when: &str) {
        let accept = FORMATS[format % 5];
        let answer = bench.window(&self.query, accept).await;
        let what = format!("{when}: {accept} {}", self.query);
        assert_eq!(
            answer.status.as_u16(),
            self.status,
            "{what}: {:?}",
            answer.body
        );
        if self.status != 200 {
            return;
        }
        assert_eq!(answer.header("content-type"), accept);
        assert_eq!(
            answer.header("tourbillon-final"),
            self.is_final.to_string(),
            "{what}"
        );
        let rows = &self.rows[..self.limit.min(self.rows.len())];
        self.compare(&answer, rows, format % 5, &what);
        let cut = rows.len() < self.rows.len();
        assert_eq!(answer.headers.contains_key("link"), cut, "{what}");
        let pages = self.rows.len() / self.limit;
        if cut && pages < 30 {
            self.check_pages(bench, &what).await;
        }
    }

    fn compare(&self, answer: &Answer, rows: &[Row], format: usize, what: &str) {
        let columns = &self.columns[..];
        let text = |wanted: String| {
            let lines = answer.text().lines().zip(wanted.lines());
            let differ = lines
                .enumerate()
                .find(|(_, (found, wanted))| found != wanted);
            assert_eq!(differ, None, "{what}");
            let sizes = (answer.body.len(), wanted.len());
            assert!(answer.text() == wanted, "{what}: {sizes:?} bytes");
        };
        match format {
            0 => text(expected::ndjson(rows, columns)),
            1 => text(expected::json_array(rows, columns)),
            2 => text(expected::csv(rows, columns)),
            _ => {
                let wanted = expected::batch(rows, columns);
                let found = if format == 3 {
                    arrow(answer)
                } else {
                    parquet(answer)
                };
                assert_eq!(found.schema(), wanted.schema(), "{what}");
                assert!(found == wanted, "{what}");
            }
        }
    }

    /// Reads page after page to the end.
    async fn check_pages(&self, bench: &Bench, what: &str) {
        let mut page = bench.window(&self.query, FORMATS[0]).await;
        let mut text = page.text().to_owned();
        while let Some(uri) = pages::next(&page) {
            page = bench.get(&uri, FORMATS[0]).await;
            assert_eq!(
                page.status,
                StatusCode::OK,
                "{what} at {uri}: {:?}",
                page.body
            );
            assert!(!page.body.is_empty(), "{what}: an empty page at {uri}");
            text += page.text();
        }
        assert!(
            text == expected::ndjson(&self.rows, &self.columns),
            "pages of {what}"
        );
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
        let (segments, sealed, tail) = bench.service.totals(&bench.rig.def).unwrap();
        assert!(
            segments >= 3 && sealed > 1000 && tail > 500,
            "{segments} {sealed} {tail}"
        );
        assert_eq!(sealed + tail, feed.rows.len() as u64);
        let world = World {
            rows: &feed.rows,
            complete: Some(bench.service.complete_through(&bench.rig.def).unwrap()),
            token: None,
            has_note: true,
        };
        let mut rng = SmallRng::seed_from_u64(seed);
        for format in 0..150 {
            let case = Case::random(&mut rng, &world);
            case.check(&bench, format, &format!("seed {seed}")).await;
        }
        bench.service.shutdown().await;
    }
}
