//! `tourbillon demo`: the whole pipeline in one process, under load, and then the proof.
//!
//! ```text
//! feed -> gateway A (fast clock) \                 / worker -> Parquet \
//!      -> gateway B (slow clock) -> embedded log -<                    -> query -> check
//!                                                  \ live tails       /
//! ```
//!
//! Exit code 0 only if every acknowledged row is in the window once, the order is strict, and
//! every segment made again from the log is the stored one byte for byte.

mod check;
mod feed;
mod live;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::args::DemoArgs;
use crate::out::{self, Outcome, thousands};
use crate::server::signalled;
use crate::telemetry;
use check::Proof;
use feed::{Feed, Record};
use live::{Delays, Live};
use stage::Stage;

/// Largest difference of the clocks: the log refuses stamps 500 ms ahead of it.
const MAX_SKEW: Duration = Duration::from_millis(800);

/// How long the roles may take to get ready.
const READY: Duration = Duration::from_secs(30);

/// Runs the demo.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<Outcome> {
    if args.skew > MAX_SKEW {
        bail!(
            "--skew: at most 800ms, since half of it must stay below the 500ms that a stamp may lie ahead of the log's clock"
        );
    }
    let metrics = telemetry::start_metrics()?;
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("cannot make a temporary folder")?),
    };
    let folder = args
        .data
        .clone()
        .or_else(|| Some(temporary.as_ref()?.path().to_owned()));
    let folder = folder.context("no data folder")?;
    let stage = Stage::start(&folder, args.listen, args.skew, metrics).await?;
    timeout(READY, stage.until_ready())
        .await
        .context("the roles did not get ready")?;
    out::note(&format!(
        "listening on http://{} (data in {})",
        stage.address(),
        folder.display()
    ));
    let outcome = perform(&args, stage).await;
    if let (Ok(_), Some(data)) = (&outcome, &args.data) {
        out::note(&format!(
            "the data stays in {}: tourbillon standalone --data {}",
            data.display(),
            data.display()
        ));
    }
    outcome
}

async fn perform(args: &DemoArgs, stage: Stage) -> anyhow::Result<Outcome> {
    let record = Arc::new(Record::default());
    let (older_rows, complete) = stage.begin()?;
    record.begin(complete + 1);
    let delays = Arc::new(Delays::default());
    let feed = Feed::open(args, &stage).await?;
    let begun = Instant::now();
    let live = Live::start(
        &stage,
        Arc::clone(&record),
        Arc::clone(&delays),
        args.duration,
    );
    let fed = tokio::select! {
        fed = feed.run(args.duration, &record, &delays) => fed,
        stopped = signalled() => stopped,
    };
    let took = begun.elapsed();
    live.stop().await;
    fed.context("the feed broke off")?;
    let mut proof = check::prove(stage, &record, older_rows).await?;
    proof.probed_rows = delays.probes();
    summarize(args, &proof, &delays, took);
    Ok(if proof.holds() {
        Outcome::Done
    } else {
        Outcome::Difference
    })
}

fn summarize(args: &DemoArgs, proof: &Proof, delays: &Delays, took: Duration) {
    let [queryable, watermark] = [delays.queryable(), delays.watermark()];
    let rate = out::per_second(proof.acknowledged, took);
    if args.json {
        let summary = json!({
            "acknowledged_rows": proof.acknowledged,
            "window_rows": proof.window_rows,
            "rows_once": proof.once,
            "strict_order": proof.strict_order,
            "sealed_rows": proof.sealed_rows,
            "tail_rows": proof.open_rows,
            "segments_rebuilt": proof.segments,
            "commits": proof.commits,
            "duplicate_rows": proof.duplicate_rows,
            "rejected_rows": proof.rejected_rows,
            "differences": proof.differences,
            "rows_per_second": rate,
            "event_to_queryable_ms": { "p50": queryable.p50_ms, "p99": queryable.p99_ms },
            "watermark_delay_ms": { "p50": watermark.p50_ms, "p99": watermark.p99_ms },
            "holds": proof.holds(),
        });
        return out::line(&summary.to_string());
    }
    let skew = humantime::format_duration(args.skew);
    let yes = |good: bool| if good { "yes" } else { "NO" };
    let ms = |value: f64| format!("{value:.1} ms");
    let lines = [
        (
            "rows acknowledged",
            format!(
                "{} ({} rows/s)",
                thousands(proof.acknowledged),
                thousands(rate)
            ),
        ),
        (
            "rows in the window",
            format!(
                "{}; each once: {}; in strict (hlc, writer) order: {}",
                thousands(proof.window_rows),
                yes(proof.once),
                yes(proof.strict_order)
            ),
        ),
        (
            "rebuilt from the log",
            format!(
                "{} segments in {} commits, byte for byte: {}",
                thousands(proof.segments),
                thousands(proof.commits),
                yes(proof.differences.is_empty())
            ),
        ),
        (
            "where the rows are",
            format!(
                "{} sealed, {} in the tail; {} duplicate, {} rejected",
                thousands(proof.sealed_rows),
                thousands(proof.open_rows),
                thousands(proof.duplicate_rows),
                thousands(proof.rejected_rows)
            ),
        ),
        (
            "event to queryable",
            format!("p50 {}, p99 {}", ms(queryable.p50_ms), ms(queryable.p99_ms)),
        ),
        (
            "watermark delay",
            format!(
                "p50 {}, p99 {} (two gateways, clocks {skew} apart)",
                ms(watermark.p50_ms),
                ms(watermark.p99_ms)
            ),
        ),
    ];
    for (name, text) in lines {
        out::line(&format!("{name:<22}{text}"));
    }
    for difference in &proof.differences {
        out::line(&format!("  {difference}"));
    }
    out::line(if proof.holds() {
        "verified"
    } else {
        "NOT VERIFIED"
    });
}
