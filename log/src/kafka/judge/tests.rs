//! One fact after the other is changed, and what is found of it.

use super::*;

const SITE: Site<'static> = Site {
    bootstrap: "b:9092",
    brokers: 3,
    asked: None,
};

const STATE: TopicState = TopicState {
    partitions: 4,
    led: true,
    told_by: 1,
    replicas: 3,
    in_sync: 3,
};

fn good() -> BTreeMap<String, String> {
    let settings = [
        ("message.timestamp.type", "LogAppendTime"),
        ("cleanup.policy", "delete"),
        ("unclean.leader.election.enable", "false"),
        ("max.message.bytes", "20000000"),
        ("min.insync.replicas", "2"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
    ];
    let owned = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    owned.into()
}

fn data() -> TopicNeed {
    TopicNeed::data("p.t", 4)
}

/// What is found besides what is right.
fn found(need: &TopicNeed, state: TopicState, changed: &[(&str, &str)], site: Site<'_>) -> String {
    let mut settings = good();
    for (name, value) in changed {
        settings.insert((*name).to_owned(), (*value).to_owned());
    }
    let findings = judge_topic(need, state, &settings, site);
    let bad = findings.iter().filter(|f| f.grade != Grade::Fine);
    bad.map(Finding::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_topic_made_by_the_services_is_right() {
    assert_eq!(found(&data(), STATE, &[], SITE), "");
    assert_eq!(found(&TopicNeed::control("p"), STATE, &[], SITE), "");
    let one = Site { brokers: 1, ..SITE };
    let alone = TopicState {
        replicas: 1,
        in_sync: 1,
        ..STATE
    };
    let told = found(&data(), alone, &[("min.insync.replicas", "1")], one);
    assert!(
        told.starts_with("warning ") && told.contains("one replica"),
        "{told}"
    );
}

#[test]
fn each_setting_that_breaks_a_promise_is_named_with_what_mends_it() {
    for (name, value, wanted) in [
        ("message.timestamp.type", "CreateTime", "LogAppendTime"),
        ("cleanup.policy", "compact,delete", "delete"),
        ("unclean.leader.election.enable", "true", "false"),
        ("max.message.bytes", "1048588", "16781312"),
        ("min.insync.replicas", "1", "2"),
        ("retention.ms", "599999", "600000"),
    ] {
        let told = found(&data(), STATE, &[(name, value)], SITE);
        assert!(told.starts_with("WRONG "), "{name}: {told}");
        assert!(
            told.contains(&format!("{name}={wanted} (is {value})")),
            "{told}"
        );
        let fix = format!(
            "kafka-configs.sh --bootstrap-server b:9092 --alter --entity-type topics \
             --entity-name p.t --add-config {name}={wanted}"
        );
        assert!(told.ends_with(&fix), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn the_control_topic_is_kept_for_ever() {
    let control = TopicNeed::control("p");
    for name in ["retention.ms", "retention.bytes"] {
        let told = found(&control, STATE, &[(name, "1000000000000")], SITE);
        assert!(told.starts_with("WRONG "), "{told}");
        assert!(
            told.contains(&format!("{name}=-1 (is 1000000000000)")),
            "{told}"
        );
    }
}

#[test]
fn short_retention_and_limits_by_size_are_warned_of() {
    let day = ("retention.ms", "86400000");
    let told = found(&data(), STATE, &[day], SITE);
    assert!(
        told.starts_with("warning ") && told.contains("600s"),
        "{told}"
    );
    assert_eq!(
        found(&data(), STATE, &[("retention.ms", "604800000")], SITE),
        ""
    );
    let told = found(&data(), STATE, &[("retention.bytes", "1000")], SITE);
    assert!(
        told.starts_with("warning ") && told.contains("retention.bytes=-1"),
        "{told}"
    );
}

#[test]
fn replicas_are_held_against_what_is_asked_and_what_there_is() {
    let with = |replicas, in_sync_wanted: &str, site| {
        let state = TopicState {
            replicas,
            in_sync: replicas,
            ..STATE
        };
        found(
            &data(),
            state,
            &[("min.insync.replicas", in_sync_wanted)],
            site,
        )
    };
    let asked = |n| Site {
        asked: Some(n),
        ..SITE
    };
    assert!(with(1, "1", SITE).starts_with("WRONG "));
    // made while one of three brokers was down
    let two = with(2, "2", SITE);
    assert!(
        two.lines().all(|line| line.starts_with("warning ")),
        "{two}"
    );
    assert!(with(2, "1", SITE).contains("min.insync.replicas=2 (is 1)"));
    assert!(with(2, "2", asked(3)).contains("WRONG"));
    assert!(with(1, "1", asked(1)).starts_with("warning "));
    assert!(with(1, "2", asked(1)).contains("min.insync.replicas=1 (is 2), or it takes no record"));
    assert!(with(3, "3", SITE).contains("a broker that is down stops it"));
}

#[test]
fn lost_partitions_leaders_and_replicas_are_told() {
    let fewer = TopicState {
        partitions: 2,
        ..STATE
    };
    assert!(found(&data(), fewer, &[], SITE).contains("has 2 partition(s), and its stream has 4"));
    assert_eq!(judge_now("t", STATE), None);
    let leaderless = TopicState {
        led: false,
        ..STATE
    };
    assert_eq!(judge_now("t", leaderless).unwrap().grade, Grade::Broken);
    let behind = TopicState {
        in_sync: 2,
        ..STATE
    };
    assert_eq!(judge_now("t", behind).unwrap().grade, Grade::Warning);
}

#[test]
fn brokers_are_counted_and_must_take_our_frames() {
    assert_eq!(judge_brokers(SITE).grade, Grade::Fine);
    let one = Site { brokers: 1, ..SITE };
    assert_eq!(judge_brokers(one).grade, Grade::Warning);
    let settings = |bytes: &str| [("socket.request.max.bytes".into(), bytes.into())].into();
    assert_eq!(judge_broker("b", &settings("104857600")).grade, Grade::Fine);
    assert_eq!(judge_broker("b", &settings("1000")).grade, Grade::Broken);
}
