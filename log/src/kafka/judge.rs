//! What the promises ask of a cluster, against what it tells. Pure: facts in, findings out.

use std::collections::BTreeMap;
use std::time::Duration;

use tourbillon_core::report::{Finding, Grade};

use super::cluster::TopicState;
use super::settings::MAX_MESSAGE_BYTES;
use crate::needs::TopicNeed;

/// Replicas of a topic, unless set or there are fewer brokers.
pub(super) const DEFAULT_REPLICATION: usize = 3;

/// Brokers, and replicas of a topic, from which on two must have a record before it counts as
/// durable.
pub(super) const REPLICATION_FOR_TWO_IN_SYNC: usize = 3;

/// Kafka's word for "no limit".
pub(super) const UNLIMITED: &str = "-1";

/// A retention that is shorter deserves a warning: a long weekend without workers or gateways.
const COMFORTABLE_RETENTION: Duration = Duration::from_secs(3 * 24 * 3600);

/// The cluster that a topic lies on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    /// Bootstrap list, for the commands that mend something.
    pub(super) bootstrap: &'a str,
    /// Brokers that are alive.
    pub(super) brokers: usize,
    /// Replicas that were asked for.
    pub(super) asked: Option<u16>,
}

/// A setting that is judged.
struct Rule<'a> {
    name: &'static str,
    /// What it must be.
    wanted: String,
    fits: &'a dyn Fn(&str) -> bool,
    grade: Grade,
    /// What happens otherwise.
    or: &'a str,
}

impl<'a> Rule<'a> {
    fn is(name: &'static str, wanted: &'static str, or: &'a str) -> Rule<'a> {
        let fits: &dyn Fn(&str) -> bool = match wanted {
            "false" => &|found| found == "false",
            UNLIMITED => &|found| found == UNLIMITED,
            "LogAppendTime" => &|found| found == "LogAppendTime",
            _ => &|found| !found.contains("compact"),
        };
        Rule {
            name,
            wanted: wanted.into(),
            fits,
            grade: Grade::Broken,
            or,
        }
    }
}

/// The topic as it is: its settings, its partitions and how many replicas they have.
pub(super) fn judge_topic(
    need: &TopicNeed,
    state: TopicState,
    settings: &BTreeMap<String, String>,
    site: Site<'_>,
) -> Vec<Finding> {
    let what = what(&need.topic);
    let mut right = vec![
        format!("{} partition(s)", state.partitions),
        format!("{} replica(s)", state.replicas),
    ];
    let mut findings = Vec::new();
    findings.extend(judge_partitions(need, state));
    findings.extend(judge_replicas(&what, state, site));
    let in_sync = |found: &str| found.parse().is_ok_and(|n: usize| n >= 2);
    let large = |found: &str| found.parse().is_ok_and(|n: usize| n >= MAX_MESSAGE_BYTES);
    for rule in rules(need, state, site, &in_sync, &large) {
        let Some(found) = settings.get(rule.name) else {
            continue;
        };
        match (rule.fits)(found) {
            true => right.push(format!("{}={found}", rule.name)),
            false => findings.push(wrong(&need.topic, &rule, found, site)),
        }
    }
    findings.extend(judge_writable(&need.topic, state, settings, site));
    findings.extend(judge_retention(need, settings, site));
    findings.insert(0, Finding::fine(what, right.join(", ")));
    findings
}

fn rules<'a>(
    need: &TopicNeed,
    state: TopicState,
    site: Site<'_>,
    in_sync: &'a dyn Fn(&str) -> bool,
    large: &'a dyn Fn(&str) -> bool,
) -> Vec<Rule<'a>> {
    let mut rules = vec![
        Rule::is(
            "message.timestamp.type",
            "LogAppendTime",
            "acknowledgements cannot be held against the brokers' clock",
        ),
        Rule::is(
            "cleanup.policy",
            "delete",
            "records vanish before they are sealed",
        ),
        Rule::is(
            "unclean.leader.election.enable",
            "false",
            "acknowledged records are lost when a broker that lags behind takes over",
        ),
        Rule {
            name: "max.message.bytes",
            wanted: MAX_MESSAGE_BYTES.to_string(),
            fits: large,
            grade: Grade::Broken,
            or: "the largest frames are refused",
        },
    ];
    let many = site.brokers >= REPLICATION_FOR_TWO_IN_SYNC;
    if state.replicas >= 2 {
        rules.push(Rule {
            name: "min.insync.replicas",
            wanted: "2".into(),
            fits: in_sync,
            grade: if many { Grade::Broken } else { Grade::Warning },
            or: "a single broker may hold the only copy of an acknowledged record",
        });
    }
    if need.keeps.is_none() {
        let or = "definitions of streams and lives of writers vanish";
        rules.push(Rule::is("retention.ms", UNLIMITED, or));
        rules.push(Rule::is("retention.bytes", UNLIMITED, or));
    }
    rules
}

fn judge_partitions(need: &TopicNeed, state: TopicState) -> Option<Finding> {
    let missing = state.partitions < need.partitions;
    missing.then(|| {
        let says = format!(
            "has {} partition(s), and its stream has {}: it was made again, or grown only in part",
            state.partitions, need.partitions
        );
        Finding::broken(what(&need.topic), says)
    })
}

