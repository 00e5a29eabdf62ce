//! Segments that become large files and rows that go, in a real process on a real disk, through
//! kills.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::support::{Service, counted, eventually, post, put, succeeds};

/// A stream whose seconds become files, with a retention.
fn make(url: &str, retention: &str) {
    let stream = json!({
        "columns": [{"name": "symbol", "type": "string"}, {"name": "n", "type": "int64"}],
        "key": ["symbol"], "partitions": 2, "window": "100ms",
        "compaction": "1s", "retention": retention,
    });
    let (status, told) = put(&format!("{url}/v1/streams/ticks"), &stream);
    assert_eq!(status, 200, "{told}");
    assert!(told.contains("\"compaction\":\"1s\""), "{told}");
}

fn serve(data: &Path) -> Service {
    let data = data.to_str().unwrap();
    Service::ready(&["standalone", "--data", data, "--grace", "2s"])
}

/// Writes for about so long, in requests of 40 rows; the number of rows.
fn write(url: &str, from: u64, time: Duration) -> u64 {
    let (events, begun) = (
        format!("{url}/v1/streams/ticks/events"),
        std::time::Instant::now(),
    );
    let mut n = from;
    while begun.elapsed() < time {
        let row = |n: u64| format!("{{\"symbol\":\"s{}\",\"n\":{n}}}\n", n % 7);
        let body: String = (n..n + 40).map(row).collect();
        let headers = [("content-type", "application/x-ndjson")];
        let (status, told) = post(&events, &headers, body.into_bytes());
        assert_eq!(status, 200, "{told}");
        n += 40;
        std::thread::sleep(Duration::from_millis(20));
    }
    n - from
}

fn files(data: &Path, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![data.join("lake/ticks").join(folder)];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

fn window(url: &str) -> String {
    succeeds(&["window", "ticks", "--url", url, "--format", "csv"])
}

fn verified(data: &Path) -> String {
    succeeds(&["verify", "--data", data.to_str().unwrap()])
}

#[test]
fn seconds_become_files_and_every_answer_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let service = serve(&data);
    make(&service.url, "off");
    let mut rows = write(&service.url, 0, Duration::from_secs(3));
    let before = window(&service.url);
    service.kill();
    for _ in 0..3 {
        // kill -9 in the middle of whatever it does
        let service = serve(&data);
        rows += write(&service.url, rows, Duration::from_millis(1500));
        service.kill();
    }
    let service = serve(&data);
    eventually(
        "the first seconds are one file each",
        Duration::from_secs(30),
        || {
            let small = files(&data, "data").len();
            files(&data, "compaction").len() >= 6 && small < 120
        },
    );
    let listed = succeeds(&["files", "ticks", "--url", &service.url]);
    let exists = |path: &str| Path::new(path).exists();
    assert!(
        listed.lines().count() > 5 && listed.lines().all(exists),
        "{listed}"
    );
    let after = window(&service.url);
    assert!(after.starts_with(&before), "what was complete stays");
    assert_eq!(after.lines().count() as u64, rows + 1);
    assert!(service.terminate().success());
    let told = verified(&data);
    assert!(told.contains("compactions with"), "{told}");
}

#[test]
fn rows_past_retention_go_from_disk_and_the_rest_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let service = serve(&data);
    make(&service.url, "2s");
    let rows = write(&service.url, 0, Duration::from_secs(4));
    // the newest span that was compacted stays: a second of the four
    eventually("most rows have gone", Duration::from_secs(40), || {
        (window(&service.url).lines().count() as u64) < rows / 2
    });
    eventually("and their commits", Duration::from_secs(30), || {
        !data
            .join("lake/ticks/commit/p0/00000000000000000000")
            .exists()
    });
    assert_eq!(counted(&service.url, "ticks", "accepted_rows"), rows);
    assert!(service.terminate().success());
    let told = verified(&data);
    assert!(told.contains("let go by retention"), "{told}");
    // it goes on where it was
    let service = serve(&data);
    let more = write(&service.url, rows, Duration::from_millis(300));
    eventually("new rows are accepted", Duration::from_secs(10), || {
        counted(&service.url, "ticks", "accepted_rows") == rows + more
    });
}
