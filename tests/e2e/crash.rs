use std::process::Stdio;
use std::time::Duration;

use crate::support::{
    Service, assert_each_once, assert_ordered, binary, counted, eventually, free_address, get,
    loading, rows, setting, succeeds, trades_csv,
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

/// TOURBILLON_CYCLES=100 makes it a long run.
#[test]
fn kills_at_any_moment_under_a_retrying_client_lose_and_double_nothing() {
    let cycles = setting("TOURBILLON_CYCLES", 5);
    let rows_sent = cycles * 4000;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("t.csv");
    std::fs::write(&file, trades_csv(rows_sent)).unwrap();
    let (data, file) = (data.to_str().unwrap(), file.to_str().unwrap());
    let address = free_address();
    let url = format!("http://{address}");
    let args = ["standalone", "--data", data];
    let mut service = Service::start_on(&args, &address);
    service.until_ready();
    let client = loading(&[
        "load",
        file,
        "--stream",
        "trades",
        "--url",
        &url,
        "--batch-rows",
        "20",
        "--retry-for",
        "120s",
    ]);
    for cycle in 0..cycles {
        // from at once to well into the load, in an order without a pattern
        std::thread::sleep(Duration::from_millis(cycle * 7919 % 600));
        service.kill();
        service = Service::start_on(&args, &address);
    }
    service.until_ready();
    assert!(
        client.join().unwrap(),
        "the client got every acknowledgement"
    );
    let count = usize::try_from(rows_sent).unwrap();
    assert_each_once(&rows(&service.url, "trades", count), rows_sent);
    assert!(service.terminate().success());
    assert!(succeeds(&["verify", "--data", data]).contains("clean"));
}
