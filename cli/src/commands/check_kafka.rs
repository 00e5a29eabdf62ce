//! `tourbillon check-kafka`.

use rand::TryRngCore;
use rand::rngs::OsRng;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::report::{Finding, Report};
use tourbillon_log::{
    CheckPlan, KafkaLog, Log, LogError, Probe, SystemClock, TopicNeed, read_control, topic_needs,
};

use super::report;
use crate::args::CheckKafkaArgs;
use crate::out::Outcome;

/// Proves what the design needs of a Kafka cluster.
pub(crate) async fn run(args: CheckKafkaArgs) -> anyhow::Result<Outcome> {
    let settings = args.kafka_settings.settings(&args.brokers)?;
    let found = match KafkaLog::connect(settings).await {
        Ok(log) => check(&args, &log).await,
        Err(error) => Err(error),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::Invalid => return Err(error.into()),
        Err(error) => [Finding::broken("brokers", error_chain(&error))]
            .into_iter()
            .collect(),
    };
    Ok(report::print(&found, args.json))
}

async fn check(args: &CheckKafkaArgs, log: &KafkaLog) -> Result<Report, LogError> {
    let prefix = args.kafka_settings.topic_prefix.as_str();
    let plan = if args.topics.is_empty() {
        let view = read_control(log, prefix).await?;
        let nonce = OsRng.try_next_u64().unwrap_or_default();
        CheckPlan {
            needs: view.map_or_else(Vec::new, |view| topic_needs(prefix, &view)),
            probe: Some(Probe {
                prefix: prefix.to_owned(),
                nonce: format!("{nonce:016x}"),
            }),
        }
    } else {
        let control = TopicNeed::control(prefix);
        let need = |topic: &String| match *topic == control.topic {
            true => control.clone(),
            false => TopicNeed::data(topic.as_str(), 1),
        };
        CheckPlan {
            needs: args.topics.iter().map(need).collect(),
            probe: None,
        }
    };
    let found = log.check(&plan, &SystemClock::new()).await;
    log.close().await?;
    found
}
