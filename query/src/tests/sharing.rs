//! Many subscribers cost as much as one, and each gets exactly its own rows.

use std::sync::OnceLock;

use futures::future::join_all;
use tokio::time::sleep;

use super::sse::Client;
use super::*;
use crate::WorkDone;
use crate::partition::State;
use crate::rig::feed::Row;

/// How subscribers look at the stream: a symbol if not all, and the columns.
const LOOKS: [(Option<&str>, &str); 5] = [
    (None, "n,log_offset"),
    (Some("BTCUSDT"), "n,log_offset"),
    (Some("ETHUSDT"), "n,log_offset"),
    (None, "price,n,log_offset"),
    (Some("nothing"), "n,log_offset"),
];

/// Everything that a subscriber gets until the stream is complete through `last`, once that is
/// known.
async fn read(mut client: Client, last: &OnceLock<i64>) -> Vec<sse::Event> {
    let mut events = Vec::new();
    loop {
        let event = client.next().await.unwrap();
        let last = last.get().copied().unwrap_or(i64::MAX);
        if event.name == "watermark" && event.complete() >= last {
            return events;
        }
        events.push(event);
    }
}

/// Rows by number as an event stream has them, and whether each partition's came in the order of
/// the log.
fn numbers(events: &[sse::Event]) -> (Vec<i64>, bool) {
    let rows = events.iter().filter(|event| event.name == "rows");
    let found = rows.clone().flat_map(|event| event.numbers("n")).collect();
    let mut reached = std::collections::BTreeMap::new();
    let ordered = rows.flat_map(|event| {
        let partition = event.data["partition"].as_u64();
        let offsets = event.numbers("log_offset");
        offsets.into_iter().map(move |offset| (partition, offset))
    });
    let in_log_order = ordered.fold(true, |so_far, (partition, offset)| {
        let before = reached.insert(partition, offset);
        so_far && before.is_none_or(|before| before <= offset)
    });
    (found, in_log_order)
}

fn wanted(rows: &[Row], symbol: Option<&str>) -> Vec<i64> {
    let rows = rows.iter();
    let rows = rows.filter(|row| symbol.is_none_or(|symbol| row.symbol == symbol));
    rows.map(|row| row.n).collect()
}

/// `count` subscribers follow what comes; what that cost.
async fn follow(mode: &str, count: usize) -> WorkDone {
    let rig = Rig::new(memory(), 3).await;
    let mut feed = Feed::new(&rig, 140, 3).await;
    feed.run(60, 1_500_000).await;
    feed.pass(1_000_000_000);
    feed.beat().await;
    let bench = Bench::on(&rig).await;
    let known = feed.rows.len();
    let mut clients = Vec::new();
    for number in 0..count {
        let (symbol, columns) = LOOKS[number % LOOKS.len()];
        let key = symbol.map_or(String::new(), |symbol| format!("&key.symbol={symbol}"));
        let query = format!("mode={mode}&columns={columns}{key}");
        clients.push(Client::on(&bench, &query, None).await);
    }
    let last = OnceLock::new();
    let load = async {
        sleep(Duration::from_millis(100)).await;
        for _ in 0..40 {
            feed.run(5, 1_500_000).await;
            sleep(Duration::from_millis(30)).await;
        }
        feed.pass(1_000_000_000);
        feed.beat().await;
        let end = feed.rows.iter().map(|row| row.hlc).max();
        last.set(end.unwrap()).unwrap();
        feed
    };
    let reading = join_all(clients.into_iter().map(|client| read(client, &last)));
    let (feed, got) = tokio::join!(load, reading);
    let fresh = &feed.rows[known..];
    let mut in_order = fresh.to_vec();
    in_order.sort_by_key(|row| (row.hlc, row.writer));
    for (number, events) in got.iter().enumerate() {
        let (mut found, in_log_order) = numbers(events);
        let (symbol, _) = LOOKS[number % LOOKS.len()];
        if mode == "eager" {
            assert!(in_log_order, "{number}");
            found.sort_unstable();
            let mut wanted = wanted(fresh, symbol);
            wanted.sort_unstable();
            assert_eq!(found, wanted, "{number}");
        } else {
            assert_eq!(found, wanted(&in_order, symbol), "{number}");
        }
    }
    drop(got);
    let done = bench.service.subscription_work();
    assert_eq!(usize::try_from(done.seated), Ok(count), "{done:?}");
    assert_eq!(done.left_behind, 0);
    done
}