fn judge_replicas(what: &str, state: TopicState, site: Site<'_>) -> Option<Finding> {
    let found = state.replicas;
    let wanted = match site.asked {
        Some(asked) => usize::from(asked),
        None => site.brokers.min(DEFAULT_REPLICATION),
    };
    if found < wanted {
        let lonely = site.asked.is_some() || found < 2;
        let grade = if lonely {
            Grade::Broken
        } else {
            Grade::Warning
        };
        let says = format!("has partitions with {found} replica(s) and needs {wanted}");
        let fix = "kafka-reassign-partitions.sh gives them more; if this many are meant, say \
                   `--replication`";
        return Some(Finding::new(grade, what, says).with_fix(fix));
    }
    let lonely = found < 2;
    lonely.then(|| {
        let says = "one replica: with its broker's disk, or in a power cut, acknowledged records \
                    are lost";
        Finding::warning(what, says)
    })
}

/// A topic that asks for more replicas in sync than it has takes no record; one that asks for all
/// takes none while a broker is down.
fn judge_writable(
    topic: &str,
    state: TopicState,
    settings: &BTreeMap<String, String>,
    site: Site<'_>,
) -> Option<Finding> {
    let name = "min.insync.replicas";
    let found: usize = settings.get(name)?.parse().ok()?;
    if found > state.replicas {
        let wanted = state.replicas.min(2).to_string();
        let says = format!(
            "{name}={wanted} (is {found}), or it takes no record, as it has {} replica(s)",
            state.replicas
        );
        let fix = mend(topic, name, &wanted, site);
        return Some(Finding::broken(what(topic), says).with_fix(fix));
    }
    let tight = found == state.replicas && found > 1;
    tight.then(|| {
        let says = format!("{name}={found} of {found} replicas: a broker that is down stops it");
        Finding::warning(what(topic), says)
    })
}

/// Time until records of a stream go, against what recovery reads.
fn judge_retention(
    need: &TopicNeed,
    settings: &BTreeMap<String, String>,
    site: Site<'_>,
) -> Vec<Finding> {
    let Some(keeps) = need.keeps else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let name = "retention.ms";
    if let Some(found) = settings.get(name) {
        let kept = found.parse().ok().map(Duration::from_millis);
        findings.push(match kept {
            None => Finding::fine(what(&need.topic), "keeps records for ever"),
            Some(kept) if kept < keeps => {
                let or = "recovery finds records gone: it reads up to 60 event windows back, and \
                          all that came while no worker or no gateway ran";
                let rule = Rule {
                    name,
                    wanted: keeps.as_millis().to_string(),
                    fits: &|_| false,
                    grade: Grade::Broken,
                    or,
                };
                wrong(&need.topic, &rule, found, site)
            }
            Some(kept) => {
                let grade = match kept < COMFORTABLE_RETENTION {
                    true => Grade::Warning,
                    false => Grade::Fine,
                };
                let says = format!(
                    "keeps records for {kept:?}; recovery needs {keeps:?}, and all that came while \
                     no worker or no gateway ran"
                );
                Finding::new(grade, what(&need.topic), says)
            }
        });
    }
    let rule = Rule {
        grade: Grade::Warning,
        ..Rule::is(
            "retention.bytes",
            UNLIMITED,
            "a burst pushes records out before they are sealed",
        )
    };
    match settings.get(rule.name) {
        Some(found) if !(rule.fits)(found) => {
            findings.push(wrong(&need.topic, &rule, found, site));
        }
        _ => {}
    }
    findings
}

/// Whether the topic can be written and read right now.
pub(super) fn judge_now(topic: &str, state: TopicState) -> Option<Finding> {
    if !state.led {
        let says = "a partition has no leader: start the brokers that hold its replicas";
        return Some(Finding::broken(what(topic), says));
    }
    let behind = state.in_sync < state.replicas;
    behind.then(|| {
        let says = format!(
            "a partition has {} of {} replicas in sync",
            state.in_sync, state.replicas
        );
        Finding::warning(what(topic), says)
    })
}

/// How many brokers there are.
pub(super) fn judge_brokers(site: Site<'_>) -> Finding {
    let says = format!("{} in the cluster at {}", site.brokers, site.bootstrap);
    match site.brokers {
        0..REPLICATION_FOR_TWO_IN_SYNC => Finding::warning(
            "brokers",
            format!("{says}: from three on, the log outlives one of them without a gap"),
        ),
        _ => Finding::fine("brokers", says),
    }
}

/// What a broker must take, beyond what topics say themselves.
pub(super) fn judge_broker(broker: &str, settings: &BTreeMap<String, String>) -> Finding {
    let name = "socket.request.max.bytes";
    let found = settings.get(name).map(String::as_str).unwrap_or_default();
    match found.parse::<usize>() {
        Ok(bytes) if bytes < MAX_MESSAGE_BYTES => Finding::broken(
            broker,
            format!("{name}={MAX_MESSAGE_BYTES} (is {bytes}), or the largest frames are refused"),
        )
        .with_fix(format!(
            "set {name} in its server.properties and restart it"
        )),
        _ => Finding::fine(broker, "answers, and takes our largest frames"),
    }
}

/// What cannot be looked at.
pub(super) fn untold(what: impl Into<String>, reason: &str) -> Finding {
    let says = format!("its settings cannot be checked: {reason}");
    Finding::warning(what, says)
}

pub(super) fn what(topic: &str) -> String {
    format!("topic {topic}")
}

fn wrong(topic: &str, rule: &Rule<'_>, found: &str, site: Site<'_>) -> Finding {
    let says = format!("{}={} (is {found}), or {}", rule.name, rule.wanted, rule.or);
    let fix = mend(topic, rule.name, &rule.wanted, site);
    Finding::new(rule.grade, what(topic), says).with_fix(fix)
}

fn mend(topic: &str, name: &str, wanted: &str, site: Site<'_>) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} \
         --add-config {name}={wanted}",
        site.bootstrap
    )
}

#[cfg(test)]
mod tests;
