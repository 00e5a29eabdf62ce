//! What can be said on the command line, in `TOURBILLON_*` variables and in a configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  tourbillon demo --for 20s
  tourbillon standalone --data ./tourbillon-data --listen 127.0.0.1:8080
  tourbillon load trades.csv.gz --stream trades --map ts_event=event_ms:ms
  tourbillon window trades --key symbol=BTCUSDT --limit 10
  tourbillon verify --data ./tourbillon-data --stream trades

Exit codes: 0 done, 1 failed, 2 usage, 3 verification found a difference.";

/// Ordered, complete, repeatable market ticks: ingest, store, replay and query.
#[derive(Debug, Parser)]
#[command(name = "tourbillon", version, after_help = EXAMPLES, args_override_self = true)]
pub(crate) struct Cli {
    /// TOML file with settings: a table a command, keys as the flags; flags and variables win.
    #[arg(long, global = true, env = "TOURBILLON_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole pipeline in one process on simulated or recorded ticks, then prove it exact.
    Demo(DemoArgs),
    /// All roles in one process: embedded log, local folder.
    Standalone(StandaloneArgs),
    /// An ingest gateway: stateless, as many as needed behind a load balancer.
    Ingest(IngestArgs),
    /// A shard worker: seals its share of the partitions into Parquet.
    ShardWorker(ShardWorkerArgs),
    /// A query node: follows every partition and answers windows.
    Query(QueryArgs),
    /// Send a file of ticks (CSV, NDJSON or Parquet; plain, gzip or zstd) to a running service.
    Load(LoadArgs),
    /// Print an ordered window of a stream.
    Window(WindowArgs),
    /// Print complete rows as the watermark passes them, until interrupted.
    Tail(TailArgs),
    /// List streams with their columns.
    Streams(ListArgs),
    /// Show offsets, watermarks and commits of a stream's partitions.
    Partitions(PartitionsArgs),
    /// Show gateways' writers, their leases and clocks.
    Writers(ListArgs),
    /// Make every segment again from the log and compare it byte for byte; check the commit chain.
    Verify(VerifyArgs),
    /// Give the rows of a stream again in their total order: all of them or a range, at any speed.
    Replay(ReplayArgs),
    /// Prove that an object store does what the commit chain needs.
    CheckStore(CheckStoreArgs),
}

impl Command {
    /// Whether it runs until stopped and reports through its log.
    pub(crate) fn is_service(&self) -> bool {
        matches!(
            self,
            Self::Standalone(_) | Self::Ingest(_) | Self::ShardWorker(_) | Self::Query(_)
        )
    }
}

/// Where to listen.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListenArgs {
    /// Address of the HTTP interface; port 0 takes a free one.
    #[arg(long, env = "TOURBILLON_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
}

/// Kafka and the object store.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Kafka bootstrap brokers, host:port separated by commas.
    #[arg(long, env = "TOURBILLON_KAFKA", value_name = "BROKERS")]
    pub(crate) kafka: String,
    /// Object store: s3://bucket/prefix, file:///folder (gs:// and az:// by cargo feature).
    /// Credentials and endpoint come from the vendor's own variables, like AWS_ENDPOINT.
    #[arg(long, env = "TOURBILLON_STORE", value_name = "URL")]
    pub(crate) store: String,
    #[command(flatten)]
    pub(crate) kafka_settings: KafkaArgs,
}

/// Details of the Kafka connection.
#[derive(Clone, Debug, Args)]
pub(crate) struct KafkaArgs {
    /// A librdkafka setting, like security.protocol=SASL_SSL; may be repeated. Settings that
    /// durability and order depend on cannot be changed.
    #[arg(
        long = "kafka-option",
        env = "TOURBILLON_KAFKA_OPTIONS",
        value_name = "KEY=VALUE",
        value_delimiter = ';',
        hide_env_values = true
    )]
    pub(crate) kafka_options: Vec<String>,
    /// Replicas of new topics; by default 3, or as many as there are brokers.
    #[arg(long, env = "TOURBILLON_REPLICATION")]
    pub(crate) replication: Option<u16>,
    /// How long topics keep records; for ever if not given. Must outlive any outage of the workers.
    #[arg(long, env = "TOURBILLON_TOPIC_RETENTION", value_parser = humantime::parse_duration)]
    pub(crate) topic_retention: Option<Duration>,
    /// First part of every topic's name.
    #[arg(long, env = "TOURBILLON_TOPIC_PREFIX", default_value = "tourbillon")]
    pub(crate) topic_prefix: String,
}

