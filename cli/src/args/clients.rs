//! Flags of commands that talk to a running service.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

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
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Columns to print, separated by commas.
    #[arg(long)]
    pub(crate) columns: Option<String>,
    /// asc or desc.
    #[arg(long)]
    pub(crate) order: Option<String>,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

/// Which rows are asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct RangeArgs {
    /// First moment, RFC 3339 or integer ns.
    #[arg(long)]
    pub(crate) start: Option<String>,
    /// Moment after the last.
    #[arg(long)]
    pub(crate) end: Option<String>,
    /// What start, end and the order go by: hlc (the order of the stream, the default) or event
    /// (the event-time column).
    #[arg(long)]
    pub(crate) time: Option<String>,
    /// Only rows whose key column has one of these values; may be repeated for other columns.
    #[arg(long = "key", value_name = "COLUMN=VALUE[,VALUE]")]
    pub(crate) keys: Vec<String>,
    /// Most rows of the answer.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// final (only what can never change, the default) or latest (all there is).
    #[arg(long)]
    pub(crate) consistency: Option<String>,
    /// How long to wait until the window is complete.
    #[arg(long)]
    pub(crate) wait: Option<String>,
}

/// How rows are printed.
#[derive(Clone, Debug, Args)]
pub(crate) struct PrintArgs {
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: PrintFormat,
    /// Write to this file instead of standard output.
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tourbillon bars trades --interval 1s --key symbol=BTCUSDT
  tourbillon bars trades --interval 1m --time event --start 2026-01-31T09:30:00Z --format csv
  tourbillon bars quotes --interval 100ms --price bid --size bid_size --order desc --limit 20")]
pub(crate) struct BarsArgs {
    /// The stream.
    pub(crate) stream: String,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    /// Length of a bar, 1ms to 1d.
    #[arg(long)]
    pub(crate) interval: String,
    /// The column of prices; `price` by default.
    #[arg(long)]
    pub(crate) price: Option<String>,
    /// The column of sizes; `size` by default.
    #[arg(long)]
    pub(crate) size: Option<String>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// asc or desc.
    #[arg(long)]
    pub(crate) order: Option<String>,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tourbillon asof trades quotes --tolerance 1s --key symbol=BTCUSDT
  tourbillon asof trades quotes --time event --right-columns bid,ask --format parquet -o joined.parquet
  tourbillon asof trades trades --on symbol --columns price --right-columns venue,price")]
pub(crate) struct AsofArgs {
    /// The stream whose rows are all printed.
    pub(crate) left: String,
    /// The stream of which the newest row that is not later is added to each.
    pub(crate) right: String,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    /// Columns with equal values, separated by commas; by default the key columns that both have.
    #[arg(long)]
    pub(crate) on: Option<String>,
    /// How much older the right row may be, like 1s; any age by default.
    #[arg(long)]
    pub(crate) tolerance: Option<String>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Columns of the left stream to print, separated by commas.
    #[arg(long)]
    pub(crate) columns: Option<String>,
    /// Columns of the right stream to print, separated by commas.
    #[arg(long)]
    pub(crate) right_columns: Option<String>,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tourbillon sql \"select symbol, count(*), sum(size) from trades group by symbol\"
  tourbillon sql \"select * from trades where symbol = 'BTCUSDT' order by hlc desc limit 20\"
  tourbillon sql --file report.sql --format parquet --output report.parquet
  echo 'show tables' | tourbillon sql -

Every stream is a table; a statement sees one snapshot of all that it names, tails included. Names with
capitals or dashes need double quotes.")]
pub(crate) struct SqlCommandArgs {
    /// The statement; `-` reads it from standard input.
    #[arg(required_unless_present = "file")]
    pub(crate) statement: Option<String>,
    /// Read the statement from this file.
    #[arg(long, conflicts_with = "statement", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    /// Only the rows of this snapshot, as --show-snapshot tells it.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) snapshot: Option<String>,
    /// Tell the snapshot of the answer on standard error.
    #[arg(long)]
    pub(crate) show_snapshot: bool,
    /// latest (all there is, the default) or final (only what can never change).
    #[arg(long)]
    pub(crate) consistency: Option<String>,
    /// How long to wait until the service has followed as far as the snapshot.
    #[arg(long)]
    pub(crate) wait: Option<String>,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
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
    /// Where to begin: `earliest`, RFC 3339 or integer ns; by default where the stream is complete
    /// now.
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
    /// How long after the last sign of the service a new connection is tried, when one breaks.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) retry_for: Duration,
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
#[command(after_help = "\
Examples:
  tourbillon files trades
  duckdb -c \"SELECT count(*) FROM read_parquet([$(tourbillon files trades --quoted)])\"

A folder read with a glob holds rows twice while compaction waits for the grace; this list never does.")]
pub(crate) struct FilesArgs {
    /// The stream.
    pub(crate) stream: String,
    /// Put this before each path instead of the address of the store.
    #[arg(long, value_name = "URL")]
    pub(crate) prefix: Option<String>,
    /// One line of quoted paths with commas, for SQL.
    #[arg(long, conflicts_with = "json")]
    pub(crate) quoted: bool,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PartitionsArgs {
    /// The stream.
    pub(crate) stream: String,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}
