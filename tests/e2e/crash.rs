use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{BINARY, Service, assert_ordered, eventually, get, rows, succeeds};

/// A CSV of trades whose `seq` numbers the rows.
fn trades(rows: usize) -> String {
    let mut csv = String::from("venue,symbol,ts_event,price,size,seq\n");
    for i in 0..rows {
        csv += &format!(
            "XT,S{},{},{}.25,1,{i}\n",
            i % 7,
            1_700_000_000_000_000_000_i64 + i as i64,
            i % 100
        );
    }
    csv
}

#[test]
fn kill_in_the_middle_of_a_load_loses_and_doubles_nothing() {
    const ROWS: usize = 60_000;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("t.csv");
    std::fs::write(&file, trades(ROWS)).unwrap();
    let (data, file) = (data.to_str().unwrap(), file.to_str().unwrap());
    for cycle in 0..3 {
        let service = Service::ready(&["standalone", "--data", data]);
        let mut load = Command::new(BINARY)
            .args([
                "load",
                file,
                "--stream",
                "trades",
                "--url",
                &service.url,
                "--batch-rows",
                "500",
                "--retry-for",
                "1s",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let partitions = format!("{}/v1/streams/trades/partitions", service.url);
        let progress = 5_000 + 15_000 * cycle;
        eventually("far enough", Duration::from_secs(30), || {
            let (_, body) = get(&partitions).unwrap();
            let told: serde_json::Value = serde_json::from_str(&body).unwrap();
            told["partitions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["accepted_rows"].as_u64().unwrap())
                .sum::<u64>()
                > progress
        });
        service.kill();
        load.wait().unwrap();
    }
    let service = Service::ready(&["standalone", "--data", data]);
    succeeds(&[
        "load",
        file,
        "--stream",
        "trades",
        "--url",
        &service.url,
        "--batch-rows",
        "500",
    ]);
    let all = rows(&service.url, "trades", ROWS);
    assert_ordered(&all);
    let mut seqs: Vec<u64> = all.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
    seqs.sort_unstable();
    assert!(seqs.into_iter().eq(0..ROWS as u64), "each row once");
    assert!(service.terminate().success());
    assert!(succeeds(&["verify", "--data", data]).contains("clean"));
}

#[test]
fn a_stopped_service_leaves_and_a_restart_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("t.csv");
    std::fs::write(&file, trades(100)).unwrap();
    let (data, file) = (data.to_str().unwrap(), file.to_str().unwrap());
    for run in 1..=3 {
        let service = Service::ready(&["standalone", "--data", data]);
        succeeds(&[
            "load",
            file,
            "--stream",
            "trades",
            "--url",
            &service.url,
            "--source",
            &format!("run-{run}"),
        ]);
        assert_ordered(&rows(&service.url, "trades", 100 * run));
        assert!(service.terminate().success());
    }
    let service = Service::ready(&["standalone", "--data", data]);
    let (_, body) = get(&format!("{}/v1/writers", service.url)).unwrap();
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    let states: Vec<_> = told["writers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["left", "left", "left", "joined"]);
}
