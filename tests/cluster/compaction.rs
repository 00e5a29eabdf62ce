//! Compaction and retention on a real S3 store, whose listings page and begin behind a key.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Cluster;
use crate::support::{counted, eventually, get, post, put, succeeds};

/// Writes for about so long; the number of rows.
fn write(url: &str, time: Duration) -> u64 {
    let (events, begun, mut n) = (
        format!("{url}/v1/streams/secs/events"),
        Instant::now(),
        0u64,
    );
    while begun.elapsed() < time {
        let row = |n: u64| format!("{{\"symbol\":\"s{}\",\"n\":{n}}}\n", n % 7);
        let body: String = (n..n + 50).map(row).collect();
        let headers = [("content-type", "application/x-ndjson")];
        assert_eq!(post(&events, &headers, body.into_bytes()).0, 200);
        n += 50;
        std::thread::sleep(Duration::from_millis(20));
    }
    n
}

fn listed(query: &str) -> usize {
    let (status, body) = get(&format!("{query}/v1/streams/secs/files")).unwrap();
    assert_eq!(status, 200, "{body}");
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    told["files"].as_array().unwrap().len()
}

#[test]
fn segments_on_s3_become_files_and_old_ones_go() {
    let Some(cluster) = Cluster::with_grace("3s") else {
        return;
    };
    let stream = json!({
        "columns": [{"name": "symbol", "type": "string"}, {"name": "n", "type": "int64"}],
        "key": ["symbol"], "partitions": 2, "window": "100ms", "compaction": "1s",
    });
    let url = format!("{}/v1/streams/secs", cluster.gateway.url);
    assert_eq!(put(&url, &stream).0, 200);
    let rows = write(&cluster.gateway.url, Duration::from_secs(6));
    eventually("all sealed", Duration::from_secs(30), || {
        counted(&cluster.query.url, "secs", "sealed_rows") == rows
    });
    let window = || {
        succeeds(&[
            "window",
            "secs",
            "--url",
            &cluster.query.url,
            "--format",
            "csv",
        ])
    };
    let before = window();
    assert_eq!(before.lines().count() as u64, rows + 1);
    // at most eight spans in each of two partitions, of sixty windows that were a segment each
    eventually("few files are left", Duration::from_secs(60), || {
        listed(&cluster.query.url) <= 16
    });
    assert!(window() == before, "the same rows from other files");
    // past the grace the segments are gone, and no answer needs them
    std::thread::sleep(Duration::from_secs(5));
    assert!(window() == before, "the same rows from other files");
    let shorter = json!({ "retention": "2s" });
    assert_eq!(put(&url, &shorter).0, 200);
    eventually("old rows have gone", Duration::from_secs(60), || {
        (window().lines().count() as u64) < rows / 4
    });
    let partitions = cluster.finish();
    let sum = |field: &str| -> u64 {
        let of_stream = partitions.iter().filter(|p| p["stream"] == "secs");
        of_stream.map(|p| p[field].as_u64().unwrap()).sum()
    };
    assert!(sum("compactions") > 0);
    assert!(sum("gone_rows") > 0 && sum("gone_rows") + sum("sealed_rows") >= rows);
}
