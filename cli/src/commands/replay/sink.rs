//! Where a replay goes: standard output, a Kafka topic, or a stream of a service.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use tourbillon_core::control::StreamDef;
use tourbillon_core::ids::PartitionId;
use tourbillon_core::schema::SYSTEM_COLUMNS;
use tourbillon_log::{Delivery, Log, TopicNeed, TopicPartition};
use tourbillon_query::encode::{Encoder, OutputFormat};

use crate::args::{ReplayArgs, ReplayFormat};
use crate::backbone::Backbone;
use crate::client::Client;
use crate::load::{Sender, one_time_source};

/// Records to a topic that may wait for their delivery.
const MAX_UNDELIVERED: usize = 10_000;

/// How long one request to a service is repeated.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes rows.
pub(super) enum Sink {
    Output {
        format: OutputFormat,
        encoder: Option<Encoder>,
        schema: Option<SchemaRef>,
    },
    Topic {
        log: Arc<dyn Log>,
        at: TopicPartition,
        waiting: VecDeque<Delivery>,
    },
    Stream(Box<Sender>),
}

impl Sink {
    pub(super) async fn open(
        args: &ReplayArgs,
        backbone: &Backbone,
        def: &StreamDef,
    ) -> anyhow::Result<Self> {
        if let Some(topic) = &args.to_topic {
            if args.storage.kafka.is_none() {
                bail!("--to-topic needs --kafka");
            }
            let need = TopicNeed::data(topic.as_str(), 1);
            backbone.log.ensure_topic(&need).await?;
            let at = TopicPartition {
                topic: topic.clone(),
                partition: PartitionId(0),
            };
            return Ok(Self::Topic {
                log: Arc::clone(&backbone.log),
                at,
                waiting: VecDeque::new(),
            });
        }
        if let (Some(stream), Some(url)) = (&args.to_stream, &args.url) {
            let client = Client::new(url)?;
            let target = crate::load::StreamColumns::fetch(&client, stream).await?;
            let unknown = def
                .schema()
                .columns()
                .iter()
                .find(|c| !target.names.contains(&c.name));
            if let Some(column) = unknown {
                bail!(
                    "stream {stream} of the service has no column `{}`",
                    column.name
                );
            }
            let sender = Sender::new(&client, stream, &one_time_source()?, PATIENCE);
            return Ok(Self::Stream(Box::new(sender)));
        }
        let format = match args.format {
            ReplayFormat::Ndjson => OutputFormat::NdJson,
            ReplayFormat::Arrow => OutputFormat::Arrow,
        };
        Ok(Self::Output {
            format,
            encoder: None,
            schema: None,
        })
    }

    pub(super) async fn send(&mut self, rows: &RecordBatch) -> anyhow::Result<()> {
        match self {
            Self::Output {
                format,
                encoder,
                schema,
            } => {
                let schema = schema.get_or_insert_with(|| rows.schema());
                let encoder = match encoder {
                    Some(encoder) => encoder,
                    None => encoder.insert(Encoder::new(*format, schema)?),
                };
                write(&encoder.encode(rows)?)
            }
            Self::Topic { log, at, waiting } => {
                for row in json_rows(rows)? {
                    if waiting.len() >= MAX_UNDELIVERED
                        && let Some(delivery) = waiting.pop_front()
                    {
                        delivery.await?;
                    }
                    waiting.push_back(log.enqueue(at, row).await?);
                }
                Ok(())
            }
            Self::Stream(sender) => {
                sender.send(&own_columns(rows)?).await?;
                Ok(())
            }
        }
    }

    pub(super) async fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Output {
                encoder: Some(encoder),
                ..
            } => write(&encoder.finish()?),
            Self::Topic { waiting, .. } => {
                for delivery in waiting {
                    delivery.await?;
                }
                Ok(())
            }
            Self::Output { .. } | Self::Stream(_) => Ok(()),
        }
    }
}

fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.context("cannot write the rows")
}

/// A JSON object a row.
fn json_rows(rows: &RecordBatch) -> anyhow::Result<Vec<Bytes>> {
    let mut encoder = Encoder::new(OutputFormat::NdJson, &rows.schema())?;
    let text = encoder.encode(rows)?;
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    Ok(lines.map(|line| text.slice_ref(line)).collect())
}

/// The rows as a client would send them: stamps and writers are the other service's to give.
fn own_columns(rows: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let schema = rows.schema();
    let own = schema.fields().iter().enumerate();
    let own = own.filter(|(_, field)| !SYSTEM_COLUMNS.contains(&field.name().as_str()));
    Ok(rows.project(&own.map(|(place, _)| place).collect::<Vec<_>>())?)
}
