use std::time::{Duration, Instant};

use crate::support::{
    Service, assert_each_once, get, rows, succeeds, text, tourbillon, trades_csv,
};

const ROWS: u64 = 5000;

/// A stopped service's data with `ROWS` trades, and the window over them as it was.
fn recorded() -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").to_str().unwrap().to_owned();
    let service = Service::ready(&["standalone", "--data", &data]);
    let file = folder.path().join("t.csv");
    std::fs::write(&file, trades_csv(ROWS)).unwrap();
    let file = file.to_str().unwrap();
    succeeds(&[
        "load",
        file,
        "--stream",
        "trades",
        "--url",
        &service.url,
        "--batch-rows",
        "400",
    ]);
    rows(&service.url, "trades", 5000);
    let (_, window) = get(&format!("{}/v1/streams/trades/window", service.url)).unwrap();
    assert!(service.terminate().success());
    (folder, data, window)
}

#[test]
fn a_replay_gives_what_the_window_gave() {
    let (_folder, data, window) = recorded();
    let replay = |more: &[&str]| {
        succeeds(&[&["replay", "--data", &data, "--stream", "trades"][..], more].concat())
    };
    assert_eq!(replay(&[]), window);
    let lines: Vec<&str> = window.lines().collect();
    let hlc = |line: &str| -> String {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["hlc"].as_str().unwrap().to_owned()
    };
    let range = replay(&["--from", &hlc(lines[100]), "--to", &hlc(lines[200])]);
    assert_eq!(range.lines().collect::<Vec<_>>(), lines[100..200]);
    let whole: usize = (0..4)
        .map(|p: usize| replay(&["--partition", &p.to_string()]).lines().count())
        .sum();
    assert_eq!(whole, lines.len());
    let part = replay(&["--partition", "0", "--from", "offset:4"]);
    let first: serde_json::Value = serde_json::from_str(part.lines().next().unwrap()).unwrap();
    assert!(first["log_offset"].as_u64().unwrap() >= 4);
    let output = tourbillon(&[
        "replay", "--data", &data, "--stream", "trades", "--from", "offset:4",
    ]);
    assert!(text(&output.stderr).contains("--partition"));
}

#[test]
fn a_replay_into_another_service_is_paced() {
    let (_folder, data, window) = recorded();
    let first: serde_json::Value = serde_json::from_str(window.lines().next().unwrap()).unwrap();
    let last: serde_json::Value = serde_json::from_str(window.lines().last().unwrap()).unwrap();
    let time = |row: &serde_json::Value| {
        tourbillon_core::time::parse_time_ns(row["hlc"].as_str().unwrap()).unwrap()
    };
    let span = Duration::from_nanos(u64::try_from(time(&last) - time(&first)).unwrap());
    let other = tempfile::tempdir().unwrap();
    let service = Service::ready(&["standalone", "--data", other.path().to_str().unwrap()]);
    let begun = Instant::now();
    succeeds(&[
        "replay",
        "--data",
        &data,
        "--stream",
        "trades",
        "--speed",
        "0.5",
        "--to-stream",
        "trades",
        "--url",
        &service.url,
    ]);
    assert!(
        begun.elapsed() >= span * 2,
        "{:?} for {span:?}",
        begun.elapsed()
    );
    assert_each_once(&rows(&service.url, "trades", 5000), ROWS);
}
