//! What a statement does not need is not read.

use std::sync::Arc;
use std::sync::Mutex;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tourbillon_core::time::format_time_ns;
use tourbillon_lake::faulty::{FaultyStore, StoreCall};

use super::*;

/// Segments that were read, each once.
#[derive(Clone, Default)]
struct Reads(Arc<Mutex<std::collections::BTreeSet<String>>>);

impl Reads {
    fn lake(&self) -> Lake {
        let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let reads = Arc::clone(&self.0);
        let store = FaultyStore::new(inner, move |call, path| {
            if call == StoreCall::Get && path.as_ref().contains("data/") {
                reads.lock().unwrap().insert(path.to_string());
            }
            None
        });
        Lake::with_store(Arc::new(store), "watched://")
    }

    fn take(&self) -> usize {
        std::mem::take(&mut *self.0.lock().unwrap()).len()
    }
}

#[tokio::test]
async fn segments_outside_the_range_are_not_opened() {
    let reads = Reads::default();
    let rig = Rig::new(reads.lake(), 1).await;
    let mut feed = Feed::new(&rig, 30, 1).await;
    for _ in 0..30 {
        feed.pass(50_000_000);
        feed.data(0, 0, 4000, None).await;
    }
    feed.pass(300_000_000);
    feed.beat().await;
    seal(&rig).await;
    let bench = Bench::on(&rig, feed.rows.len(), settings()).await;
    let (segments, ..) = bench.query.totals(&rig.def).unwrap();
    assert!(segments > 10, "{segments}");
    reads.take();
    bench.ask("select count(*) from ticks").await;
    assert_eq!(reads.take(), segments);
    let all = feed.ordered();
    let row = &all[all.len() / 2];
    let at = format_time_ns(row.hlc);
    for query in [
        format!("select n from ticks where hlc = '{at}'"),
        format!("select n from ticks where hlc between '{at}' and '{at}'"),
        format!("select n from ticks where hlc >= '{at}' order by hlc limit 1"),
        format!("select n from ticks where '{at}' >= hlc order by hlc desc limit 1"),
        format!(
            "select max(n) as n from ticks where hlc > timestamp '{at}' - interval '1 nanosecond' and hlc <= '{at}'"
        ),
    ] {
        let answer = bench.ask(&query).await;
        assert_eq!(answer.text(), format!("{{\"n\":{}}}\n", row.n), "{query}");
        let opened = reads.take();
        // a scan reads a little ahead of what is taken from it
        assert!(opened <= 6, "{query}: {opened} of {segments}");
    }
    bench.query.shutdown().await;
}

#[tokio::test]
async fn conditions_on_the_key_are_answered_by_the_scan() {
    let (_, bench) = mixed(31, 2).await;
    for (query, left) in [
        ("select n from ticks where symbol = 'ETHUSDT'", false),
        (
            "select n from ticks where symbol in ('ETHUSDT', 'BTCUSDT', 'a', 'b', 'c')",
            false,
        ),
        (
            "select n from ticks where symbol = 'ETHUSDT' or symbol = 'BTCUSDT'",
            false,
        ),
        ("select n from ticks where lot = 1 and hlc < now()", false),
        ("select n from ticks where symbol like 'ETH%'", true),
        ("select n from ticks where side = 'buy'", true),
        ("select n from ticks where symbol <> 'ETHUSDT'", true),
    ] {
        let plan = bench.plan(query).await;
        assert_eq!(plan.contains("FilterExec"), left, "{query}:\n{plan}");
    }
    bench.query.shutdown().await;
}
