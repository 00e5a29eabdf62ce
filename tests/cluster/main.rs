//! Gateway, shard worker and query node as processes of their own, on a real Kafka and a real S3
//! store: those that TOURBILLON_KAFKA and TOURBILLON_STORE name (tests/cluster/servers.py starts
//! some), else skipped.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::zombie_processes,
    reason = "tests of real processes wait in real time, tell what they see and reap on drop"
)]

#[path = "../support/mod.rs"]
mod support;

mod identity;

use std::time::{Duration, Instant, SystemTime};

use tourbillon_core::time::format_time_ns;

use support::{
    Service, assert_each_once, assert_ordered, counted, eventually, loading, rows, setting, shared,
    signal, succeeds, tourbillon, trades_csv,
};

/// Three roles on topics and a prefix of their own.
struct Cluster {
    gateway: Service,
    worker: Service,
    query: Service,
    args: Vec<String>,
}

/// The servers' addresses, or why the test is skipped.
fn servers() -> Option<(String, String)> {
    let found = std::env::var("TOURBILLON_KAFKA")
        .ok()
        .zip(std::env::var("TOURBILLON_STORE").ok());
    if found.is_none() {
        eprintln!("skipped: TOURBILLON_KAFKA and TOURBILLON_STORE are not set");
    }
    found
}

impl Cluster {
    fn start() -> Option<Self> {
        let (kafka, store) = servers()?;
        let unique = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let args = [
            "--kafka".into(),
            kafka,
            "--store".into(),
            format!("{store}/{unique}"),
            "--topic-prefix".into(),
            format!("test{unique}"),
        ];
        let start = |role: &[&str]| {
            let mut all = role.to_vec();
            all.extend(args.iter().map(String::as_str));
            Service::ready(&all)
        };
        Some(Self {
            gateway: start(&["ingest", "--gateway-name", "gw"]),
            worker: start(&["shard-worker"]),
            query: start(&["query"]),
            args: args.to_vec(),
        })
    }

    /// Stops everything in order and verifies what is stored.
    fn finish(self) {
        assert!(self.gateway.terminate().success());
        assert!(self.worker.terminate().success());
        assert!(self.query.terminate().success());
        let mut verify = vec!["verify"];
        verify.extend(self.args.iter().map(String::as_str));
        let told = succeeds(&verify);
        assert!(told.contains("clean"), "{told}");
    }
}

#[test]
fn real_ticks_go_through_three_processes() {
    let Some(file) = shared("binance_trades.csv.gz") else {
        return;
    };
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let load = [
        "load",
        file.to_str().unwrap(),
        "--stream",
        "trades",
        "--url",
        &cluster.gateway.url,
        "--map",
        "ts_event=event_ms:ms,ts_recv=recv_ts_ns:ns",
    ];
    succeeds(&load);
    assert_ordered(&rows(&cluster.query.url, "trades", 78_638));
    succeeds(&load);
    eventually("repeat recognised", Duration::from_secs(20), || {
        counted(&cluster.query.url, "trades", "duplicate_rows") == 78_638
    });
    rows(&cluster.query.url, "trades", 78_638);
    eventually("all sealed", Duration::from_secs(60), || {
        counted(&cluster.query.url, "trades", "sealed_rows") == 78_638
    });
    cluster.finish();
}

