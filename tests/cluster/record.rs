//! What clients know of their rows against what is stored.

use std::time::Duration;

use serde_json::Value;

use crate::Cluster;
use crate::support::client::Record;
use crate::support::watermark::complete_through;
use crate::support::{counted, eventually, get};

/// How long what is left to do may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Fails unless each acknowledged row is stored once, and nothing else, as a reader sees it and as
/// the partitions count it. What was found.
pub(crate) fn stored(cluster: &Cluster, records: &[Record]) -> String {
    let rows: u64 = records.iter().map(|record| record.rows).sum();
    for service in [&cluster.gateway, &cluster.worker, &cluster.query] {
        service.until_ready();
    }
    let (query, now) = (&cluster.query.url, crate::wall_ns());
    eventually("complete", PATIENCE, || complete_through(query) > Some(now));
    assert_stored_once(query, records);
    eventually("all sealed", PATIENCE, || {
        counted(query, "trades", "sealed_rows") == rows
    });
    assert_eq!(counted(query, "trades", "accepted_rows"), rows);
    let repeats: u64 = records.iter().map(|record| record.repeats).sum();
    format!(
        "{rows} rows acknowledged and each stored once, {repeats} repeats, {} rows recognised, \
         {} rejected",
        counted(query, "trades", "duplicate_rows"),
        counted(query, "trades", "rejected_rows"),
    )
}

/// Stops a cluster and fails unless `verify` makes again just what the clients know of.
pub(crate) fn verified(cluster: Cluster, records: &[Record]) {
    let verified = cluster.finish();
    let trades = || verified.iter().filter(|p| p["stream"] == "trades");
    let count = |p: &Value| p["sealed_rows"].as_u64().unwrap() + p["open_rows"].as_u64().unwrap();
    assert!(trades().all(|p| p["complete"] == true));
    let rows: u64 = records.iter().map(|record| record.rows).sum();
    assert_eq!(trades().map(count).sum::<u64>(), rows);
}

/// One window over everything: strictly ordered, and each row of the records once.
pub(crate) fn assert_stored_once(query: &str, records: &[Record]) {
    let window = format!("{query}/v1/streams/trades/window?columns=hlc,writer,seq&wait=60s");
    let (status, body) = get(&window).unwrap();
    assert_eq!(status, 200, "{body}");
    let rows: Vec<Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    crate::support::assert_ordered(&rows);
    let mut found: Vec<u64> = rows
        .iter()
        .map(|row| row["seq"].as_u64().unwrap())
        .collect();
    found.sort_unstable();
    let ranges = records
        .iter()
        .map(|record| record.first..record.first + record.rows);
    let expected: Vec<u64> = ranges.flatten().collect();
    let lost = expected
        .iter()
        .filter(|seq| found.binary_search(seq).is_err())
        .count();
    let doubled = found.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!((lost, doubled), (0, 0), "rows lost, rows doubled");
    assert_eq!(found, expected, "rows that no client had an answer for");
}
