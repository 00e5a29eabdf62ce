//! Subscriptions that are killed and resumed at random have what a window has: no row is missing,
//! none comes twice.

use std::sync::{Arc, OnceLock};

use arrow::ipc::reader::StreamReader;
use futures::StreamExt;
use futures::future::join_all;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::time::sleep;
use tourbillon_core::time::parse_time_ns;

use super::sse::{Client, Event};
use super::*;
use crate::rig::feed::Row;

fn worker(rig: &Rig) -> Worker {
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "w".into(),
        grace: Duration::from_secs(3600),
    };
    Worker::start(settings, rig.log(), rig.lake.clone(), rig.control.clone())
}

/// What a subscriber asked for and got.
struct Got {
    /// Only rows above this stamp were asked for.
    above: i64,
    /// It began at a moment of its own: with the first row that it got of a partition.
    latest: bool,
    keyed: bool,
    eager: bool,
    connections: usize,
    events: Vec<Event>,
}

/// Subscribes, is killed and resumes at random, until everything through `last` has come.
async fn subscriber(bench: &Bench, seed: u64, some: i64, last: &OnceLock<i64>) -> Got {
    let mut rng = SmallRng::seed_from_u64(seed);
    sleep(Duration::from_millis(rng.random_range(0..6000))).await;
    let (eager, keyed) = (seed % 2 == 1, rng.random_bool(0.3));
    let from = ["earliest", "latest", "time"].choose(&mut rng).unwrap();
    let mut query = "columns=n,log_offset".to_owned();
    query += if eager { "&mode=eager" } else { "" };
    query += if keyed { "&key.symbol=BTCUSDT" } else { "" };
    let mut first = format!("{query}&from={from}");
    let mut above = 0;
    if *from == "time" {
        first = format!("{query}&from={some}");
        above = some - 1;
    }
    let (mut events, mut id): (Vec<Event>, Option<String>) = (Vec::new(), None);
    for connections in 1.. {
        let mut client = match &id {
            None => Client::on(bench, &first, None).await,
            // as a header, or as a parameter
            Some(id) if rng.random() => Client::on(bench, &first, Some(id)).await,
            Some(id) => Client::on(bench, &format!("{query}&from={id}"), None).await,
        };
        // some read so slowly that they fall out of what is kept for those at the live edge
        let slow = rng.random_bool(0.3);
        for _ in 0..rng.random_range(1..12) {
            if slow {
                sleep(Duration::from_millis(rng.random_range(0..900))).await;
            }
            let event = client.next().await.unwrap();
            id = Some(event.id.clone());
            let is_last = event.name == "watermark"
                && last.get().is_some_and(|last| event.complete() >= *last);
            events.push(event);
            if is_last {
                return Got {
                    above,
                    latest: *from == "latest",
                    keyed,
                    eager,
                    connections,
                    events,
                };
            }
        }
        drop(client);
        sleep(Duration::from_millis(rng.random_range(0..800))).await;
    }
    unreachable!("it does not give up")
}

impl Got {
    fn check(&self, all: &[Row]) {
        let mut wanted: Vec<&Row> = all.iter().filter(|row| row.hlc > self.above).collect();
        wanted.retain(|row| !self.keyed || row.symbol == "BTCUSDT");
        let rows = self.events.iter().filter(|event| event.name == "rows");
        let mut found: Vec<i64> = rows.flat_map(|event| event.numbers("n")).collect();
        if self.latest {
            let first = |row: &&Row| found.contains(&row.n);
            if self.eager {
                for partition in 0..2 {
                    let of = wanted.iter().filter(|row| row.partition == partition);
                    let begun = of.copied().filter(first).map(|row| row.offset).min();
                    let begun = begun.unwrap_or(u64::MAX);
                    wanted.retain(|row| row.partition != partition || row.offset >= begun);
                }
            } else {
                let begun = wanted.iter().position(first).unwrap_or(wanted.len());
                wanted.drain(..begun);
            }
        }
        if self.eager {
            self.check_log_order();
            found.sort_unstable();
            wanted.sort_by_key(|row| row.n);
        }
        let wanted: Vec<i64> = wanted.iter().map(|row| row.n).collect();
        assert_eq!(found, wanted);
    }

