//! Logins and TLS on real brokers: the right user goes all the way, a wrong one is told why not.
//!
//! What needs OpenSSL runs in a build with the feature `kafka-tls-system` only; the other build is
//! asked whether it says so.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::servers;
use crate::support::{Service, counted, eventually, get, post, put, succeeds, text, tourbillon};

/// How long a service may take to find out that it is refused.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether this build has OpenSSL.
const HAS_TLS: bool = cfg!(feature = "kafka-tls-system");

/// What `servers.py` says of the brokers.
struct Brokers {
    store: String,
    user: String,
    password: String,
    ca: String,
    wrong_ca: String,
    folder: tempfile::TempDir,
}

/// The listener of a protocol.
fn listener(protocol: &str) -> String {
    std::env::var(format!("TOURBILLON_TEST_{protocol}")).unwrap()
}

impl Brokers {
    fn there() -> Option<Self> {
        let (_, store) = servers()?;
        let told = |name: &str| std::env::var(format!("TOURBILLON_TEST_{name}")).ok();
        let Some(user) = told("USER") else {
            eprintln!("skipped: TOURBILLON_TEST_USER is not set");
            return None;
        };
        Some(Self {
            store,
            user,
            password: told("PASSWORD").unwrap(),
            ca: told("CA").unwrap(),
            wrong_ca: told("WRONG_CA").unwrap(),
            folder: tempfile::tempdir().unwrap(),
        })
    }

    /// A file with options for the client.
    fn options(&self, options: &[(&str, &str)]) -> PathBuf {
        let lines = options
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        let file = self.folder.path().join(format!("{}", options.len()));
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        file
    }

    /// The right options for a listener and a mechanism, if that logs in at all.
    fn right(&self, protocol: &'static str, mechanism: &'static str) -> Vec<(&str, &str)> {
        let mut options = vec![("security.protocol", protocol)];
        if protocol.starts_with("SASL") {
            options.push(("sasl.mechanism", mechanism));
            options.push(("sasl.username", &self.user));
            options.push(("sasl.password", &self.password));
        }
        if protocol.ends_with("SSL") {
            options.push(("ssl.ca.location", &self.ca));
        }
        options
    }
}

/// One option changed.
fn but<'a>(options: &[(&'a str, &'a str)], name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let changed = options.iter();
    changed
        .map(|(n, v)| if *n == name { (*n, value) } else { (*n, *v) })
        .collect()
}

/// Ways in that this build knows.
fn ways_in() -> Vec<(&'static str, &'static str)> {
    let mut ways = vec![("SASL_PLAINTEXT", "PLAIN")];
    if HAS_TLS {
        ways.extend([
            ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
            ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
            ("SSL", "-"),
            ("SASL_SSL", "PLAIN"),
            ("SASL_SSL", "SCRAM-SHA-256"),
            ("SASL_SSL", "SCRAM-SHA-512"),
        ]);
    }
    ways
}

#[test]
fn the_right_user_ingests_seals_and_queries() {
    let Some(brokers) = Brokers::there() else {
        return;
    };
    for (protocol, mechanism) in ways_in() {
        eprintln!("== {protocol} {mechanism}");
        goes_all_the_way(&brokers, protocol, mechanism);
    }
}

fn goes_all_the_way(brokers: &Brokers, protocol: &'static str, mechanism: &'static str) {
    const ROWS: usize = 50;
    let unique = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_nanos();
    let options = brokers.options(&brokers.right(protocol, mechanism));
    let (kafka, prefix) = (listener(protocol), format!("login{unique}"));
    let store = format!("{}/{unique}", brokers.store);
    let address = [
        "--kafka",
        &kafka,
        "--store",
        &store,
        "--topic-prefix",
        &prefix,
        "--kafka-options-file",
        options.to_str().unwrap(),
    ];
    let start = |role| Service::ready(&[&[role], &address[..]].concat());
    let (gateway, worker, query) = (start("ingest"), start("shard-worker"), start("query"));
    let column = json!({"name": "symbol", "type": "string"});
    let stream = json!({"columns": [column], "key": ["symbol"], "window": "100ms"});
    let url = format!("{}/v1/streams/ticks", gateway.url);
    assert_eq!(put(&url, &stream).0, 200);
    let rows: String = (0..ROWS)
        .map(|i| format!("{{\"symbol\":\"S{i}\"}}\n"))
        .collect();
    let headers = [("content-type", "application/x-ndjson")];
    let (status, told) = post(&format!("{url}/events"), &headers, rows.into_bytes());
    assert_eq!(status, 200, "{told}");
    eventually("sealed", Duration::from_secs(30), || {
        counted(&query.url, "ticks", "sealed_rows") == ROWS as u64
    });
    assert_eq!(crate::support::rows(&query.url, "ticks", ROWS).len(), ROWS);
    for service in [gateway, worker, query] {
        assert_hidden(&service, &brokers.password);
        let status = service.terminate();
        assert!(status.success(), "{status}");
    }
    succeeds(&[&["verify"], &address[..]].concat());
}

