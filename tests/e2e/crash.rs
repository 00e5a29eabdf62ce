use std::process::Stdio;
use std::time::Duration;

use crate::support::{
    Service, assert_each_once, assert_ordered, binary, counted, eventually, get, rows, succeeds,
    trades_csv,
};

#[test]
fn kill_in_the_middle_of_a_load_loses_and_doubles_nothing() {
    const ROWS: u64 = 60_000;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("t.csv");
    std::fs::write(&file, trades_csv(ROWS)).unwrap();
    let (data, file) = (data.to_str().unwrap(), file.to_str().unwrap());
    for cycle in 0..3 {
        let service = Service::ready(&["standalone", "--data", data]);
        let mut load = binary()
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
        let progress = 5_000 + 15_000 * cycle;
        eventually("far enough", Duration::from_secs(30), || {
            counted(&service.url, "trades", "accepted_rows") > progress
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
    assert_each_once(&rows(&service.url, "trades", 60_000), ROWS);
    assert!(service.terminate().success());
    assert!(succeeds(&["verify", "--data", data]).contains("clean"));
}

#[test]
fn a_stopped_service_leaves_and_a_restart_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("t.csv");
    std::fs::write(&file, trades_csv(100)).unwrap();
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
