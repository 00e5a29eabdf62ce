//! What options may change, and what they may not.

use super::*;

fn settings(options: &[(&str, &str)]) -> KafkaSettings {
    let options = options.iter();
    KafkaSettings {
        brokers: "localhost:9092".into(),
        options: options
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        ..KafkaSettings::default()
    }
}

fn reason(options: &[(&str, &str)], setting: &str) -> String {
    match Config::new(settings(options)).unwrap_err() {
        LogError::Setting { name, reason } if name == setting => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn options_that_would_break_a_promise_are_named() {
    for name in [
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "max.in.flight.requests.per.connection",
        "enable.auto.commit",
        "auto.offset.reset",
        "allow.auto.create.topics",
        "isolation.level",
        "message.max.bytes",
        "transactional.id",
    ] {
        assert!(reason(&[(name, "1")], name).contains("cannot be changed"));
    }
    assert!(reason(&[("bootstrap.servers", "x:1")], "bootstrap.servers").contains("`brokers`"));
}

#[test]
fn unknown_options_and_bad_values_are_named() {
    assert!(reason(&[("no.such.thing", "1")], "no.such.thing").contains("No such"));
    assert!(!reason(&[("linger.ms", "soon")], "linger.ms").is_empty());
}

#[test]
fn options_replace_defaults_under_either_name() {
    let config = Config::new(settings(&[
        ("queue.buffering.max.ms", "7"),
        ("client.id", "me"),
    ]));
    let producer = config.unwrap().producer();
    assert_eq!(producer.get("queue.buffering.max.ms"), Some("7"));
    assert_eq!(producer.get("linger.ms"), None);
    assert_eq!(producer.get("client.id"), Some("me"));
    assert_eq!(producer.get("acks"), Some("all"));
    let native = producer.create_native_config().unwrap();
    assert_eq!(
        native.get("message.max.bytes").unwrap(),
        MAX_MESSAGE_BYTES.to_string()
    );
    assert_eq!(native.get("compression.codec").unwrap(), "lz4");
}

#[test]
fn secrets_are_shown_nowhere() {
    const SECRET: &str = "hunter2-value";
    let names = [
        "sasl.password",
        "ssl.key.pem",
        "my.jaas.config",
        "an.oauth.token",
    ];
    for name in names {
        let settings = settings(&[(name, SECRET)]);
        assert!(!format!("{settings:?}").contains(SECRET), "{name}");
        assert!(format!("{settings:?}").contains(name), "{name}");
        match Config::new(settings) {
            Ok(config) => {
                assert!(!format!("{config:?}").contains(SECRET), "{name}");
                assert_eq!(config.redact("a hunter2-value b"), "a *** b");
            }
            Err(error) => assert!(!format!("{error:?} {error}").contains(SECRET), "{name}"),
        }
    }
}

#[cfg(not(feature = "kafka-tls-system"))]
#[test]
fn security_names_the_feature_that_it_needs() {
    let reason = reason(&[("security.protocol", "SASL_SSL")], "security.protocol");
    assert!(reason.contains("`kafka-tls`"), "{reason}");
    assert!(Config::new(settings(&[("security.protocol", "plaintext")])).is_ok());
}

#[test]
fn a_member_is_what_its_group_needs_whatever_the_options() {
    let options = [("group.id", "mine"), ("session.timeout.ms", "30000")];
    let config = Config::new(settings(&options)).unwrap();
    let of = |member: Option<&str>| GroupSettings {
        group: "workers".into(),
        member: member.map(str::to_owned),
    };
    let member = config.member(&of(Some("w1")));
    let got = |name| member.get(name);
    assert_eq!(got("group.id"), Some("workers"));
    assert_eq!(got("group.instance.id"), Some("w1"));
    let strategy = got("partition.assignment.strategy");
    assert_eq!(strategy, Some("cooperative-sticky"));
    assert_eq!(got("session.timeout.ms"), Some("30000"));
    member.create_native_config().unwrap();
    let nameless = config.member(&of(None));
    assert_eq!(nameless.get("group.instance.id"), None);
    nameless.create_native_config().unwrap();
}
