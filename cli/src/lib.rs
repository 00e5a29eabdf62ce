//! The command line of Tourbillon: it parses, wires and runs; the work is done in the other crates.
//!
//! ```text
//! args + config -> backbone (log, control topic, lake) -> roles -> HTTP server -> ordered shutdown
//! ```

mod allocator;
mod args;
mod backbone;
mod client;
mod commands;
mod config;
mod demo;
mod kafka;
mod load;
pub mod market;
mod out;
mod server;
mod sql;
mod telemetry;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};
use out::Outcome;

/// Threads that read files and do other work that blocks. What such a thread allocates for others
/// to free stays its own, so the runtime's default of 512 costs gigabytes after a large window.
const MAX_BLOCKING_THREADS: usize = 32;

/// Parses the process's arguments and runs the command they name.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    telemetry::start_logs(cli.command.is_service());
    if cli.command.is_service() {
        allocator::give_back_soon();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return out::failed(&error.into()),
    };
    let done = runtime.block_on(run(cli.command));
    // a blocking read of a file or pipe must not hold the exit back
    runtime.shutdown_background();
    match done {
        Ok(outcome) => outcome.into(),
        Err(error) => out::failed(&error),
    }
}

fn parse() -> Result<Cli, clap::Error> {
    let given: Vec<_> = std::env::args_os().collect();
    let mut command = Cli::command();
    let refused = kafka::refuse_secrets(&given);
    let expanded = refused.and_then(|()| config::expand(&command, given));
    let expanded = expanded.map_err(|error| {
        let text = format!("{error:#}\n");
        command.error(ErrorKind::InvalidValue, text)
    })?;
    Cli::from_arg_matches(&command.try_get_matches_from(expanded)?)
}

async fn run(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Standalone(args) => commands::serve::standalone(args).await,
        Command::Ingest(args) => commands::serve::ingest(args).await,
        Command::ShardWorker(args) => commands::serve::shard_worker(args).await,
        Command::Query(args) => commands::serve::query(args).await,
        Command::Load(args) => load::run(args).await,
        Command::Window(args) => commands::window::run(args).await,
        Command::Bars(args) => commands::bars::run(args).await,
        Command::Asof(args) => commands::asof::run(args).await,
        Command::Sql(args) => commands::sql::run(args).await,
        Command::Tail(args) => commands::tail::run(args).await,
        Command::Streams(args) => commands::list::streams(args).await,
        Command::Files(args) => commands::list::files(args).await,
        Command::Partitions(args) => commands::list::partitions(args).await,
        Command::Writers(args) => commands::list::writers(args).await,
        Command::Verify(args) => commands::verify::run(args).await,
        Command::Replay(args) => commands::replay::run(args).await,
        Command::CheckStore(args) => commands::check_store::run(args).await,
        Command::CheckKafka(args) => commands::check_kafka::run(args).await,
    }
}