    fn check_log_order(&self) {
        let mut reached = std::collections::BTreeMap::new();
        for event in self.events.iter().filter(|event| event.name == "rows") {
            assert_eq!(event.data["final"], false);
            let partition = event.data["partition"].as_u64().unwrap();
            for offset in event.numbers("log_offset") {
                let before = reached.insert(partition, offset);
                assert!(before.is_none_or(|before| before <= offset));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_and_resumed_subscribers_have_every_row_once() {
    let rig = Rig::keeping(memory(), 2, Some(1_000_000_000), None).await;
    let mut feed = Feed::new(&rig, 120, 3).await;
    feed.run(150, 3_000_000).await;
    let some = feed.ordered()[feed.rows.len() / 2].hlc;
    let bench = Bench::on(&rig).await;
    let worker = worker(&rig);
    let last = OnceLock::new();
    let load = async {
        let mut rng = SmallRng::seed_from_u64(120);
        for _ in 0..120 {
            feed.run(6, 3_000_000).await;
            sleep(Duration::from_millis(rng.random_range(0..100))).await;
        }
        feed.pass(1_000_000_000);
        feed.beat().await;
        bench.caught_up().await;
        let complete = bench.service.complete_through(&rig.def).unwrap();
        last.set(complete.0).unwrap();
        feed
    };
    let subscribers = (0..16).map(|seed| subscriber(&bench, seed, some, &last));
    let (feed, got) = tokio::join!(load, join_all(subscribers));
    worker.shutdown().await;
    let all = feed.ordered();
    assert!(all.iter().all(|row| row.hlc <= *last.get().unwrap()));
    let (segments, ..) = bench.service.totals(&rig.def).unwrap();
    assert!(segments > 3, "{segments}");
    for got in &got {
        got.check(&all);
    }
    let connections: usize = got.iter().map(|got| got.connections).sum();
    let batches = got.iter().flat_map(|got| &got.events);
    let batches = batches.filter(|event| event.name == "rows").count();
    assert!(connections > 50 && batches > 200, "{connections} {batches}");
    // from history to the live edge, behind it, and back to it
    let done = bench.service.subscription_work();
    assert!(done.seated > 60 && done.left_behind > 10, "{done:?}");
}

/// Four batches of a long sealed history and more in the tail.
async fn long(seed: u64) -> (Feed, Bench) {
    let rig = Rig::new(memory(), 1).await;
    let mut feed = Feed::new(&rig, seed, 2).await;
    for frame in 0..25 {
        feed.pass(20_000_000);
        feed.data(frame % 2, 0, 4000, None).await;
        if frame == 15 {
            seal(&rig).await;
        }
    }
    feed.pass(20_000_000);
    feed.beat().await;
    let bench = Bench::on(&rig).await;
    (feed, bench)
}

#[tokio::test(start_paused = true)]
async fn a_long_history_is_caught_up_with_in_pieces() {
    for mode in ["eager", "ordered"] {
        let (mut feed, bench) = long(121).await;
        let mut rng = SmallRng::seed_from_u64(121);
        let query = format!("mode={mode}&columns=n&from=earliest");
        let (mut found, mut id) = (Vec::new(), None::<String>);
        while found.len() < feed.rows.len() {
            let mut client = Client::on(&bench, &query, id.as_deref()).await;
            for _ in 0..rng.random_range(1..4) {
                let event = client.next().await.unwrap();
                if event.name == "rows" {
                    found.extend(event.numbers("n"));
                }
                id = Some(event.id);
            }
            if feed.rows.len() < 110_000 {
                feed.data(0, 0, 100, None).await;
                feed.pass(1_000_000);
                feed.beat().await;
                bench.caught_up().await;
            }
        }
        let mut wanted: Vec<i64> = feed.ordered().iter().map(|row| row.n).collect();
        if mode == "eager" {
            found.sort_unstable();
            wanted.sort_unstable();
        }
        assert!(found == wanted, "{mode}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_reading_is_told_where_to_go_on() {
    let (feed, bench) = long(122).await;
    let wanted: Vec<i64> = feed.ordered().iter().map(|row| row.n).collect();
    let mut client = Client::on(&bench, "columns=n&from=earliest", None).await;
    let first = client.next().await.unwrap();
    let mut found = first.numbers("n");
    sleep(Duration::from_secs(40)).await;
    let end = loop {
        let event = client.next().await.unwrap();
        if event.name != "rows" {
            break event;
        }
        found.extend(event.numbers("n"));
    };
    assert_eq!(end.name, "end");
    assert!(
        end.data["reason"]
            .as_str()
            .unwrap()
            .contains("nothing was read")
    );
    assert!(client.next().await.is_none(), "it ends cleanly");
    assert!(found.len() < wanted.len() && wanted.starts_with(&found));
    let mut client = Client::on(&bench, "columns=n", Some(&end.id)).await;
    while found.len() < wanted.len() {
        found.extend(client.next().await.unwrap().numbers("n"));
    }
    assert_eq!(found, wanted);
    // one that reads slowly is waited for
    let mut client = Client::on(&bench, "columns=n&from=earliest", None).await;
    let mut slowly = Vec::new();
    while slowly.len() < wanted.len() {
        sleep(Duration::from_secs(20)).await;
        slowly.extend(client.next().await.unwrap().numbers("n"));
    }
    assert_eq!(slowly, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stops_ends_its_subscriptions_with_their_cursors() {
    let (feed, bench) = mixed(123, 2).await;
    let mut sse = Client::on(&bench, "from=earliest&columns=n", None).await;
    let arrow_stream = "application/vnd.apache.arrow.stream";
    let uri = "/v1/streams/ticks/subscribe?from=earliest&columns=n,hlc,writer";
    let arrow = bench.send(uri, arrow_stream).await;
    assert_eq!(arrow.headers()["content-type"], arrow_stream);
    let mut numbers = Vec::new();
    let complete = loop {
        let event = sse.next().await.unwrap();
        match event.name.as_str() {
            "rows" => numbers.extend(event.numbers("n")),
            _ => break event.complete(),
        }
    };
    bench.service.end_subscriptions();
    let body = to_bytes(arrow.into_body(), usize::MAX).await.unwrap();
    let end = loop {
        match sse.next().await.unwrap() {
            event if event.name == "end" => break event,
            event => assert_eq!(event.name, "watermark"),
        }
    };
    assert_eq!(end.id, format!("o1.{complete}-{}", u32::MAX));
    assert!(sse.next().await.is_none());
    let rows = feed.ordered();
    let wanted: Vec<&Row> = rows.iter().filter(|row| row.hlc <= complete).collect();
    assert_eq!(numbers, wanted.iter().map(|row| row.n).collect::<Vec<_>>());
    let batches = StreamReader::try_new(&body[..], None).unwrap();
    let batches: Vec<_> = batches.collect::<Result<_, _>>().unwrap();
    let schema = batches[0].schema();
    let found = arrow::compute::concat_batches(&schema, &batches).unwrap();
    let wanted: Vec<Row> = wanted.into_iter().cloned().collect();
    assert_eq!(found, expected::batch(&wanted, &["n", "hlc", "writer"]));
    assert_eq!(bench.window("", "*/*").await.status, StatusCode::OK);
    bench.service.shutdown().await;
    // its last row makes a cursor
    let cut = &wanted[wanted.len() / 2];
    let bench = Bench::on(&bench.rig).await;
    let query = format!("columns=n&from=o1.{}-{}", cut.hlc, cut.writer);
    let event = Client::on(&bench, &query, None).await.next().await.unwrap();
    assert_eq!(event.numbers("n")[0], wanted[wanted.len() / 2 + 1].n);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_subscribed_to_is_refused_at_once() {
    let (_, bench) = mixed(124, 2).await;
    let arrow_stream = "application/vnd.apache.arrow.stream";
    for (query, accept, status, name) in [
        ("from=soon", "*/*", 400, "from"),
        ("from=o1.x", "*/*", 400, "byte 3"),
        ("from=e1.1-1-1.t5", "*/*", 400, "fewer partitions"),
        (
            "from=e1.1.t5.k6-1~4000000000-9",
            "*/*",
            400,
            "fewer partitions",
        ),
        ("from=o1.5-5&mode=eager", "*/*", 400, "mode"),
        ("mode=quick", "*/*", 400, "mode"),
        ("mode=eager", arrow_stream, 400, "mode"),
        ("speed=0", "*/*", 400, "speed"),
        ("speed=2&mode=eager", "*/*", 400, "speed"),
        ("key.price=1", "*/*", 400, "price"),
        ("columns=nope", "*/*", 400, "nope"),
        ("limit=5", "*/*", 400, "limit"),
        ("", "image/png", 406, "text/event-stream"),
    ] {
        let uri = format!("/v1/streams/ticks/subscribe?{query}");
        let answer = bench.get(&uri, accept).await;
        assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text());
        assert!(answer.text().contains(name), "{query}: {}", answer.text());
    }
    let answer = bench.get("/v1/streams/nope/subscribe", "*/*").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn messages_of_a_web_socket_are_the_same_events() {
    let (mut feed, bench) = mixed(125, 2).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = bench.router.clone();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let numbers: Arc<OnceLock<String>> = Arc::default();
    for half in 0..2 {
        let from = numbers.get().map_or("earliest", String::as_str);
        let uri = format!("ws://{address}/v1/streams/ticks/subscribe?columns=n&from={from}");
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async(uri, tcp).await.unwrap();
        let mut found = Vec::new();
        let known = feed.rows.len();
        if half == 1 {
            feed.data(0, 0, 9, None).await;
            feed.pass(1_000_000);
            feed.beat().await;
        }
        let (complete, cursor) = loop {
            let message = socket.next().await.unwrap().unwrap();
            let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
            if message["type"] == "rows" {
                let rows = message["rows"].as_array().unwrap();
                found.extend(rows.iter().map(|row| row["n"].as_i64().unwrap()));
            } else if half == 0 || found.contains(&feed.rows[known].n) {
                let complete = message["complete_through"].as_str().unwrap();
                let cursor = message["cursor"].as_str().unwrap().to_owned();
                break (parse_time_ns(complete).unwrap(), cursor);
            }
        };
        let mut wanted = feed.ordered();
        wanted.retain(|row| row.hlc <= complete);
        let wanted: Vec<i64> = wanted.iter().map(|row| row.n).collect();
        assert!(wanted.ends_with(&found) && !found.is_empty());
        assert_eq!(half == 0, found.len() == wanted.len());
        if half == 0 {
            numbers.set(cursor).unwrap();
        }
    }
    server.abort();
}
