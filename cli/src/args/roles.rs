//! Flags of the services and of the demo.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tourbillon_core::control::MAX_PARTITIONS;
use tourbillon_log::control::DEFAULT_PARTITIONS;

use super::FileArgs;
use crate::server::Origin;

/// Where to listen.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListenArgs {
    /// Address of the HTTP interface; port 0 takes a free one.
    #[arg(long, env = "TOURBILLON_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Let web pages of this origin use the interface, as https://example.org, or `*` for all
    /// pages; may be repeated. By default none may.
    #[arg(
        long = "cors-origin",
        env = "TOURBILLON_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub(crate) cors_origins: Vec<Origin>,
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
    /// durability and order depend on cannot be changed. Passwords are refused here: they belong
    /// into a file or into the variable.
    #[arg(
        long = "kafka-option",
        env = "TOURBILLON_KAFKA_OPTIONS",
        value_name = "KEY=VALUE",
        value_delimiter = ';',
        hide_env_values = true
    )]
    pub(crate) kafka_options: Vec<OptionText>,
    /// File with librdkafka settings, KEY=VALUE lines: for passwords. Other settings win.
    #[arg(long, env = "TOURBILLON_KAFKA_OPTIONS_FILE", value_name = "FILE")]
    pub(crate) kafka_options_file: Option<PathBuf>,
    /// Replicas of new topics; by default 3, or as many as there are brokers. Topics with fewer
    /// are refused.
    #[arg(long, env = "TOURBILLON_REPLICATION", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) replication: Option<u16>,
    /// How long topics keep records; for ever if not given. Must outlive any outage of the workers.
    #[arg(long, env = "TOURBILLON_TOPIC_RETENTION", value_parser = humantime::parse_duration)]
    pub(crate) topic_retention: Option<Duration>,
    /// First part of every topic's name.
    #[arg(long, env = "TOURBILLON_TOPIC_PREFIX", default_value = "tourbillon")]
    pub(crate) topic_prefix: String,
}

/// A setting that may hold a password, so `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct OptionText(String);

impl OptionText {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl From<String> for OptionText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for OptionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
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
    /// Partitions of new streams whose creator names no number, and of those that exist from the
    /// start.
    #[arg(long, env = "TOURBILLON_PARTITIONS", default_value_t = DEFAULT_PARTITIONS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PARTITIONS)))]
    pub(crate) partitions: u32,
    /// Refuse line protocol for streams or columns that do not exist, instead of making them.
    #[arg(long, env = "TOURBILLON_NO_AUTO_CREATE")]
    pub(crate) no_auto_create: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpkeepArgs {
    /// How long files stay in the store after compaction has replaced them, or retention has let
    /// them go, so that answers under way can end. Must outlast the longest answer.
    #[arg(long, env = "TOURBILLON_GRACE", default_value = "15m", value_parser = humantime::parse_duration)]
    pub(crate) grace: Duration,
}

/// What windows may use.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ReadArgs {
    /// Memory for decoded rows of files, MiB: windows of few rows are then answered without the
    /// store. More for more history that is asked for again and again; 0 keeps none.
    #[arg(long, env = "TOURBILLON_WINDOW_CACHE_MIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(..=1_048_576))]
    pub(crate) window_cache_mib: u32,
}

/// What SQL statements may use, and where Flight SQL is served.
#[derive(Clone, Debug, Args)]
pub(crate) struct SqlArgs {
    /// Memory of all SQL statements together, MiB: sorts, groups and joins that do not fit are
    /// refused. Nothing is spilled to disk.
    #[arg(long, env = "TOURBILLON_SQL_MEMORY_MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) sql_memory_mib: u32,
    /// Most rows of an answer to a SQL statement.
    #[arg(long, env = "TOURBILLON_SQL_MAX_ROWS", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sql_max_rows: u64,
    /// Most time of a SQL statement, until its last row is taken.
    #[arg(long, env = "TOURBILLON_SQL_TIMEOUT", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) sql_timeout: Duration,
    /// SQL statements at once; beyond, clients get 429.
    #[arg(long, env = "TOURBILLON_SQL_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) sql_concurrency: u16,
    /// Serve Arrow Flight SQL (ADBC, JDBC, DBeaver) on this address too, without TLS or login; by
    /// default it is not served.
    #[arg(long, env = "TOURBILLON_FLIGHT_LISTEN", value_name = "ADDR")]
    pub(crate) flight_listen: Option<SocketAddr>,
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
    #[command(flatten)]
    pub(crate) upkeep: UpkeepArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) sql: SqlArgs,
}

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) http: ListenArgs,
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    #[command(flatten)]
    pub(crate) stop: DrainArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShardWorkerArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) http: ListenArgs,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    #[command(flatten)]
    pub(crate) upkeep: UpkeepArgs,
}

/// Which partitions a worker runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorkArgs {
    /// Name of this worker in its group: the same after a restart, unlike that of any other that
    /// runs. By default made of host name and port.
    #[arg(long, env = "TOURBILLON_WORKER_NAME", value_name = "NAME")]
    pub(crate) worker_name: Option<String>,
    /// Consumer group of Kafka that spreads the partitions over its workers; by default the topic
    /// prefix with `-workers` behind it.
    #[arg(long, env = "TOURBILLON_WORKER_GROUP", value_name = "GROUP")]
    pub(crate) worker_group: Option<String>,
    /// Give the partitions to other workers as soon as this one stops. By default its place is
    /// kept for the session's time (10 s), so that a restart moves nothing.
    #[arg(long, env = "TOURBILLON_LEAVE_ON_STOP")]
    pub(crate) leave_on_stop: bool,
    /// Join no group, but take a fixed share of the partitions, counted from 0, of so many:
    /// partition p goes to share p modulo N. Two workers with one share do the same work and
    /// agree; none is missed only if every share runs.
    #[arg(
        long,
        env = "TOURBILLON_SHARE",
        value_name = "I/N",
        value_parser = parse_share,
        conflicts_with_all = ["worker_name", "worker_group", "leave_on_stop"]
    )]
    pub(crate) share: Option<(u32, u32)>,
}

/// How a process behind a load balancer stops.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DrainArgs {
    /// How long to serve on after the signal to stop, with 503 at /readyz, so that a load balancer
    /// stops sending requests first: somewhat longer than its checks take to notice.
    #[arg(long, env = "TOURBILLON_DRAIN", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) drain: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) http: ListenArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) sql: SqlArgs,
    #[command(flatten)]
    pub(crate) stop: DrainArgs,
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
    /// Serve Arrow Flight SQL on this address too.
    #[arg(long, value_name = "ADDR")]
    pub(crate) flight_listen: Option<SocketAddr>,
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
    use super::*;

    #[test]
    fn a_worker_has_a_share_or_a_group() {
        use clap::Parser;
        let parses = |flags: &[&str]| {
            let role = [
                "tourbillon",
                "shard-worker",
                "--kafka",
                "k:1",
                "--store",
                "s3://b",
            ];
            let args = role.iter().chain(flags);
            crate::args::Cli::try_parse_from(args).is_ok()
        };
        assert!(parses(&[]) && parses(&["--share", "1/2"]));
        assert!(parses(&["--worker-name", "w", "--leave-on-stop"]));
        assert!(!parses(&["--share", "1/2", "--worker-name", "w"]));
        assert!(!parses(&["--share", "1/2", "--leave-on-stop"]));
    }

    #[test]
    fn shares_are_counted_from_zero() {
        assert_eq!(parse_share("2/3"), Ok((2, 3)));
        for bad in ["3/3", "1", "a/b", "0/0", "-1/2"] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }
}