/// Fails if a service shows a password to anybody.
fn assert_hidden(service: &Service, password: &str) {
    let mut shown = service.log();
    for path in ["/metrics", "/readyz", "/healthz"] {
        shown += &get(&format!("{}{path}", service.url)).unwrap().1;
    }
    let arguments = std::fs::read(format!("/proc/{}/cmdline", service.pid())).unwrap();
    shown += &text(&arguments);
    assert!(!shown.contains(password), "a password is shown");
}

#[test]
fn who_is_refused_is_told_why_at_once() {
    let Some(brokers) = Brokers::there() else {
        return;
    };
    let mut cases = Vec::new();
    for (protocol, mechanism) in ways_in() {
        let right = brokers.right(protocol, mechanism);
        if protocol == "SASL_PLAINTEXT" {
            let wrong = but(&right, "sasl.password", "wrong-password-5193");
            cases.push((protocol, wrong, "`sasl.password`"));
            let unknown = but(&right, "sasl.username", "nobody");
            cases.push((protocol, unknown, "`sasl.username`"));
        }
        if protocol.ends_with("SSL") && !mechanism.starts_with("SCRAM") {
            let wrong = but(&right, "ssl.ca.location", &brokers.wrong_ca);
            cases.push((protocol, wrong, "`ssl.ca.location`"));
        }
    }
    // no word of a login, where one is asked for; of TLS, where there is some
    for protocol in ["SASL_PLAINTEXT", "SSL"] {
        let nothing = vec![("security.protocol", "PLAINTEXT")];
        cases.push((protocol, nothing, "`security.protocol`"));
    }
    if HAS_TLS {
        let nothing_to_encrypt = vec![("security.protocol", "SSL")];
        cases.push(("PLAINTEXT", nothing_to_encrypt, "`security.protocol`"));
    }
    for (protocol, options, setting) in cases {
        eprintln!("== {protocol} {setting}");
        is_told(&brokers, protocol, &options, setting);
    }
}

fn is_told(brokers: &Brokers, protocol: &str, options: &[(&str, &str)], setting: &str) {
    let file = brokers.options(options);
    let secrets = [brokers.password.as_str(), "wrong-password-5193"];
    let hidden = |text: &str| {
        let shown = secrets.iter().any(|secret| text.contains(secret));
        assert!(!shown, "a password is shown");
    };
    let (kafka, file) = (listener(protocol), file.to_str().unwrap());
    let output = tourbillon(&["check-kafka", &kafka, "--kafka-options-file", file]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(told.contains(setting), "{told}");
    hidden(&told);
    let store = format!("{}/refused", brokers.store);
    let service = Service::begin(&[
        "ingest",
        "--kafka",
        &kafka,
        "--store",
        &store,
        "--kafka-options-file",
        file,
    ]);
    eventually("said in /readyz", PATIENCE, || {
        get(&format!("{}/readyz", service.url)).is_ok_and(|(status, told)| {
            assert_eq!(status, 503);
            told.contains(setting)
        })
    });
    let (status, _) = get(&format!("{}/healthz", service.url)).unwrap();
    assert_eq!(status, 200);
    let (_, ready) = get(&format!("{}/readyz", service.url)).unwrap();
    hidden(&ready);
    hidden(&service.log());
    assert!(service.log().contains(setting));
}

#[test]
fn passwords_on_the_command_line_are_refused() {
    let option = "sasl.password=hunter2";
    let output = tourbillon(&["check-kafka", "b:1", "--kafka-option", option]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("--kafka-options-file"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_build_without_openssl_says_what_it_lacks() {
    if HAS_TLS {
        return;
    }
    for (option, value) in [
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", "/none"),
    ] {
        let option = format!("{option}={value}");
        let output = tourbillon(&["check-kafka", "b:1", "--kafka-option", &option]);
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stderr);
        assert!(told.contains("`kafka-tls`"), "{told}");
    }
}
