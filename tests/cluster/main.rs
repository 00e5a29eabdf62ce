//! Gateway, shard worker and query node as processes of their own, on a real Kafka and a real S3
//! store: those that TOURBILLON_KAFKA and TOURBILLON_STORE name (tests/cluster/servers.py starts
//! some), else skipped.

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, SystemTime};

use support::{Service, assert_ordered, eventually, get, rows, shared, succeeds};

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

    fn counted(&self, stream: &str, field: &str) -> u64 {
        let (_, body) = get(&format!(
            "{}/v1/streams/{stream}/partitions",
            self.query.url
        ))
        .unwrap();
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        let of = |partition: &serde_json::Value| partition[field].as_u64().unwrap();
        told["partitions"].as_array().unwrap().iter().map(of).sum()
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
        cluster.counted("trades", "duplicate_rows") == 78_638
    });
    rows(&cluster.query.url, "trades", 78_638);
    eventually("all sealed", Duration::from_secs(60), || {
        cluster.counted("trades", "sealed_rows") == 78_638
    });
    cluster.finish();
}

#[test]
fn a_gateway_killed_in_the_middle_of_a_load_loses_and_doubles_nothing() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv");
    let mut csv = String::from("venue,symbol,ts_event,price,size,seq\n");
    for i in 0..40_000 {
        csv += &format!(
            "XT,S{},{},{}.25,1,{i}\n",
            i % 7,
            1_700_000_000_000_000_000_i64 + i,
            i % 100
        );
    }
    std::fs::write(&file, csv).unwrap();
    let Cluster {
        gateway,
        worker,
        query,
        args,
    } = cluster;
    let url = gateway.url.clone();
    let file = file.to_str().unwrap().to_owned();
    let loading = {
        let file = file.clone();
        std::thread::spawn(move || {
            support::tourbillon(&[
                "load",
                &file,
                "--stream",
                "trades",
                "--url",
                &url,
                "--batch-rows",
                "500",
                "--retry-for",
                "1s",
            ])
        })
    };
    let partitions = format!("{}/v1/streams/trades/partitions", query.url);
    eventually("far enough", Duration::from_secs(30), || {
        let (_, body) = get(&partitions).unwrap();
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        told["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["accepted_rows"].as_u64().unwrap())
            .sum::<u64>()
            > 5_000
    });
    gateway.kill();
    loading.join().unwrap();
    let mut again = vec!["ingest", "--gateway-name", "gw"];
    again.extend(args.iter().map(String::as_str));
    let gateway = Service::ready(&again);
    succeeds(&[
        "load",
        &file,
        "--stream",
        "trades",
        "--url",
        &gateway.url,
        "--batch-rows",
        "500",
    ]);
    let all = rows(&query.url, "trades", 40_000);
    assert_ordered(&all);
    let mut seqs: Vec<u64> = all.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
    seqs.sort_unstable();
    assert!(seqs.into_iter().eq(0..40_000), "each row once");
    Cluster {
        gateway,
        worker,
        query,
        args,
    }
    .finish();
}