/// Settings of a gateway.
#[derive(Clone, Debug, Args)]
pub(crate) struct GatewayArgs {
    /// Name of this gateway: the same after a restart, unlike that of any other that runs.
    /// By default made of host name and port.
    #[arg(long, env = "TOURBILLON_GATEWAY_NAME", value_name = "NAME")]
    pub(crate) gateway_name: Option<String>,
    /// Lease: longer survives longer stalls of the log, shorter frees the watermark of a dead
    /// gateway sooner.
    #[arg(long, env = "TOURBILLON_LEASE", default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) lease: Duration,
    /// Idle time after which a partition is told that time has passed: bounds the delay of the
    /// watermark, costs one small record a partition each time.
    #[arg(long, env = "TOURBILLON_BEAT", default_value = "50ms", value_parser = humantime::parse_duration)]
    pub(crate) beat: Duration,
    /// How long rows wait for company in a frame: more for throughput, 0s for latency.
    #[arg(long, env = "TOURBILLON_LINGER", default_value = "1ms", value_parser = humantime::parse_duration)]
    pub(crate) linger: Duration,
    /// How far stamps of others may lie ahead of this machine's clock.
    #[arg(long, env = "TOURBILLON_MAX_DRIFT", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub(crate) max_drift: Duration,
    /// Largest request body as sent, MiB.
    #[arg(long, env = "TOURBILLON_MAX_BODY_MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_body_mib: u32,
    /// All requests in flight together, MiB; beyond, clients get 429.
    #[arg(long, env = "TOURBILLON_MAX_IN_FLIGHT_MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub(crate) max_in_flight_mib: u32,
    /// Refuse line protocol for streams or columns that do not exist, instead of making them.
    #[arg(long, env = "TOURBILLON_NO_AUTO_CREATE")]
    pub(crate) no_auto_create: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StandaloneArgs {
    /// Folder of log and files; made if absent.
    #[arg(
        long,
        env = "TOURBILLON_DATA",
        value_name = "DIR",
        default_value = "tourbillon-data"
    )]
    pub(crate) data: PathBuf,
    /// Keep the Parquet files in this store instead of DIR/lake.
    #[arg(long, env = "TOURBILLON_STORE", value_name = "URL")]
    pub(crate) store: Option<String>,
    #[command(flatten)]
    pub(crate) http: ListenArgs,
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
}

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) http: ListenArgs,
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShardWorkerArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) http: ListenArgs,
    /// Which share of the partitions, counted from 0, of how many: partition p goes to share
    /// p modulo N. Two workers with one share do the same work and agree; none is missed only if
    /// every share runs.
    #[arg(long, env = "TOURBILLON_SHARE", default_value = "0/1", value_name = "I/N", value_parser = parse_share)]
    pub(crate) share: (u32, u32),
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) http: ListenArgs,
}

/// A running service.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServiceArgs {
    /// Address of the service.
    #[arg(long, env = "TOURBILLON_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
}

/// How a file becomes rows.
#[derive(Clone, Debug, Args)]
pub(crate) struct FileArgs {
    /// Format of the file; by default by its name.
    #[arg(long, value_enum)]
    pub(crate) format: Option<FileFormat>,
    /// Where a stream's column comes from: COLUMN=FIELD, or COLUMN=FIELD:UNIT with s, ms, us or
    /// ns for whole numbers since the epoch. Columns not named here come from fields of their own
    /// name. May be repeated or separated by commas.
    #[arg(
        long = "map",
        value_name = "COLUMN=FIELD[:UNIT]",
        value_delimiter = ','
    )]
    pub(crate) map: Vec<String>,
    /// Give a column the same value in every row.
    #[arg(long = "set", value_name = "COLUMN=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tourbillon load trades.csv.gz --stream trades --map ts_event=event_ms:ms,ts_recv=recv_ts_ns:ns
  tourbillon load capture.parquet --stream ticks --batch-rows 65536
  tourbillon load day.ndjson.zst --stream trades --set venue=XNAS --speed 10

