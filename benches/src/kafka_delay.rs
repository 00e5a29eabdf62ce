//! From the acknowledgement of rows over Kafka to their subscriber, beside what the bare client
//! takes from producing a record to consuming it: as many records, as large, as often.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::time::{Instant, interval, sleep, timeout};
use tourbillon_log::TopicNeed;

use crate::Figure;
use crate::delay::percentile;
use crate::kafka::{brokers, connect, fresh_prefix, rig};
use crate::subscribers::{BODIES, TICK, subscribe_to};

/// Partitions of a topic, so records of a body.
const PARTITIONS: i32 = 4;

/// About the size of a frame of a quarter of a body.
const RECORD_BYTES: usize = 4096;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(folder: &Path, runs: usize) -> anyhow::Result<Vec<Figure>> {
    let Some(brokers) = brokers()? else {
        return Ok(Vec::new());
    };
    let mut delays: [Vec<Vec<f64>>; 3] = Default::default();
    for _ in 0..runs {
        for (mode, delays) in ["eager", "ordered"].into_iter().zip(&mut delays) {
            delays.push(subscribed(folder, &brokers, mode).await?);
        }
        delays[2].push(bare(&brokers).await?);
    }
    let names = [
        "Kafka, acknowledgement to 1 subscriber, eager",
        "Kafka, acknowledgement to 1 subscriber, ordered",
        "librdkafka alone, produce to consume",
    ];
    let mut figures = Vec::new();
    for (name, runs) in names.into_iter().zip(&delays) {
        for percent in [50, 99] {
            figures.push(Figure {
                name: format!("{name}, p{percent}"),
                unit: "ms",
                values: runs
                    .iter()
                    .map(|delays| percentile(delays, percent))
                    .collect(),
            });
        }
    }
    let shares = delays[0].iter().zip(&delays[2]);
    figures.push(Figure {
        name: "Kafka, eager subscriber: of librdkafka alone, p99".into(),
        unit: "x",
        values: shares
            .map(|(ours, bare)| percentile(ours, 99) / percentile(bare, 99))
            .collect(),
    });
    Ok(figures)
}

async fn subscribed(folder: &Path, brokers: &str, mode: &str) -> anyhow::Result<Vec<f64>> {
    let rig = rig(folder, brokers, &fresh_prefix()?).await?;
    let service = rig.follow(rig.lake.clone()).await;
    let delays = subscribe_to(&service, &rig.router(), mode, 1).await?;
    service.end_subscriptions();
    service.shutdown().await;
    rig.close().await?;
    Ok(delays)
}

/// Delays of every record, ms.
async fn bare(brokers: &str) -> anyhow::Result<Vec<f64>> {
    let topic = format!("{}.bare", fresh_prefix()?);
    let log = connect(brokers).await?;
    log.ensure_topic(&TopicNeed::data(&topic, u32::try_from(PARTITIONS)?))
        .await?;
    log.close().await?;
    let producer: FutureProducer = client(brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()?;
    let begun = Instant::now();
    let consumer: StreamConsumer = client(brokers).set("group.id", "bare").create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(&topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let consuming = tokio::spawn(async move { consumed(&consumer, begun).await });
    sleep(Duration::from_secs(2)).await;
    let mut ticks = interval(TICK);
    for number in 0..BODIES.0 {
        ticks.tick().await;
        for partition in 0..PARTITIONS {
            let mut payload = vec![0_u8; RECORD_BYTES];
            payload[..8].copy_from_slice(&u64::try_from(number)?.to_le_bytes());
            payload[8..16].copy_from_slice(&nanos(begun)?.to_le_bytes());
            let record: FutureRecord<'_, (), _> = FutureRecord::to(&topic)
                .partition(partition)
                .payload(&payload);
            let sent = producer.send_result(record);
            ensure!(sent.is_ok(), "the producer's queue is full");
        }
    }
    timeout(PATIENCE, consuming).await??
}

async fn consumed(consumer: &StreamConsumer, begun: Instant) -> anyhow::Result<Vec<f64>> {
    let (mut delays, mut left) = (Vec::new(), BODIES.0 * usize::try_from(PARTITIONS)?);
    while left > 0 {
        let message = consumer.recv().await?;
        let now = nanos(begun)?;
        let payload = message.payload().context("a payload")?;
        let field = |at: usize| {
            let bytes = payload
                .get(at..at + 8)
                .and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes).context("a number")
        };
        left -= 1;
        if usize::try_from(field(0)?)? >= BODIES.1 {
            delays.push(Duration::from_nanos(now - field(8)?).as_secs_f64() * 1e3);
        }
    }
    Ok(delays)
}

fn nanos(begun: Instant) -> anyhow::Result<u64> {
    Ok(u64::try_from(begun.elapsed().as_nanos())?)
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}
