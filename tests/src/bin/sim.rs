//! Runs seeds of the simulation: `sim --seeds 0..10000`, `sim --seed 7 -v`, `sim --breaks`.

#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use tourbillon_core::broken::Rule;
use tourbillon_tests::sim::{Options, run_seeds};

/// The simulation.
#[derive(Debug, Parser)]
struct Args {
    /// Seeds to run, half-open.
    #[arg(long, value_parser = parse_range, default_value = "0..200")]
    seeds: Range<u64>,
    /// Runs one seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Switches a safety rule off; the run then succeeds if it is caught.
    #[arg(long = "break", value_parser = parse_rule)]
    broken: Option<Rule>,
    /// Goes on after a failing seed.
    #[arg(long)]
    keep_going: bool,
    /// Prints the events of the seed.
    #[arg(short)]
    verbose: bool,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let parts = text.split_once("..").ok_or("use FROM..TO")?;
    let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no number"));
    Ok(number(parts.0)?..number(parts.1)?)
}

fn parse_rule(name: &str) -> Result<Rule, String> {
    let names: Vec<_> = Rule::ALL.iter().map(|(_, name)| *name).collect();
    Rule::from_name(name).ok_or_else(|| format!("one of {}", names.join(", ")))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options {
        broken: args.broken,
        verbose: args.verbose,
    };
    let seeds = args.seed.map_or(args.seeds, |seed| seed..seed + 1);
    let start = tokio::time::Instant::now();
    let (mut run, mut failed) = (0u64, 0u64);
    let (mut requests, mut acked, mut samples) = (0, 0, 0);
    run_seeds(seeds, options, args.threads, |outcome| {
        outcome.lines.iter().for_each(|line| println!("{line}"));
        run += 1;
        requests += outcome.requests.0;
        acked += outcome.requests.1;
        samples += outcome.samples;
        if run % 1000 == 0 {
            println!("{run} seeds, {failed} failed");
        }
        if args.seed.is_some() {
            println!("trace {}", outcome.trace);
        }
        if !outcome.violations.is_empty() {
            failed += 1;
            println!("{outcome}");
        }
        outcome.violations.is_empty() || args.keep_going
    });
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for a rate")]
    let rate = run as f64 / seconds;
    println!(
        "{run} seeds in {seconds:.1} s ({rate:.1}/s), {failed} failed; {acked} of {requests} \
         requests acknowledged, {samples} windows compared"
    );
    let as_wished = (failed > 0) == args.broken.is_some();
    if as_wished {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
