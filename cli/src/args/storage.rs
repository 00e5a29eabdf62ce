//! Flags of commands that read log and store themselves.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::KafkaArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tourbillon verify --data ./tourbillon-data
  tourbillon verify --kafka localhost:9092 --store s3://ticks/prod --stream trades --partition 2")]
pub(crate) struct VerifyArgs {
    /// Only this stream.
    #[arg(long)]
    pub(crate) stream: Option<String>,
    /// Only this partition.
    #[arg(long, requires = "stream")]
    pub(crate) partition: Option<u32>,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// Compare with the heads of the chains noted in this file, and note today's if all is well.
    /// Keep it where nobody who can write to the store can change it.
    #[arg(long, value_name = "FILE")]
    pub(crate) witness: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Log and store, read without a service.
#[derive(Debug, Args)]
pub(crate) struct StorageArgs {
    /// Folder of a stopped standalone service.
    #[arg(
        long,
        env = "TOURBILLON_DATA",
        value_name = "DIR",
        conflicts_with = "kafka"
    )]
    pub(crate) data: Option<PathBuf>,
    /// Kafka bootstrap brokers.
    #[arg(
        long,
        env = "TOURBILLON_KAFKA",
        value_name = "BROKERS",
        requires = "store"
    )]
    pub(crate) kafka: Option<String>,
    /// Object store, if it is not the data folder's own.
    #[arg(long, env = "TOURBILLON_STORE", value_name = "URL")]
    pub(crate) store: Option<String>,
    #[command(flatten)]
    pub(crate) kafka_settings: KafkaArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tourbillon replay --data ./tourbillon-data --stream trades > trades.ndjson
  tourbillon replay --data ./tourbillon-data --stream trades --from 2026-01-31T09:30:00Z --speed 1
  tourbillon replay --kafka localhost:9092 --store s3://ticks --stream trades --to live --to-topic copy")]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// The stream.
    #[arg(long)]
    pub(crate) stream: String,
    /// Only this partition.
    #[arg(long)]
    pub(crate) partition: Option<u32>,
    /// Where to begin: earliest, a time (RFC 3339 or an HLC as integer ns), or offset:N of a
    /// partition.
    #[arg(long, default_value = "earliest", value_name = "POSITION")]
    pub(crate) from: String,
    /// Where to end: now (what is complete when the replay begins), a time (exclusive), or live
    /// (go on until interrupted).
    #[arg(long, default_value = "now", value_name = "POSITION")]
    pub(crate) to: String,
    /// As fast as the stamps say, times this; without it as fast as possible.
    #[arg(long)]
    pub(crate) speed: Option<f64>,
    /// Form on standard output.
    #[arg(long, value_enum, default_value = "ndjson")]
    pub(crate) format: ReplayFormat,
    /// Write a JSON record a row to this Kafka topic instead, all in one partition and in order.
    #[arg(long, value_name = "TOPIC", conflicts_with = "to_stream")]
    pub(crate) to_topic: Option<String>,
    /// Send the rows to this stream of the service at --url instead. It must exist and have the
    /// same columns.
    #[arg(long, value_name = "STREAM", requires = "url")]
    pub(crate) to_stream: Option<String>,
    /// The service of --to-stream.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayFormat {
    Ndjson,
    Arrow,
}

#[derive(Debug, Args)]
pub(crate) struct CheckStoreArgs {
    /// The store, like s3://bucket/prefix.
    pub(crate) url: String,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tourbillon check-kafka broker1:9092,broker2:9092
  tourbillon check-kafka broker1:9093 --kafka-options-file kafka.options --topic tourbillon.trades

Exit codes: 0 no promise would break, 1 one would, or the brokers cannot be reached.")]
pub(crate) struct CheckKafkaArgs {
    /// Kafka bootstrap brokers, host:port separated by commas.
    #[arg(env = "TOURBILLON_KAFKA", value_name = "BROKERS")]
    pub(crate) brokers: String,
    /// Look at this topic, which must exist, and make no probe topic; may be repeated. Nothing is
    /// written then.
    #[arg(long = "topic", value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    #[command(flatten)]
    pub(crate) kafka_settings: KafkaArgs,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