#[tokio::test(start_paused = true)]
async fn five_hundred_subscribers_are_read_for_once() {
    for mode in ["ordered", "eager"] {
        // one of each kind, and a hundred of each
        let few = follow(mode, LOOKS.len()).await;
        let many = follow(mode, 500).await;
        assert!(few.rows > 2000 && few.encodings > 50, "{few:?}");
        assert!(many.windows <= 2 * few.windows, "{mode} {many:?} {few:?}");
        assert!(many.rows <= 2 * few.rows, "{mode} {many:?} {few:?}");
        assert!(
            many.encodings <= 2 * few.encodings,
            "{mode} {many:?} {few:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_reads_when_nobody_listens() {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 141, 2).await;
    feed.run(40, 1_500_000).await;
    feed.pass(1_000_000_000);
    feed.beat().await;
    let bench = Bench::on(&rig).await;
    for mode in ["ordered", "eager"] {
        let query = format!("mode={mode}&columns=n");
        let mut client = Client::on(&bench, &query, None).await;
        assert_eq!(client.next().await.unwrap().name, "watermark");
        let known = feed.rows.len();
        feed.data(0, 0, 7, None).await;
        feed.pass(1_000_000);
        feed.beat().await;
        let rows = loop {
            let event = client.next().await.unwrap();
            if event.name == "rows" {
                break event.numbers("n");
            }
        };
        let fresh: Vec<i64> = feed.rows[known..].iter().map(|row| row.n).collect();
        assert_eq!(rows, fresh);
        drop(client);
        sleep(Duration::from_secs(2)).await;
        let before = bench.service.subscription_work();
        feed.data(0, 0, 7, None).await;
        feed.pass(1_000_000);
        feed.beat().await;
        bench.caught_up().await;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(bench.service.subscription_work(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_stops_ends_those_at_the_live_edge_with_their_cursors() {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 142, 2).await;
    feed.run(40, 1_500_000).await;
    feed.pass(1_000_000_000);
    feed.beat().await;
    let bench = Bench::on(&rig).await;
    let mut clients = Vec::new();
    for mode in ["ordered", "ordered", "eager"] {
        let query = format!("mode={mode}&columns=n");
        clients.push(Client::on(&bench, &query, None).await);
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.service.subscription_work().seated, 3);
    bench.service.partitions(&rig.def).unwrap()[1].stop("damaged".into());
    for mut client in clients {
        let (end, before) = loop {
            let event = client.next().await.unwrap();
            if event.name == "watermark" {
                continue;
            }
            break (event, client.next().await);
        };
        assert_eq!(end.name, "end");
        assert!(end.data["reason"].as_str().unwrap().contains("damaged"));
        assert!(before.is_none(), "it ends cleanly");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_at_the_live_edge_reaches_everyone() {
    for mode in ["ordered", "eager"] {
        let rig = Rig::new(memory(), 2).await;
        let mut feed = Feed::new(&rig, 143, 2).await;
        feed.pass(1_000_000_000);
        feed.beat().await;
        let bench = Bench::on(&rig).await;
        let query = format!("mode={mode}&columns=n,log_offset");
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(Client::on(&bench, &query, None).await);
        }
        sleep(Duration::from_millis(100)).await;
        // more than a ring holds, and more than a reader of partitions puts in order
        for frame in 0..18 {
            feed.pass(1_000_000);
            feed.data(frame % 2, 0, 2000, None).await;
        }
        feed.pass(1_000_000_000);
        feed.beat().await;
        let end = feed.rows.iter().map(|row| row.hlc).max().unwrap();
        let last = OnceLock::from(end);
        let got = join_all(clients.into_iter().map(|client| read(client, &last))).await;
        let mut all: Vec<i64> = feed.ordered().iter().map(|row| row.n).collect();
        for events in got {
            let (mut found, _) = numbers(&events);
            if mode == "eager" {
                found.sort_unstable();
                all.sort_unstable();
            }
            assert!(found == all, "{mode} {} {}", found.len(), all.len());
        }
        let done = bench.service.subscription_work();
        assert!(done.left_behind > 0, "{mode} {done:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_from_within_a_stretch_gets_the_rest_of_it() {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 144, 2).await;
    feed.pass(1_000_000_000);
    feed.beat().await;
    let bench = Bench::on(&rig).await;
    let mut keepers = Vec::new();
    for mode in ["ordered", "eager"] {
        let query = format!("columns=n&mode={mode}");
        keepers.push(Client::on(&bench, &query, None).await);
    }
    sleep(Duration::from_millis(100)).await;
    for step in 0..12 {
        feed.pass(1_000_000);
        feed.data(step % 2, u32::from(step % 3 == 0), 15, None)
            .await;
    }
    feed.pass(1_000_000_000);
    feed.beat().await;
    bench.caught_up().await;
    sleep(Duration::from_millis(100)).await;
    let (all, before) = (feed.ordered(), bench.service.subscription_work());
    let end = all.last().unwrap().hlc;
    let last = OnceLock::from(end);
    let mut asked = 0;
    for at in (0..all.len()).step_by(7) {
        let query = format!(
            "columns=n,log_offset&from=o1.{}-{}",
            all[at].hlc, all[at].writer
        );
        let events = read(Client::on(&bench, &query, None).await, &last).await;
        assert_eq!(numbers(&events).0, wanted(&all[at + 1..], None), "{at}");
        // offsets anywhere, and a floor that may lie above rows beyond them
        let offset = |partition| {
            let rows = all[..=at]
                .iter()
                .filter(move |row| row.partition == partition);
            rows.map(|row| row.offset).max().unwrap_or(0)
        };
        let (offsets, floor) = ([offset(0), offset(1)], all[at / 2].hlc);
        let first = begun(&feed);
        let offsets = [offsets[0].max(first[0]), offsets[1].max(first[1])];
        let query = format!(
            "columns=n,log_offset&from=e1.{}-{}.t{floor}",
            offsets[0], offsets[1]
        );
        let events = read(Client::on(&bench, &query, None).await, &last).await;
        let (mut found, in_log_order) = numbers(&events);
        found.sort_unstable();
        let left = |row: &&Row| row.offset >= offsets[row.partition as usize] && row.hlc > floor;
        let mut wanted: Vec<i64> = all.iter().filter(left).map(|row| row.n).collect();
        wanted.sort_unstable();
        assert!(in_log_order && found == wanted, "{at} {found:?} {wanted:?}");
        asked += 2;
    }
    let done = bench.service.subscription_work();
    assert_eq!(done.seated, before.seated + asked);
    assert_eq!(done.windows, before.windows, "everything was in the ring");
}

/// The offset of the first row of each partition.
fn begun(feed: &Feed) -> [u64; 2] {
    [0, 1].map(|partition| {
        let rows = feed.rows.iter().filter(|row| row.partition == partition);
        rows.map(|row| row.offset).min().unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_begins_anew_holds_the_live_edge_up_and_no_more() {
    for mode in ["ordered", "eager"] {
        let rig = Rig::new(memory(), 2).await;
        let mut feed = Feed::new(&rig, 145, 2).await;
        feed.run(40, 1_500_000).await;
        feed.pass(1_000_000_000);
        feed.beat().await;
        let bench = Bench::on(&rig).await;
        let query = format!("columns=n,log_offset&mode={mode}");
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(Client::on(&bench, &query, None).await);
        }
        sleep(Duration::from_millis(100)).await;
        let partitions = bench.service.partitions(&rig.def).unwrap();
        partitions[0].begin(State::default());
        sleep(Duration::from_secs(5)).await;
        assert!(bench.service.complete_through(&rig.def).is_err());
        let known = feed.rows.len();
        for partition in [1, 0] {
            feed.pass(1_000_000);
            feed.data(0, partition, 30, None).await;
        }
        feed.pass(1_000_000);
        feed.beat().await;
        let last = OnceLock::from(feed.rows.last().unwrap().hlc);
        for client in clients {
            let events = read(client, &last).await;
            assert!(events.iter().all(|event| event.name != "end"));
            let mut found = numbers(&events).0;
            found.sort_unstable();
            assert_eq!(found, wanted(&feed.rows[known..], None), "{mode}");
        }
        assert_eq!(bench.service.subscription_work().left_behind, 0);
    }
}
