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

mod accounts;
mod checks;
mod compaction;
mod elastic;
mod freeze;
mod identity;
mod kills;
mod record;
mod security;

use std::time::{Duration, SystemTime};

use serde_json::Value;

use support::{
    Service, assert_each_once, assert_ordered, counted, eventually, rows, shared, succeeds,
    tourbillon, trades_csv,
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
        Self::lingering(0)
    }

    /// Files that were replaced stay for `grace`.
    fn with_grace(grace: &str) -> Option<Self> {
        Self::with(0, &["--grace", grace])
    }

    /// The gateway's Kafka client holds each frame for `linger_ms`, so that at any moment some are
    /// on their way: what a crash or a freeze then does to them is no matter of luck.
    fn lingering(linger_ms: u64) -> Option<Self> {
        Self::with(linger_ms, &[])
    }

    fn with(linger_ms: u64, upkeep: &[&str]) -> Option<Self> {
        let args = Self::fresh()?;
        Some(Self::on(
            args,
            linger_ms,
            &[&["--worker-name", "w0"], upkeep].concat(),
        ))
    }

    /// Where a cluster of a test's own may be.
    fn fresh() -> Option<Vec<String>> {
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
        Some(args.to_vec())
    }

    fn on(args: Vec<String>, linger_ms: u64, worker: &[&str]) -> Self {
        let linger = format!("linger.ms={linger_ms}");
        let start = |role: &[&str]| Service::ready(&joined(role, &args));
        Self {
            gateway: start(&["ingest", "--gateway-name", "gw", "--kafka-option", &linger]),
            worker: start(&[&["shard-worker"], worker].concat()),
            query: start(&["query"]),
            args,
        }
    }

    /// Brokers, store and topic prefix.
    fn addresses(&self) -> [String; 3] {
        [1, 3, 5].map(|value| self.args[value].clone())
    }

    /// Another gateway.
    fn gateway(&self, name: &str) -> Service {
        let role = ["ingest", "--gateway-name", name];
        Service::ready(&joined(&role, &self.args))
    }

    /// Stops everything in order and verifies what is stored; what `verify` says of each partition.
    fn finish(self) -> Vec<Value> {
        assert!(self.gateway.terminate().success());
        assert!(self.worker.terminate().success());
        assert!(self.query.terminate().success());
        let mut verify = vec!["verify", "--json"];
        verify.extend(self.args.iter().map(String::as_str));
        let told: Value = serde_json::from_str(&succeeds(&verify)).unwrap();
        let partitions = told["partitions"].as_array().unwrap().clone();
        assert!(
            partitions
                .iter()
                .all(|p| p["differences"] == serde_json::json!([]))
        );
        assert!(!partitions.is_empty());
        partitions
    }
}

/// A command line.
fn joined<'a>(role: &[&'a str], args: &'a [String]) -> Vec<&'a str> {
    let args = args.iter().map(String::as_str);
    role.iter().copied().chain(args).collect()
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
    let other = cluster.gateway("other");
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

fn wall_ns() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    i64::try_from(now).unwrap()
}
