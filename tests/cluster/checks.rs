//! `check-kafka`, `check-store`, and services that refuse topics which break a promise.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::servers;
use crate::support::{Service, put, succeeds, text, tourbillon};

/// A topic prefix that nobody used before.
fn prefix(name: &str) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{name}{now}")
}

/// The findings of a check that passes.
fn sound(args: &[&str]) -> Vec<Value> {
    let told: Value = serde_json::from_str(&succeeds(args)).unwrap();
    assert_eq!(told["sound"], true);
    told["findings"].as_array().unwrap().clone()
}

fn says(findings: &[Value], what: &str, part: &str) -> bool {
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap().to_owned();
    let mut findings = findings.iter();
    findings.any(|f| text(f, "what").starts_with(what) && text(f, "says").contains(part))
}

#[test]
fn a_good_cluster_passes_and_keeps_nothing_of_the_check() {
    let Some((kafka, _)) = servers() else {
        return;
    };
    let prefix = prefix("check");
    let args = ["check-kafka", &kafka, "--topic-prefix", &prefix, "--json"];
    let found = sound(&args);
    for (what, part) in [
        ("brokers", "in the cluster at"),
        ("broker ", "answers, and takes our largest frames"),
        ("topic ", "message.timestamp.type=LogAppendTime"),
        ("clock of broker", "of this machine's, give or take"),
        ("topic ", "an idempotent producer with acks=all wrote"),
        ("topic ", "partition 0 holds each record once, in order"),
        ("topic ", "with its append time (LogAppendTime)"),
        ("topic ", "takes our largest frame, 16777216 bytes"),
        ("topic ", "removed again"),
    ] {
        assert!(says(&found, what, part), "{what}: {part}");
    }
    let again = sound(&args);
    assert!(!says(&again, "topic ", "left by a check"));
    let brokers = found.iter().filter(|f| f["what"] == "brokers").count();
    assert_eq!(brokers, 1);
    // people get the same, a line each, and what they have to do
    let lines = succeeds(&args[..4]);
    assert!(lines.contains("ok       topic "), "{lines}");
    assert!(
        lines.ends_with("warning(s)\n") && lines.contains("no promise would break"),
        "{lines}"
    );
}

#[test]
fn brokers_that_cannot_be_reached_fail_the_check() {
    let output = tourbillon(&["check-kafka", "127.0.0.1:1", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(told["sound"], false);
    assert_eq!(told["findings"][0]["what"], "brokers");
}

#[test]
fn topics_that_exist_are_checked_without_writing() {
    let Some((kafka, store)) = servers() else {
        return;
    };
    let prefix = prefix("grown");
    let address = [
        "--kafka",
        &kafka,
        "--store",
        &store,
        "--topic-prefix",
        &prefix,
        "--replication",
        "1",
    ];
    let gateway = Service::ready(&[&["ingest", "--partitions", "2"], &address[..]].concat());
    let stream = |partitions: u32| {
        let symbol = json!({"name": "symbol", "type": "string"});
        json!({"columns": [symbol], "key": ["symbol"], "partitions": partitions})
    };
    let url = format!("{}/v1/streams/ticks", gateway.url);
    for partitions in [3, 5] {
        let (status, told) = put(&url, &stream(partitions));
        assert_eq!(status, 200, "{told}");
    }
    assert!(gateway.terminate().success());
    let check = ["check-kafka", &kafka, "--topic-prefix", &prefix, "--json"];
    let check = [&check[..], &["--replication", "1"]].concat();
    let topics = ["trades", "ticks", "_control"].map(|name| format!("{prefix}.{name}"));
    let named: Vec<&str> = topics.iter().flat_map(|topic| ["--topic", topic]).collect();
    let found = sound(&[&check[..], &named].concat());
    let partitions = |stream: &str, count: u32| {
        let what = format!("topic {prefix}.{stream}");
        says(
            &found,
            &what,
            &format!("{count} partition(s), 1 replica(s), "),
        )
    };
    assert!(partitions("trades", 2), "the default of the service");
    assert!(partitions("ticks", 5), "grown by the interface");
    let control = format!("topic {prefix}._control");
    assert!(says(&found, &control, "retention.ms=-1"));
    assert!(says(&found, &control, "carries the append time"));
    assert!(!says(&found, "topic ", "removed again"), "no probe topic");
    // without names it looks at the same topics, and at a probe topic
    let all = sound(&check);
    assert!(says(
        &all,
        &format!("topic {prefix}.ticks"),
        "5 partition(s)"
    ));
    assert!(says(&all, "topic ", "removed again"));
    let gone = tourbillon(&[&check[..], &["--topic", "no.such.topic"]].concat());
    assert_eq!(gone.status.code(), Some(1));
}

#[test]
fn services_refuse_topics_that_break_a_promise_and_say_what_mends_them() {
    let Some((kafka, store)) = servers() else {
        return;
    };
    let prefix = prefix("refused");
    let refused = |args: &[&str]| {
        let address = [
            "--kafka",
            &kafka,
            "--store",
            &store,
            "--topic-prefix",
            &prefix,
            "--listen",
            "127.0.0.1:0",
        ];
        let output = tourbillon(&[args, &address].concat());
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let told = refused(&["ingest", "--topic-retention", "1m", "--replication", "1"]);
    assert!(told.contains("retention.ms=600000 (is 60000)"), "{told}");
    assert!(
        told.contains("kafka-configs.sh --bootstrap-server"),
        "{told}"
    );
    assert!(told.contains("--add-config retention.ms=600000"), "{told}");
    // the control topic is there by now, with one replica
    for role in ["ingest", "shard-worker", "query"] {
        let told = refused(&[role, "--replication", "2"]);
        assert!(told.contains("1 replica(s) and needs 2"), "{role}: {told}");
    }
}

#[test]
fn a_good_store_passes_and_a_start_is_quick() {
    let Some((_, store)) = servers() else {
        return;
    };
    let begun = Instant::now();
    let found = sound(&["check-store", &store, "--json"]);
    for what in [
        "put-if-absent",
        "read after write",
        "list after write",
        "range reads",
        "overwrite",
        "delete",
    ] {
        assert!(says(&found, what, ""), "{what}");
    }
    let racing = "of 16 racing writers one won";
    assert!(says(&found, "put-if-absent", racing), "{racing}");
    eprintln!("check-store took {:?}", begun.elapsed());
}

#[test]
fn the_check_at_start_takes_less_than_a_second() {
    const BOUND: Duration = Duration::from_secs(1);
    let Some((_, store)) = servers() else {
        return;
    };
    let lake = tourbillon_lake::Lake::open(&store).unwrap();
    let runtime = crate::support::identity::runtime();
    let mut took = Vec::new();
    for round in 0..5 {
        let begun = Instant::now();
        let nonce = prefix(&round.to_string());
        let checked = tourbillon_lake::check_store::check_at_start(&lake, &nonce);
        runtime.block_on(checked).unwrap();
        took.push(begun.elapsed());
    }
    eprintln!("the check at start took {took:?}");
    // the machine may be busy, but hardly each time
    assert!(took.iter().min().unwrap() < &BOUND, "{took:?}");
}
