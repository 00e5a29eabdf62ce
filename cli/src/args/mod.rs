//! What can be said on the command line, in `TOURBILLON_*` variables and in a configuration file.

mod clients;
mod roles;
mod storage;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use clients::{
    AsofArgs, BarsArgs, FileArgs, FileFormat, FilesArgs, ListArgs, LoadArgs, PartitionsArgs,
    PrintArgs, PrintFormat, RangeArgs, ServiceArgs, SqlCommandArgs, TailArgs, TailFormat,
    WindowArgs,
};
pub(crate) use roles::{
    ClusterArgs, DemoArgs, GatewayArgs, IngestArgs, KafkaArgs, QueryArgs, ReadArgs,
    ShardWorkerArgs, SqlArgs, StandaloneArgs, WorkArgs,
};
pub(crate) use storage::{
    CheckKafkaArgs, CheckStoreArgs, ReplayArgs, ReplayFormat, StorageArgs, VerifyArgs,
};

const EXAMPLES: &str = "\
Examples:
  tourbillon demo --for 20s
  tourbillon standalone --data ./tourbillon-data --listen 127.0.0.1:8080
  tourbillon load trades.csv.gz --stream trades --map ts_event=event_ms:ms
  tourbillon window trades --key symbol=BTCUSDT --limit 10
  tourbillon bars trades --interval 1s --key symbol=BTCUSDT
  tourbillon sql 'select symbol, count(*) from trades group by symbol'
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
    /// A shard worker: seals its part of the partitions into Parquet; as many as needed.
    ShardWorker(ShardWorkerArgs),
    /// A query node: follows every partition and answers windows.
    Query(QueryArgs),
    /// Send a file of ticks (CSV, NDJSON or Parquet; plain, gzip or zstd) to a running service.
    Load(LoadArgs),
    /// Print an ordered window of a stream.
    Window(WindowArgs),
    /// Print open, high, low, close, volume, vwap and count of trades by interval.
    Bars(BarsArgs),
    /// Print the rows of a stream, each with the newest row of another that is not later.
    Asof(AsofArgs),
    /// Print the answer to a SQL statement over the streams.
    Sql(SqlCommandArgs),
    /// Print complete rows as the watermark passes them, until interrupted.
    Tail(TailArgs),
    /// List streams with their columns.
    Streams(ListArgs),
    /// Show offsets, watermarks and commits of a stream's partitions.
    Partitions(PartitionsArgs),
    /// List the Parquet files that hold a stream's sealed rows, each row once.
    Files(FilesArgs),
    /// Show gateways' writers, their leases and clocks.
    Writers(ListArgs),
    /// Make every segment again from the log and compare it byte for byte; check the commit chain.
    Verify(VerifyArgs),
    /// Give the rows of a stream again in their total order: all of them or a range, at any speed.
    Replay(ReplayArgs),
    /// Prove that an object store does what the commit chain needs.
    CheckStore(CheckStoreArgs),
    /// Prove that a Kafka cluster keeps what the log promises, on a topic made for it and removed.
    CheckKafka(CheckKafkaArgs),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
