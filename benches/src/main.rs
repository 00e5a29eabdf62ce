//! Figures of the pipeline's stages, each measured on rows that are counted on the other side.
//!
//! `taskset -c 0 cargo run --release -p tourbillon-benches -- all` gives those of one core.

mod bodies;
mod delay;
mod first;
mod floors;
mod gateway;
mod history;
mod kafka;
mod kafka_delay;
mod large;
mod ordered;
mod peer;
mod replay;
mod rig;
mod scale;
mod sealing;
mod small;
mod subscribers;
mod symbol;
mod windows;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::json;
use tokio::time::Instant;

/// As in the services.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures gateway, worker, windows, and the delay from acknowledgement to reader and subscribers.
#[derive(Debug, Parser)]
struct Args {
    /// Which stage.
    #[arg(value_enum, default_value = "all")]
    stage: Stage,
    /// Rows of each measurement.
    #[arg(long, default_value_t = 2_000_000)]
    rows: usize,
    /// Rows behind windows over much: `symbol` and `history`.
    #[arg(long, default_value_t = 20_000_000)]
    many_rows: usize,
    /// Measurements of each kind; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Folder for the log, on the disk to be measured; temporary below it.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// How long the slow readers of large windows read, seconds.
    #[arg(long, default_value_t = 10)]
    slow_seconds: u64,
    /// A Python that has the packages `duckdb`, `chdb`, `pyarrow` and `numpy`, to be measured beside us.
    #[arg(long, env = "TOURBILLON_PEERS_PYTHON")]
    peers_python: Option<PathBuf>,
    /// Write the figures to this file as JSON too.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    All,
    Gateway,
    Worker,
    Delay,
    Subscribers,
    Windows,
    /// One symbol out of a hundred, all of them in order, and the first rows of windows.
    Symbol,
    /// Small windows with more and more history behind them.
    History,
    /// The stream again in its order.
    Replay,
    /// More partitions and workers.
    Scale,
    /// Gateway and delays over Kafka, beside Kafka's own clients; needs TOURBILLON_KAFKA.
    Kafka,
    /// A window over a large stream, for which the `tourbillon` binary must have been built; not
    /// among `all`.
    Large,
}

/// One figure: its name, its unit and every measurement.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<f64>,
}

impl Figure {
    pub(crate) fn new(name: &str, unit: &'static str) -> Self {
        let (name, values) = (name.to_owned(), Vec::new());
        Self { name, unit, values }
    }

    fn median(&self) -> f64 {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Rows a second.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn rate(rows: usize, took: Duration) -> f64 {
    rows as f64 / took.as_secs_f64()
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let figures = runtime.block_on(measure(&args))?;
    runtime.shutdown_background();
    if let Some(path) = &args.report {
        let figure = |f: &Figure| json!({"name": f.name, "unit": f.unit, "median": f.median(), "values": f.values});
        let report = json!({ "rows": args.rows, "many_rows": args.many_rows, "figures": figures.iter().map(figure).collect::<Vec<_>>() });
        std::fs::write(path, report.to_string())?;
    }
    Ok(())
}

/// Prints a table.
pub(crate) fn print(figures: &[Figure]) -> anyhow::Result<()> {
    let mut table = String::new();
    for figure in figures {
        let all: Vec<String> = figure.values.iter().map(|v| format!("{v:.3}")).collect();
        table += &format!(
            "{:<76} {:>12.3} {:<10} [{}]\n",
            figure.name,
            figure.median(),
            figure.unit,
            all.join(" ")
        );
    }
    say(&table)
}

pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    Ok(std::io::Write::write_all(
        &mut std::io::stdout(),
        text.as_bytes(),
    )?)
}

/// Figures, each of which is printed once it is there.
#[derive(Debug, Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn add(&mut self, figures: Vec<Figure>) -> anyhow::Result<()> {
        print(&figures)?;
        self.0.extend(figures);
        Ok(())
    }
}

async fn measure(args: &Args) -> anyhow::Result<Vec<Figure>> {
    let folder = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    if args.stage == Stage::Large {
        let slow = Duration::from_secs(args.slow_seconds);
        return tokio::task::block_in_place(|| large::measure(&folder, args.rows, slow));
    }
    let begun = Instant::now();
    let wants = |stage: Stage| {
        let wanted = args.stage == Stage::All || args.stage == stage;
        if wanted {
            let line = format!("{:>5} s: {stage:?}\n", begun.elapsed().as_secs());
            // nobody may be there to be told
            drop(std::io::Write::write_all(
                &mut std::io::stderr(),
                line.as_bytes(),
            ));
        }
        wanted
    };
    let mut figures = Figures::default();
    if wants(Stage::Gateway) {
        figures.add(gateway::measure(&folder, args.rows, args.runs).await?)?;
    }
    if wants(Stage::Worker) {
        figures.add(worker::measure(&folder, args.rows, args.runs).await?)?;
    }
    if wants(Stage::Delay) {
        figures.add(delay::measure(&folder, args.runs).await?)?;
    }
    if wants(Stage::Subscribers) {
        figures.add(subscribers::measure(&folder, args.runs).await?)?;
    }
    if wants(Stage::Windows) {
        figures.add(windows::measure(&folder, args.rows, args.runs).await?)?;
    }
    if wants(Stage::Symbol) {
        let python = args.peers_python.as_deref();
        figures.add(symbol::measure(&folder, args.many_rows, args.runs, python).await?)?;
    }
    if wants(Stage::History) {
        figures.add(history::measure(&folder, args.many_rows, args.runs).await?)?;
    }
    if wants(Stage::Replay) {
        figures.add(replay::measure(&folder, args.rows, args.runs).await?)?;
    }
    if wants(Stage::Scale) {
        figures.add(scale::measure(&folder, args.rows, args.runs).await?)?;
    }
    if wants(Stage::Kafka) {
        figures.add(kafka::measure(&folder, args.rows, args.runs).await?)?;
        figures.add(kafka_delay::measure(&folder, args.runs).await?)?;
    }
    Ok(figures.0)
}
