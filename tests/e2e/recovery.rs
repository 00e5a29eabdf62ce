//! Backup and restore, and a move to another store, as docs/OPERATIONS.md says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Service, assert_each_once, counted, eventually, get, post, put, rows, succeeds, text,
    tourbillon,
};
use crate::verify::segments;

const ROWS: u64 = 900;

/// A folder of a test, with the data folders in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn text(&self, below: &str) -> String {
        self.at(below).to_str().unwrap().to_owned()
    }

    fn serve(&self, data: &str) -> Service {
        Service::ready(&["standalone", "--data", &self.text(data)])
    }

    fn serve_on(&self, data: &str, store: &str) -> Service {
        let (data, store) = (self.text(data), self.url(store));
        // so that a store that is made again keeps what the lost one may still have had
        let rest = ["--store", &store, "--grace", "10000h"];
        Service::ready(&[&["standalone", "--data", &data][..], &rest].concat())
    }

    fn url(&self, store: &str) -> String {
        format!("file://{}", self.text(store))
    }

    /// `cp -a`.
    fn copy(&self, from: &str, to: &str) {
        let paths = [self.at(from), self.at(to)];
        let copied = Command::new("cp").arg("-a").args(paths).status();
        assert!(copied.unwrap().success());
    }

    fn verified(&self, data: &str) {
        succeeds(&["verify", "--data", &self.text(data)]);
    }

    /// A service that has taken [`ROWS`], and stopped.
    fn recorded(&self, data: &str) {
        let service = self.serve(data);
        make(&service);
        write(&service, 0, ROWS);
        assert!(service.terminate().success());
    }
}

fn make(service: &Service) {
    let stream = json!({
        "columns": [{"name": "k", "type": "string"}, {"name": "seq", "type": "int64"}],
        "key": ["k"], "partitions": 2, "window": "100ms",
    });
    let url = format!("{}/v1/streams/ticks", service.url);
    assert_eq!(put(&url, &stream).0, 200);
}

/// Rows numbered from `from` to `to`, in three windows; waits until they are sealed.
fn write(service: &Service, from: u64, to: u64) {
    let third = (to - from) / 3;
    for begin in (from..to).step_by(usize::try_from(third).unwrap()) {
        let row = |seq: u64| format!("{{\"k\":\"s{}\",\"seq\":{seq}}}\n", seq % 11);
        let body: String = (begin..begin + third).map(row).collect();
        let url = format!("{}/v1/streams/ticks/events", service.url);
        let kind = [("content-type", "application/x-ndjson")];
        let (status, told) = post(&url, &kind, body.into_bytes());
        assert_eq!(status, 200, "{told}");
        sealed(service, begin + third);
    }
}

fn sealed(service: &Service, rows: u64) {
    eventually("all sealed", Duration::from_secs(20), || {
        counted(&service.url, "ticks", "sealed_rows") == rows
    });
}

/// Fails unless the service gives each row below `expected` once, in order.
fn gives(service: &Service, expected: u64) -> Vec<Value> {
    let found = rows(&service.url, "ticks", usize::try_from(expected).unwrap());
    assert_each_once(&found, expected);
    found
}