#[test]
fn a_gateway_killed_in_the_middle_of_a_load_loses_and_doubles_nothing() {
    const ROWS: u64 = 40_000;
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv");
    std::fs::write(&file, trades_csv(ROWS)).unwrap();
    let load = |url: &str| {
        let file = file.to_str().unwrap().to_owned();
        let given = [
            "load",
            &file,
            "--stream",
            "trades",
            "--url",
            url,
            "--batch-rows",
            "500",
            "--retry-for",
            "1s",
        ];
        given.map(str::to_owned)
    };
    let loading = {
        let args = load(&cluster.gateway.url);
        std::thread::spawn(move || tourbillon(&args.each_ref().map(String::as_str)))
    };
    let Cluster {
        gateway,
        worker,
        query,
        args,
    } = cluster;
    eventually("far enough", Duration::from_secs(30), || {
        counted(&query.url, "trades", "accepted_rows") > 5_000
    });
    gateway.kill();
    loading.join().unwrap();
    let mut again = vec!["ingest", "--gateway-name", "gw"];
    again.extend(args.iter().map(String::as_str));
    let gateway = Service::ready(&again);
    succeeds(&load(&gateway.url).each_ref().map(String::as_str));
    assert_each_once(&rows(&query.url, "trades", 40_000), ROWS);
    Cluster {
        gateway,
        worker,
        query,
        args,
    }
    .finish();
}

#[test]
fn a_dead_gateway_delays_the_watermark_by_seconds_and_no_more() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv");
    std::fs::write(&file, trades_csv(1000)).unwrap();
    let file = file.to_str().unwrap();
    let load = |url: &str| {
        succeeds(&[
            "load", file, "--stream", "trades", "--url", url, "--source", url,
        ]);
    };
    let mut other = vec!["ingest", "--gateway-name", "other"];
    other.extend(cluster.args.iter().map(String::as_str));
    let other = Service::ready(&other);
    load(&cluster.gateway.url);
    rows(&cluster.query.url, "trades", 1000);
    let Cluster {
        gateway,
        worker,
        query,
        args,
    } = cluster;
    gateway.kill();
    // rows of the living gateway become final although the dead one never said goodbye
    load(&other.url);
    assert_ordered(&rows(&query.url, "trades", 2000));
    let (_, body) = support::get(&format!("{}/v1/writers", query.url)).unwrap();
    assert!(body.contains("\"fenced\""), "{body}");
    Cluster {
        gateway: other,
        worker,
        query,
        args,
    }
    .finish();
}

/// TOURBILLON_FREEZE_S=30 makes it as long as the acceptance asks.
#[test]
fn a_frozen_gateway_wakes_as_a_zombie_and_does_no_harm() {
    const ROWS: u64 = 20_000;
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv");
    std::fs::write(&file, trades_csv(ROWS)).unwrap();
    let mut other = vec!["ingest", "--gateway-name", "other"];
    other.extend(cluster.args.iter().map(String::as_str));
    let other = Service::ready(&other);
    let client = loading(&[
        "load",
        file.to_str().unwrap(),
        "--stream",
        "trades",
        "--url",
        &cluster.gateway.url,
        "--batch-rows",
        "20",
        "--retry-for",
        "120s",
    ]);
    let query = &cluster.query.url;
    eventually("under load", Duration::from_secs(30), || {
        counted(query, "trades", "accepted_rows") > 2_000
    });
    signal(cluster.gateway.pid(), "STOP");
    let frozen = Instant::now();
    let at = format_time_ns(wall_ns());
    eventually(
        "complete beyond the freeze",
        Duration::from_secs(11),
        || {
            let (_, body) = support::get(&format!("{query}/v1/streams/trades/partitions")).unwrap();
            let told: serde_json::Value = serde_json::from_str(&body).unwrap();
            told["complete_through"]
                .as_str()
                .is_some_and(|through| through > at.as_str())
        },
    );
    let stood = frozen.elapsed();
    eprintln!("the watermark moved on {stood:?} after the freeze");
    assert!(stood < Duration::from_secs(10), "{stood:?}");
    let freeze = Duration::from_secs(setting("TOURBILLON_FREEZE_S", 12));
    std::thread::sleep(freeze.saturating_sub(frozen.elapsed()));
    signal(cluster.gateway.pid(), "CONT");
    assert!(
        client.join().unwrap(),
        "the client got every acknowledgement"
    );
    assert_each_once(&rows(query, "trades", 20_000), ROWS);
    assert!(other.terminate().success());
    cluster.finish();
}

fn wall_ns() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    i64::try_from(now).unwrap()
}
