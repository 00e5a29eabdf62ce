//! Random as-of joins over random histories, line for line.

use std::collections::HashMap;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tourbillon_core::control::ColumnSpec;
use tourbillon_core::ids::PartitionId;
use tourbillon_core::time::format_time_ns;
use tourbillon_log::control::StreamRequest;

use super::pages::next;
use super::*;
use crate::rig::feed::Row;

const COLUMNS: &str = "columns=hlc,writer,n&right_columns=hlc,n,side";

/// A second stream with the same columns on the same log.
async fn books(rig: &Rig) -> Rig {
    let schema = rig.def.schema();
    let columns = schema.columns().iter().map(|column| ColumnSpec {
        name: column.name.clone(),
        ty: column.ty.to_string(),
        nullable: column.nullable,
    });
    let request = StreamRequest {
        name: "books".into(),
        columns: columns.collect(),
        key: Some(schema.key_names().map(str::to_owned).collect()),
        event_time: Some("ts".into()),
        partitions: Some(2),
        window_ns: Some(crate::rig::WINDOW),
        ..StreamRequest::default()
    };
    let def = rig.control.ensure_stream(&request).await.unwrap();
    Rig { def, ..rig.clone() }
}

/// The service knows all of the second stream too.
async fn followed(bench: &Bench, rig: &Rig) {
    until(|| async {
        let Ok(partitions) = bench.service.partitions(&rig.def) else {
            return false;
        };
        for partition in partitions {
            let summary = partition.summary();
            if !summary.caught_up || summary.next_offset != rig.end(partition.number.0).await {
                return false;
            }
        }
        true
    })
    .await;
}

/// A worker seals what can be sealed of both streams.
async fn seal_both(rigs: [&Rig; 2]) {
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "w".into(),
        grace: Duration::from_secs(3600),
    };
    let rig = rigs[0];
    let worker = Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone());
    until(|| async {
        let progress = worker.progress();
        for rig in rigs {
            for partition in 0..rig.def.partitions {
                let place = (rig.def.name.clone(), PartitionId(partition));
                let at = progress.get(&place).map(|p| Offset(p.next_offset()));
                if at != Some(rig.end(partition).await) {
                    return false;
                }
            }
        }
        true
    })
    .await;
    worker.shutdown().await;
}

/// The time by which rows are joined.
type Time = fn(&Row) -> Option<i64>;

/// The lines of the answer, each left row looked up in all right rows of its key.
fn lines(left: &[Row], right: &[Row], tolerance: Option<i64>, time: Time) -> Vec<String> {
    let mut of_key: HashMap<_, Vec<&Row>> = HashMap::new();
    for row in right {
        of_key.entry((row.symbol, row.lot)).or_default().push(row);
    }
    let line = |row: &Row| {
        let others = of_key.get(&(row.symbol, row.lot)).into_iter().flatten();
        let fits = |other: &&&Row| {
            let age = time(row).zip(time(other)).map(|(row, other)| row - other);
            age.is_some_and(|age| age >= 0 && tolerance.is_none_or(|most| age <= most))
        };
        let newest = others.filter(fits);
        let newest = newest.max_by_key(|other| (time(other), other.hlc, other.writer));
        let newest = newest.map_or(",,".to_owned(), |other| {
            let side = other.side.unwrap_or_default();
            format!("{},{},{side}", format_time_ns(other.hlc), other.n)
        });
        format!(
            "{},{},{},{newest}\n",
            format_time_ns(row.hlc),
            row.writer,
            row.n
        )
    };
    left.iter().map(line).collect()
}

struct Case {
    query: String,
    header: String,
    lines: Vec<String>,
}

fn case(rng: &mut SmallRng, feeds: [&Feed; 2], complete: [i64; 2]) -> Case {
    let right = *["books", "ticks"].choose(rng).unwrap();
    let mut query = format!("left=ticks&right={right}&{COLUMNS}&wait=0s");
    let mut left = feeds[0].ordered();
    let mut other = if right == "ticks" {
        left.clone()
    } else {
        feeds[1].ordered()
    };
    let tolerance = *[None, Some(0), Some(3), Some(40)].choose(rng).unwrap();
    if let Some(ms) = tolerance {
        query += &format!("&tolerance={ms}ms");
    }
    let by_event = rng.random_bool(0.4);
    let time: Time = if by_event {
        |row| row.ts
    } else {
        |row| Some(row.hlc)
    };
    query += if by_event { "&time=event" } else { "" };
    left.retain(|row| time(row).is_some());
    left.sort_by_key(|row| (time(row), row.hlc, row.writer));
    let mut stamp = || left.choose(rng).and_then(time).unwrap();
    let (one, two) = (stamp(), stamp());
    if rng.random() {
        query += &format!("&start={}", one.min(two));
        left.retain(|row| time(row) >= Some(one.min(two)));
    }
    let latest = rng.random();
    let both = complete[0].min(complete[1]);
    let ends = rng.random() && (latest || one.max(two) <= both);
    if ends {
        query += &format!("&end={}", one.max(two));
        left.retain(|row| time(row) < Some(one.max(two)));
    }
    if latest {
        query += "&consistency=latest";
    } else {
        // by stamp both end where the first of them does, by event time each has its own rows
        let of_both = if right == "ticks" { complete[0] } else { both };
        left.retain(|row| row.hlc <= if by_event { complete[0] } else { of_both });
        let of_right = complete[usize::from(right == "books")];
        other.retain(|row| !by_event || row.hlc <= of_right);
    }
    if rng.random_bool(0.4) {
        query += "&key.lot=0,1&on=lot,symbol";
        left.retain(|row| row.lot >= 0);
    }
    Case {
        query,
        header: format!("hlc,writer,n,{right}_hlc,{right}_n,{right}_side\n"),
        lines: lines(&left, &other, tolerance.map(|ms| ms * 1_000_000), time),
    }
}