/// Segments of a store, as paths below it with their bytes.
fn contents(store: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let found = segments(store).into_iter();
    let below = |path: &Path| path.strip_prefix(store).unwrap().to_owned();
    found
        .map(|path| (below(&path), fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn a_copy_of_a_stopped_service_goes_on_where_it_was() {
    let place = Place::new();
    place.recorded("data");
    place.copy("data", "backup");
    let service = place.serve("data");
    write(&service, ROWS, 2 * ROWS);
    drop(service);
    fs::remove_dir_all(place.at("data")).unwrap();

    place.copy("backup", "data");
    place.verified("data");
    let service = place.serve("data");
    gives(&service, ROWS);
    // rows after the backup come again from whoever has them
    write(&service, ROWS, 2 * ROWS);
    gives(&service, 2 * ROWS);
    assert!(service.terminate().success());
    place.verified("data");
}

#[test]
fn a_lost_store_is_made_again_from_the_log_byte_for_byte() {
    let place = Place::new();
    place.recorded("data");
    fs::rename(place.at("data/lake"), place.at("lost")).unwrap();
    let service = place.serve("data");
    sealed(&service, ROWS);
    gives(&service, ROWS);
    assert!(service.terminate().success());
    place.verified("data");
    let lost = contents(&place.at("lost/ticks"));
    assert!(lost.len() >= 6);
    assert_eq!(contents(&place.at("data/lake/ticks")), lost);
}

#[test]
fn lost_segments_are_put_back_from_a_store_that_is_made_again() {
    let place = Place::new();
    place.recorded("data");
    let all = contents(&place.at("data/lake/ticks"));
    for (path, _) in &all[1..3] {
        fs::remove_file(place.at("data/lake/ticks").join(path)).unwrap();
    }
    let verify = ["verify", "--data", &place.text("data")];
    assert_eq!(tourbillon(&verify).status.code(), Some(3));

    // on a copy of the log, so that nothing is written to the one that counts
    fs::create_dir(place.at("copy")).unwrap();
    place.copy("data/log", "copy/log");
    let service = place.serve_on("copy", "again");
    sealed(&service, ROWS);
    assert!(service.terminate().success());
    for (path, _) in &all[1..3] {
        let (from, to) = (place.at("again/ticks"), place.at("data/lake/ticks"));
        fs::copy(from.join(path), to.join(path)).unwrap();
    }
    place.verified("data");
    assert_eq!(contents(&place.at("data/lake/ticks")), all);
}

#[test]
fn a_log_older_than_its_store_is_refused_until_the_store_is_as_old() {
    let place = Place::new();
    place.recorded("data");
    place.copy("data", "backup");
    let service = place.serve("data");
    write(&service, ROWS, 2 * ROWS);
    assert!(service.terminate().success());

    // the log of the backup with the store of today
    fs::remove_dir_all(place.at("data/log")).unwrap();
    place.copy("backup/log", "data/log");
    let verify = tourbillon(&["verify", "--data", &place.text("data")]);
    assert_eq!(verify.status.code(), Some(3));
    assert!(text(&verify.stdout).contains("the log was truncated"));
    let service = Service::start(&["standalone", "--data", &place.text("data")]);
    let ready = format!("{}/readyz", service.url);
    eventually(
        "it says why it takes nothing",
        Duration::from_secs(20),
        || {
            let (status, told) = get(&ready).unwrap();
            status == 503 && told.contains("restored from an older copy")
        },
    );
    assert!(service.terminate().success());

    // with the store of the backup too it goes on
    fs::remove_dir_all(place.at("data/lake")).unwrap();
    place.copy("backup/lake", "data/lake");
    let service = place.serve("data");
    write(&service, ROWS, 2 * ROWS);
    gives(&service, 2 * ROWS);
    assert!(service.terminate().success());
    place.verified("data");
}

#[test]
fn a_store_that_was_copied_serves_the_same_answers_elsewhere() {
    let place = Place::new();
    place.recorded("data");
    let service = place.serve("data");
    let before = gives(&service, ROWS);
    assert!(service.terminate().success());

    place.copy("data/lake", "moved");
    fs::remove_dir_all(place.at("data/lake")).unwrap();
    let service = place.serve_on("data", "moved");
    assert_eq!(gives(&service, ROWS), before);
    write(&service, ROWS, 2 * ROWS);
    assert_eq!(gives(&service, 2 * ROWS)[..before.len()], before);
    assert!(service.terminate().success());
    let store = place.url("moved");
    succeeds(&["verify", "--data", &place.text("data"), "--store", &store]);
    assert!(
        !place.at("data/lake").exists(),
        "nothing went to the old one"
    );
}

#[test]
fn a_stream_is_copied_into_another_service_from_a_copy_of_its_data() {
    let place = Place::new();
    place.recorded("data");
    place.copy("data", "backup");
    let other = place.serve("other");
    make(&other);
    let replay = [
        "replay",
        "--data",
        &place.text("backup"),
        "--stream",
        "ticks",
    ];
    let to = ["--to-stream", "ticks", "--url", &other.url];
    succeeds(&[&replay[..], &to].concat());
    sealed(&other, ROWS);
    gives(&other, ROWS);
    assert!(other.terminate().success());
    place.verified("other");
}