Repeating a load within the hour stores nothing twice: the source's name follows from the file and
the options, and every batch has its number.")]
pub(crate) struct LoadArgs {
    /// CSV with a header row, NDJSON or Parquet; CSV and NDJSON also as .gz or .zst.
    pub(crate) file: PathBuf,
    /// Stream to load into; it must exist.
    #[arg(long)]
    pub(crate) stream: String,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    #[command(flatten)]
    pub(crate) input: FileArgs,
    /// Rows of a request.
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_rows: u32,
    /// Send as fast as the event times say, times this; without it as fast as possible.
    #[arg(long)]
    pub(crate) speed: Option<f64>,
    /// Name of the source under which repeats are recognised, instead of one made from the file.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// How long one request is repeated before the load gives up.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) retry_for: Duration,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    Csv,
    Ndjson,
    Parquet,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tourbillon window trades --start 2026-01-31T09:30:00Z --end 2026-01-31T09:31:00Z
  tourbillon window trades --key symbol=BTCUSDT,ETHUSDT --order desc --limit 20
  tourbillon window trades --format parquet --output trades.parquet")]
pub(crate) struct WindowArgs {
    /// The stream.
    pub(crate) stream: String,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    /// First moment, RFC 3339 or integer ns.
    #[arg(long)]
    pub(crate) start: Option<String>,
    /// Moment after the last.
    #[arg(long)]
    pub(crate) end: Option<String>,
    /// Only rows whose key column has one of these values; may be repeated for other columns.
    #[arg(long = "key", value_name = "COLUMN=VALUE[,VALUE]")]
    pub(crate) keys: Vec<String>,
    /// Columns to print, separated by commas.
    #[arg(long)]
    pub(crate) columns: Option<String>,
    /// asc or desc.
    #[arg(long)]
    pub(crate) order: Option<String>,
    /// Most rows.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// final (only what can never change, the default) or latest (all there is).
    #[arg(long)]
    pub(crate) consistency: Option<String>,
    /// How long to wait until the window is complete.
    #[arg(long)]
    pub(crate) wait: Option<String>,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: PrintFormat,
    /// Write to this file instead of standard output.
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrintFormat {
    Table,
    Csv,
    Ndjson,
    Json,
    Arrow,
    Parquet,
}

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// The stream.
    pub(crate) stream: String,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    /// Where to begin, RFC 3339 or integer ns; by default where the stream is complete now.
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Only rows whose key column has one of these values; may be repeated for other columns.
    #[arg(long = "key", value_name = "COLUMN=VALUE[,VALUE]")]
    pub(crate) keys: Vec<String>,
    /// Columns to print, separated by commas.
    #[arg(long)]
    pub(crate) columns: Option<String>,
    /// csv or ndjson.
    #[arg(long, value_enum, default_value = "ndjson")]
    pub(crate) format: TailFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TailFormat {
    Csv,
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    /// Print the service's JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PartitionsArgs {
    /// The stream.
    pub(crate) stream: String,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

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
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// `simulated`, or a file of trades to play in a loop.
    #[arg(long, default_value = "simulated", value_name = "FILE|simulated")]
    pub(crate) feed: String,
    #[command(flatten)]
    pub(crate) input: FileArgs,
    /// Ticks a second.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: u32,
    /// How long to feed.
    #[arg(long = "for", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Address of the HTTP interface; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Keep the data in this folder; by default it is temporary.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Seed of the simulated market.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How far the wall clocks of the two gateways lie apart.
    #[arg(long, default_value = "200ms", value_parser = humantime::parse_duration)]
    pub(crate) skew: Duration,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_share(text: &str) -> Result<(u32, u32), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(share, shares)| Some((share.parse().ok()?, shares.parse().ok()?)));
    match parsed {
        Some((share, shares)) if share < shares => Ok((share, shares)),
        _ => Err("write I/N with I below N, like 0/3".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shares_are_counted_from_zero() {
        assert_eq!(parse_share("2/3"), Ok((2, 3)));
        for bad in ["3/3", "1", "a/b", "0/0", "-1/2"] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }
}
