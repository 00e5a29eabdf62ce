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
mod summary;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, timeout};

use crate::args::DemoArgs;
use crate::out::{self, Outcome};
use crate::server::signalled;
use crate::telemetry;
use feed::{Feed, Record};
use live::{Delays, Live};
use stage::Stage;
use summary::Summary;

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
    let stage = Stage::start(&folder, args.listen, args.flight_listen, args.skew, metrics).await?;
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
    let summary = Summary {
        proof: &proof,
        took,
        skew: args.skew,
        queryable: delays.queryable(),
        watermark: delays.watermark(),
    };
    match args.json {
        true => out::line(&summary.json().to_string()),
        false => summary.tell(),
    }
    Ok(if proof.holds() {
        Outcome::Done
    } else {
        Outcome::Difference
    })
}
