//! `tourbillon load`: a file of ticks to a stream of a running service, in file order.
//!
//! ```text
//! file -> source (batches of text or typed columns) -> mapping -> pacing -> sender (source, sequence)
//! ```
//!
//! One request is under way at a time, so that rows get their stamps in the order of the file, and
//! batches are cut the same way each time, so that a repeat is recognised.

mod mapping;
mod pacing;
mod sender;
mod source;
mod text;

use std::time::Duration;

use anyhow::{Context, bail};
use arrow::datatypes::{Schema, SchemaRef};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::args::{FileArgs, LoadArgs};
use crate::client::Client;
use crate::out::{self, Outcome, per_second, thousands};
pub(crate) use mapping::{Mapping, StreamColumns};
pub(crate) use pacing::Pacer;
pub(crate) use sender::{Sender, one_time_source};
pub(crate) use source::Source;

/// How often progress is told where no bar can be drawn.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Pause between two attempts to reach the service at first.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Loads a file.
pub(crate) async fn run(args: LoadArgs) -> anyhow::Result<Outcome> {
    let client = Client::new(&args.service.url)?;
    let stream = described(&client, &args).await?;
    let mut pacer = match args.speed {
        Some(speed) => Some(Pacer::new(speed, stream.paced_by()?)?),
        None => None,
    };
    let source_name = match (&args.source, &pacer) {
        (Some(name), None) => name.clone(),
        (Some(_), Some(_)) => bail!(
            "--speed cuts batches by the clock, so --source cannot recognise repeats: leave one out"
        ),
        (None, None) => fingerprint(&args)?,
        (None, Some(_)) => one_time_source()?,
    };
    let mut source = Source::open(&args.file, &args.input, &stream, args.batch_rows as usize)?;
    let mapping = source.mapping(&args.input, &stream)?;
    for field in mapping.left_out() {
        out::note(&format!(
            "field `{field}` is not loaded: no column of {} takes it",
            args.stream
        ));
    }
    let mut sender = Sender::new(&client, &args.stream, &source_name, args.retry_for);
    let mut progress = Progress::new(source.total());
    while let Some(batch) = source.next().await? {
        let rows = mapping
            .apply(&batch, progress.rows)
            .with_context(|| format!("{}", args.file.display()))?;
        match &mut pacer {
            None => drop(sender.send(&rows).await?),
            Some(pacer) => {
                let mut rest = rows;
                while let Some((due, later)) = pacer.split(&rest).await? {
                    sender.send(&due).await?;
                    rest = later;
                }
            }
        }
        progress.advance(batch.num_rows() as u64, source.position());
    }
    let took = progress.finish();
    let rows = progress.rows;
    if args.json {
        let summary = json!({ "rows": rows, "seconds": took.as_secs_f64(), "source": source_name, "repeated_requests": sender.repeats() });
        out::line(&summary.to_string());
    } else {
        out::line(&format!(
            "{} rows acknowledged in {:.2} s ({} rows/s), source {source_name}",
            thousands(rows),
            took.as_secs_f64(),
            thousands(per_second(rows, took)),
        ));
    }
    Ok(Outcome::Done)
}

/// The stream's columns, as soon as the service can be reached.
async fn described(client: &Client, args: &LoadArgs) -> anyhow::Result<StreamColumns> {
    let until = Instant::now() + args.retry_for;
    loop {
        let fetched = StreamColumns::fetch(client, &args.stream).await;
        let cut_off = |error: &anyhow::Error| error.downcast_ref::<reqwest::Error>().is_some();
        match fetched {
            Err(error) if cut_off(&error) && Instant::now() < until => sleep(RETRY_PAUSE).await,
            other => return other,
        }
    }
}

/// A name for what is loaded and how it is cut: the same for a repeat, another for other rows.
fn fingerprint(args: &LoadArgs) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = std::fs::File::open(&args.file)
        .with_context(|| format!("cannot open {}", args.file.display()))?;
    hasher
        .update_reader(&mut file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let FileArgs { format, map, set } = &args.input;
    hasher.update(
        format!(
            "{format:?} {map:?} {set:?} {} {}",
            args.batch_rows, args.stream
        )
        .as_bytes(),
    );
    let digest = hasher.finalize().to_hex();
    Ok(format!("load-{}", &digest[..24]))
}

/// The schema of fields that take part.
pub(crate) fn schema_of(fields: Vec<arrow::datatypes::Field>) -> SchemaRef {
    Schema::new(fields).into()
}

/// A bar for people, lines for logs.
struct Progress {
    bar: ProgressBar,
    rows: u64,
    begun: Instant,
    told: Instant,
    total: u64,
}

impl Progress {
    fn new(total: u64) -> Self {
        let now = Instant::now();
        Self {
            bar: out::bar(total),
            rows: 0,
            begun: now,
            told: now,
            total,
        }
    }

    fn advance(&mut self, rows: u64, position: u64) {
        self.rows += rows;
        let rate = per_second(self.rows, self.begun.elapsed());
        let message = format!("{} rows, {} rows/s", thousands(self.rows), thousands(rate));
        self.bar.set_position(position.min(self.total));
        self.bar.set_message(message.clone());
        if self.bar.is_hidden() && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let percent = position.saturating_mul(100) / self.total.max(1);
            out::note(&format!("{percent}% {message}"));
        }
    }

    fn finish(&self) -> Duration {
        self.bar.finish_and_clear();
        self.begun.elapsed()
    }
}