async fn asof(bench: &Bench, query: &str) -> Answer {
    bench.get(&format!("/v1/asof?{query}"), "text/csv").await
}

#[tokio::test(start_paused = true)]
async fn joins_are_what_looking_through_all_rows_gives_now_and_later() {
    let (mut ticks, bench) = mixed(300, 2).await;
    let books = books(&bench.rig).await;
    let mut feed = Feed::new(&books, 301, 2).await;
    feed.run(300, 2_000_000).await;
    seal_both([&bench.rig, &books]).await;
    feed.run(80, 1_500_000).await;
    bench.caught_up().await;
    followed(&bench, &books).await;
    let complete = [&bench.rig.def, &books.def].map(|def| bench.service.complete_through(def));
    let complete = complete.map(|complete| complete.unwrap().0);
    let mut rng = SmallRng::seed_from_u64(300);
    let mut kept = Vec::new();
    for _ in 0..30 {
        // a join with itself is complete as far as the one stream is
        let Case {
            query,
            header,
            lines,
        } = case(&mut rng, [&ticks, &feed], complete);
        let answer = asof(&bench, &query).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
        let body = answer.text().strip_prefix(&header).expect(&query);
        let wrong = body
            .split_inclusive('\n')
            .zip(&lines)
            .find(|(found, wanted)| found != wanted);
        assert_eq!(wrong, None, "{query}");
        assert_eq!(body.lines().count(), lines.len(), "{query}");
        let token = encoded(answer.header("tourbillon-snapshot"));
        kept.push((format!("{query}&snapshot={token}"), answer));
    }
    let found = kept.iter().flat_map(|(_, answer)| answer.text().lines());
    let nothing = found.clone().filter(|line| line.ends_with(",,,")).count();
    assert!(nothing > 100 && found.count() > 3 * nothing, "{nothing}");
    ticks.run(60, 1_500_000).await;
    feed.run(60, 1_500_000).await;
    seal_both([&bench.rig, &books]).await;
    for bench in [&bench, &Bench::on(&bench.rig).await] {
        bench.caught_up().await;
        followed(bench, &books).await;
        for (query, answer) in &kept {
            let again = asof(bench, query).await;
            assert!(again.body == answer.body, "{query}: {}", again.text());
            let name = "tourbillon-complete-through";
            assert_eq!(again.header(name), answer.header(name), "{query}");
        }
        pages(bench, &kept, &mut ticks).await;
    }
}

/// Pages of some joins, while rows come in, are the whole.
async fn pages(bench: &Bench, kept: &[(String, Answer)], ticks: &mut Feed) {
    for (query, whole) in kept.iter().step_by(10) {
        let lines = whole.text().lines().count();
        let mut uri = format!("/v1/asof?{query}&limit={}", lines / 4 + 1);
        let mut text = String::new();
        loop {
            let page = bench.get(&uri, "text/csv").await;
            assert_eq!(page.status, StatusCode::OK, "{uri}: {}", page.text());
            let rows = page.text().split_once('\n').unwrap_or_default().1;
            text += if text.is_empty() { page.text() } else { rows };
            ticks.run(2, 1_000_000).await;
            match next(&page) {
                Some(next) => uri = next,
                None => break,
            }
        }
        assert!(text == whole.text(), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_joined_is_told() {
    let (_, bench) = mixed(310, 1).await;
    for (query, status, told) in [
        ("left=ticks", 400, "right: is missing"),
        ("left=ticks&right=none", 404, "`none`"),
        ("left=ticks&right=ticks&on=price", 400, "on: `price`"),
        (
            "left=ticks&right=ticks&order=desc",
            400,
            "order: unknown parameter",
        ),
        ("left=ticks&right=ticks&tolerance=x", 400, "tolerance"),
        ("left=ticks&right=ticks&snapshot=1.5", 400, "snapshot"),
        (
            "left=ticks&right=ticks&snapshot=ticks%3D1.0-0-0.t5",
            400,
            "partitions",
        ),
        (
            "left=ticks&right=ticks&end=2200-01-01T00:00:00Z&wait=0s",
            503,
            "complete through",
        ),
    ] {
        let answer = asof(&bench, query).await;
        assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text());
        assert!(answer.text().contains(told), "{query}: {}", answer.text());
    }
}
