//! Brokers and store as `tests/cluster/servers.py` started them, and what can be done to them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::RngCore;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::Metadata;

use crate::detour::Detour;
use crate::support::{eventually, runtime};

/// How long a server may take to be there again.
const PATIENCE: Duration = Duration::from_secs(90);

const ANSWER: Duration = Duration::from_secs(3);

pub(crate) struct Servers {
    run: String,
    pub(crate) kafka: String,
    pub(crate) store: String,
    endpoint: String,
    /// Where brokers believe to be, and where they are.
    detours: Vec<(String, String)>,
    disk: Option<PathBuf>,
}

impl Servers {
    /// Three brokers and a store, or why the test is skipped.
    pub(crate) fn found() -> Option<Self> {
        let named = |name: &str| std::env::var(name).ok();
        let found = Self {
            run: named("TOURBILLON_TEST_SERVERS").unwrap_or_default(),
            kafka: named("TOURBILLON_KAFKA").unwrap_or_default(),
            store: named("TOURBILLON_STORE").unwrap_or_default(),
            endpoint: named("AWS_ENDPOINT").unwrap_or_default(),
            detours: pairs(&named("TOURBILLON_TEST_DETOURS").unwrap_or_default()),
            disk: named("TOURBILLON_TEST_STORE_DISK").map(PathBuf::from),
        };
        let enough = !found.run.is_empty() && found.detours.len() == 3;
        if !enough {
            eprintln!("skipped: no three brokers of tests/cluster/servers.py (start --brokers 3)");
        }
        enough.then_some(found)
    }

    /// Makes sure that an earlier test has left everything as it was.
    pub(crate) fn all_up(&self) {
        let alive = self.run("status", &[]);
        for line in alive.lines().filter(|line| line.ends_with("dead")) {
            self.again(line.split_whitespace().next().unwrap());
        }
        self.until_whole();
    }

    /// A way to each broker that tests can close.
    pub(crate) fn ways(&self) -> Vec<Detour> {
        let ways = self.detours.iter();
        ways.map(|(listen, target)| Detour::from(listen, target))
            .collect()
    }

    /// SIGTERM, and started again once it has ended.
    pub(crate) fn restart(&self, name: &str) {
        self.run("restart", &[name]);
    }

    /// kill -9.
    pub(crate) fn kill(&self, name: &str) {
        self.run("kill", &[name]);
    }

    pub(crate) fn freeze(&self, name: &str) {
        self.run("freeze", &[name]);
    }

    pub(crate) fn thaw(&self, name: &str) {
        self.run("thaw", &[name]);
    }

    /// Starts a server that was killed.
    pub(crate) fn again(&self, name: &str) {
        self.run("again", &[name]);
    }

    /// Waits until every partition of every topic has all its replicas in step, and the store answers.
    pub(crate) fn until_whole(&self) {
        eventually("every replica in step", PATIENCE, || self.is_whole());
        eventually("the store answers", PATIENCE, || {
            crate::support::get(&self.endpoint).is_ok_and(|(status, _)| status < 500)
        });
    }

    /// The broker that leads a partition.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> String {
        let known = self.metadata().expect("the brokers answer");
        let topic = known.topics().iter().find(|t| t.name() == topic).unwrap();
        let partition = topic.partitions().iter().find(|p| p.id() == partition);
        format!("kafka-{}", partition.unwrap().leader())
    }

    fn is_whole(&self) -> bool {
        self.metadata().is_some_and(|known| {
            let mut partitions = known.topics().iter().flat_map(|topic| topic.partitions());
            known.brokers().len() == 3
                && partitions.all(|p| p.leader() >= 0 && p.isr().len() == p.replicas().len())
        })
    }

    fn metadata(&self) -> Option<Metadata> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka)
            .set("log_level", "0")
            .create()
            .unwrap();
        client.fetch_metadata(None, ANSWER).ok()
    }

    /// The store's disk, if it is one of its own, or why the test is skipped.
    pub(crate) fn disk(self) -> Option<PathBuf> {
        if self.disk.is_none() {
            eprintln!("skipped: the store has no disk of its own (start --store-disk-mib 2048)");
        }
        self.disk
    }

    /// What the store answers to a MiB that cannot be compressed.
    pub(crate) fn put_probe(&self) -> u16 {
        let bucket = self
            .store
            .trim_start_matches("s3://")
            .split('/')
            .next()
            .unwrap();
        let url = format!("{}/{bucket}/probe", self.endpoint);
        runtime().block_on(async {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut body = vec![0; 1 << 20];
            rand::rng().fill_bytes(&mut body);
            let answer = http.put(url).body(body).send().await;
            answer.map_or(599, |answer| answer.status().as_u16())
        })
    }

    /// Host and port of the store.
    pub(crate) fn store_address(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    fn run(&self, command: &str, names: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster/servers.py");
        let done = Command::new("python3")
            .arg(script)
            .args([command, "--run", &self.run])
            .args(names)
            .output()
            .expect("python3 runs");
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        // `status` says so if one is dead
        let well = done.status.success() || command == "status";
        assert!(
            well,
            "{command} {names:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        told
    }
}

/// `listen=target,...` by port.
fn pairs(text: &str) -> Vec<(String, String)> {
    let at = |port: &str| format!("127.0.0.1:{port}");
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(listen, target)| (at(listen), at(target)))
        .collect()
}
