//! A gateway on Kafka beside Kafka's own producer: the same bytes a record, acks=all, idempotent.
//!
//! Needs brokers (TOURBILLON_KAFKA) and the folder of Kafka's jars (TOURBILLON_TEST_KAFKA_LIBS), as
//! tests/cluster/servers.py gives them; else it says that it is skipped.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::process::Command;
use tokio::time::Instant;
use tourbillon_core::ids::PartitionId;
use tourbillon_log::control::StreamRequest;
use tourbillon_log::{KafkaLog, KafkaSettings, Log, TopicNeed, TopicPartition};

use crate::bodies::FORMATS;
use crate::rig::{Rig, call};
use crate::{Figure, rate};

/// Requests in flight.
const IN_FLIGHT: usize = 8;

/// Frames and bytes of the rows in the log.
struct Sent {
    records: usize,
    bytes: usize,
}

pub(crate) async fn measure(
    folder: &Path,
    rows: usize,
    runs: usize,
) -> anyhow::Result<Vec<Figure>> {
    let Some(brokers) = brokers()? else {
        return Ok(Vec::new());
    };
    let Ok(libs) = std::env::var("TOURBILLON_TEST_KAFKA_LIBS") else {
        crate::say("Kafka's producer: skipped, TOURBILLON_TEST_KAFKA_LIBS is not set\n")?;
        return Ok(Vec::new());
    };
    let [mut ours, mut theirs, mut share] = std::array::from_fn(|_| Vec::new());
    for _ in 0..runs {
        let prefix = fresh_prefix()?;
        let (sent, took) = gateway(folder, &brokers, &prefix, rows).await?;
        let mine = rate(sent.bytes, took) / 1e6;
        let peer = producer(&libs, &brokers, &format!("{prefix}.peer"), &sent).await?;
        ours.push(mine);
        theirs.push(peer);
        share.push(mine / peer);
    }
    let figure = |name: &str, unit, values| Figure {
        name: name.to_owned(),
        unit,
        values,
    };
    Ok(vec![
        figure(
            "gateway to Kafka, arrow bodies, bytes of frames",
            "MB/s",
            ours,
        ),
        figure(
            "kafka-producer-perf-test, as many records as large",
            "MB/s",
            theirs,
        ),
        figure("gateway to Kafka: of kafka-producer-perf-test", "x", share),
    ])
}

/// Sends rows through a gateway; what is in the log then, and how long it took.
async fn gateway(
    folder: &Path,
    brokers: &str,
    prefix: &str,
    rows: usize,
) -> anyhow::Result<(Sent, Duration)> {
    let rig = rig(folder, brokers, prefix).await?;
    let router = rig.router();
    let arrow = FORMATS[3];
    let bodies = arrow.bodies(rows)?;
    let begun = Instant::now();
    let calls = stream::iter(&bodies)
        .map(|(body, _)| call(&router, arrow.path, arrow.content_type, Some(body.clone())));
    calls
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<Vec<_>>()
        .await?;
    let took = begun.elapsed();
    let topic = rig.control.stream_topic(&rig.stream);
    let sent = count(&*rig.log, &topic, rows).await?;
    rig.close().await?;
    Ok((sent, took))
}

/// A gateway on Kafka, with topics of its own.
pub(crate) async fn rig(below: &Path, brokers: &str, prefix: &str) -> anyhow::Result<Rig> {
    let folder = tempfile::tempdir_in(below)?;
    let trades = StreamRequest::builtin("trades").context("trades is built in")?;
    Rig::on(connect(brokers).await?, prefix, folder, &[trades]).await
}

pub(crate) async fn connect(brokers: &str) -> anyhow::Result<Arc<dyn Log>> {
    let settings = KafkaSettings {
        brokers: brokers.to_owned(),
        ..KafkaSettings::default()
    };
    Ok(Arc::new(KafkaLog::connect(settings).await?))
}

/// Brokers to measure with; says so if there are none.
pub(crate) fn brokers() -> anyhow::Result<Option<String>> {
    let brokers = std::env::var("TOURBILLON_KAFKA").ok();
    if brokers.is_none() {
        crate::say("Kafka: skipped, TOURBILLON_KAFKA is not set\n")?;
    }
    Ok(brokers)
}

/// A topic prefix that nobody has.
pub(crate) fn fresh_prefix() -> anyhow::Result<String> {
    let unique = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos();
    Ok(format!("bench{unique}"))
}

/// Frames with rows, which must hold all that were sent.
async fn count(log: &dyn Log, topic: &str, rows: usize) -> anyhow::Result<Sent> {
    let (mut sent, mut found) = (
        Sent {
            records: 0,
            bytes: 0,
        },
        0,
    );
    for partition in (0..log.partitions(topic).await?.unwrap_or(0)).map(PartitionId) {
        let at = TopicPartition {
            topic: topic.to_owned(),
            partition,
        };
        let range = log.range(&at).await?;
        let mut reader = log.read(&at, range.start).await?;
        let mut next = range.start;
        while next < range.end {
            for record in reader.next().await? {
                next = record.offset.next();
                let (header, _) = tourbillon_core::frame::FrameHeader::decode(&record.payload)?;
                if header.rows > 0 {
                    found += usize::try_from(header.rows)?;
                    sent = Sent {
                        records: sent.records + 1,
                        bytes: sent.bytes + record.payload.len(),
                    };
                }
            }
        }
    }
    ensure!(found == rows, "{found} of {rows} rows are in the log");
    Ok(sent)
}

/// What Kafka's own producer does with as many records of the same size, MB/s by its own account,
/// after a warm-up as long as a tenth of it.
async fn producer(libs: &str, brokers: &str, topic: &str, sent: &Sent) -> anyhow::Result<f64> {
    let log = connect(brokers).await?;
    log.ensure_topic(&TopicNeed::data(topic, 4)).await?;
    log.close().await?;
    let size = (sent.bytes / sent.records).to_string();
    let warmup = sent.records / 10;
    let records = (sent.records + warmup).to_string();
    let classes = format!("{libs}/*");
    let warmup = warmup.to_string();
    let bootstrap = format!("bootstrap.servers={brokers}");
    let tool = [
        "-cp",
        &classes,
        "org.apache.kafka.tools.ProducerPerformance",
    ];
    let load = [
        "--topic",
        topic,
        "--num-records",
        &records,
        "--record-size",
        &size,
    ];
    let pace = ["--throughput", "-1", "--warmup-records", &warmup];
    let props = [
        "--producer-props",
        &bootstrap,
        "acks=all",
        "enable.idempotence=true",
    ];
    let limits = [
        "max.request.size=8388608",
        "buffer.memory=134217728",
        "batch.size=1048576",
    ];
    let args = [&tool[..], &load, &pace, &props, &limits].concat();
    let done = Command::new("java").args(args).output().await?;
    let told = String::from_utf8_lossy(&done.stdout);
    let last = told
        .lines()
        .rfind(|line| line.contains("MB/sec"))
        .with_context(|| format!("no result: {told}{}", String::from_utf8_lossy(&done.stderr)))?;
    mib_per_second(last).with_context(|| format!("cannot read {last:?}"))
}

/// `... 1234.5 records/sec (67.89 MB/sec), ...`, whose MB are MiB; in MB.
fn mib_per_second(line: &str) -> Option<f64> {
    let (before, _) = line.split_once(" MB/sec")?;
    let (_, number) = before.rsplit_once('(')?;
    Some(number.parse::<f64>().ok()? * 1.048_576)
}
