//! Subscriptions and snapshots of a stream that gains partitions.

use tourbillon_log::control::StreamRequest;

use super::sse::Client;
use super::*;

#[tokio::test(start_paused = true)]
async fn subscribers_get_the_rows_of_partitions_that_come_later() {
    let mut rig = Rig::new(memory(), 1).await;
    let mut feed = Feed::new(&rig, 130, 2).await;
    feed.run(60, 1_500_000).await;
    let bench = Bench::on(&rig).await;
    let uri = "from=earliest&columns=n";
    let mut ordered = Client::on(&bench, uri, None).await;
    let mut eager = Client::on(&bench, &format!("{uri}&mode=eager"), None).await;
    let (mut in_order, mut at_once) = (Vec::new(), Vec::new());
    // both have begun before the stream grows
    in_order.extend(ordered.next().await.unwrap().numbers("n"));
    at_once.extend(eager.next().await.unwrap().numbers("n"));
    let before = bench
        .window("consistency=latest&columns=n", "text/csv")
        .await;
    feed.close().await;
    let note = tourbillon_core::control::ColumnSpec {
        name: "note".into(),
        ty: "string".into(),
        nullable: true,
    };
    let request = StreamRequest {
        name: "ticks".into(),
        columns: vec![note],
        partitions: Some(3),
        ..StreamRequest::default()
    };
    rig.def = rig.control.ensure_stream(&request).await.unwrap();
    feed.rig = rig.clone();
    feed.pass(1_000_000_000);
    feed.open().await;
    feed.open().await;
    feed.run(100, 1_500_000).await;
    feed.pass(1_000_000_000);
    feed.beat().await;
    assert!(feed.rows.iter().any(|row| row.partition == 2));
    while in_order.len() < feed.rows.len() {
        let event = ordered.next().await.unwrap();
        if event.name == "rows" {
            in_order.extend(event.numbers("n"));
        }
    }
    while at_once.len() < feed.rows.len() {
        let event = eager.next().await.unwrap();
        if event.name == "rows" {
            at_once.extend(event.numbers("n"));
        }
    }
    let mut wanted: Vec<i64> = feed.ordered().iter().map(|row| row.n).collect();
    assert_eq!(in_order, wanted);
    at_once.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(at_once, wanted);
    // a snapshot from before has none of them
    let token = before.header("tourbillon-snapshot");
    let query = format!("consistency=latest&columns=n&snapshot={token}");
    assert_eq!(bench.window(&query, "text/csv").await.text(), before.text());
}
