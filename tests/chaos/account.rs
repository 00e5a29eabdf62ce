//! What the clients know of their rows against what is stored.

use std::time::{Duration, SystemTime};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampNanosecondType, UInt32Type};
use arrow::ipc::reader::StreamReader;

use crate::deployment::Deployment;
use crate::feed::{Ack, CLIENTS, SPAN};
use crate::support::{counted, eventually, runtime};
use crate::watch::through;

const PATIENCE: Duration = Duration::from_secs(120);

/// Fails unless each acknowledged row is stored once and nothing else, in strict order, every query
/// node gives the same bytes, all is sealed, and `verify` makes the same again. What was found.
pub(crate) fn settled(deployment: Deployment, acks: &[Ack]) -> String {
    deployment.until_ready();
    deployment.servers.until_whole();
    let rows = acks.iter().map(|ack| ack.rows).sum::<u64>();
    let queries = deployment.queries();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let now = wall_ns();
    for query in &queries {
        eventually("complete", PATIENCE, || {
            runtime().block_on(through(&http, query)) > Some(now)
        });
    }
    let (token, first) = window(&queries[0], None);
    assert_stored_once(&first, acks);
    for query in &queries[1..] {
        assert!(
            window(query, Some(&token)).1 == first,
            "{query} answers otherwise"
        );
    }
    eventually("all sealed", PATIENCE, || {
        counted(&queries[0], "trades", "sealed_rows") == rows
    });
    let repeats = counted(&queries[0], "trades", "duplicate_rows");
    let refused = counted(&queries[0], "trades", "rejected_rows");
    let verified = deployment.finish();
    let count = |field: &str| {
        let counts = verified.iter().map(|p| p[field].as_u64().unwrap());
        counts.sum::<u64>()
    };
    assert_eq!(count("sealed_rows") + count("open_rows"), rows);
    format!("{rows} rows acknowledged and each stored once, {repeats} repeated, {refused} refused")
}

/// Everything that is complete: the token, and the answer.
fn window(query: &str, token: Option<&str>) -> (String, Vec<u8>) {
    let snapshot = token
        .map(|token| format!("&snapshot={token}"))
        .unwrap_or_default();
    arrow(query, &format!("columns=hlc,writer,seq&wait=60s{snapshot}"))
}

/// A window of `trades` as the bytes of an Arrow stream: the token, and the answer.
pub(crate) fn arrow(query: &str, how: &str) -> (String, Vec<u8>) {
    let url = format!("{query}/v1/streams/trades/window?{how}");
    runtime().block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http
            .get(url)
            .header("accept", "application/vnd.apache.arrow.stream");
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.unwrap().to_vec();
        assert_eq!(status, 200, "{how}: {}", String::from_utf8_lossy(&body));
        let token = headers["tourbillon-snapshot"].to_str().unwrap();
        (token.to_owned(), body)
    })
}

/// Strictly ordered, and each row of the clients once.
fn assert_stored_once(answer: &[u8], acks: &[Ack]) {
    let mut found = Vec::new();
    let mut last = None;
    for batch in StreamReader::try_new(answer, None).unwrap() {
        let batch = batch.unwrap();
        let hlc = batch.column(0).as_primitive::<TimestampNanosecondType>();
        let writer = batch.column(1).as_primitive::<UInt32Type>();
        let seq = batch.column(2).as_primitive::<Int64Type>();
        assert_eq!(seq.null_count(), 0);
        for row in 0..batch.num_rows() {
            let key = Some((hlc.value(row), writer.value(row)));
            assert!(key > last, "{key:?} after {last:?}");
            last = key;
            found.push(u64::try_from(seq.value(row)).unwrap());
        }
    }
    found.sort_unstable();
    let of_client = |number| {
        let acks = acks.iter().filter(move |ack| ack.client == number);
        number * SPAN..number * SPAN + acks.map(|ack| ack.rows).sum::<u64>()
    };
    let expected: Vec<u64> = (0..CLIENTS).flat_map(of_client).collect();
    let lost = expected
        .iter()
        .filter(|seq| found.binary_search(seq).is_err())
        .count();
    let doubled = found.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!((lost, doubled), (0, 0), "rows lost, rows doubled");
    assert_eq!(
        found.len(),
        expected.len(),
        "rows that no client had an answer for"
    );
}

pub(crate) fn wall_ns() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    i64::try_from(now).unwrap()
}
