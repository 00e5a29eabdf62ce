//! `tourbillon replay`: the rows of a stream again, in their total order.
//!
//! A query node in this process follows log and store; the replay asks it for final windows that
//! follow one another, so a replay gives what every reader sees, from files where rows are sealed
//! and from the log where they are not, and goes over from history to live without a seam.

mod sink;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::cmp::gt_eq;
use futures::TryStreamExt;
use tokio::time::{Instant, sleep};
use tourbillon_core::control::StreamDef;
use tourbillon_core::ids::StreamName;
use tourbillon_core::time::parse_time_ns;
use tourbillon_query::QueryService;
use tourbillon_query::params::WindowParams;
use tourbillon_query::window::Window;

use crate::args::ReplayArgs;
use crate::backbone::Backbone;
use crate::load::Pacer;
use crate::out::{self, Outcome, per_second, thousands};
use crate::server::signalled;
use sink::Sink;

/// Pause between two looks at how far the stream is complete.
const PAUSE: Duration = Duration::from_millis(20);

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Column of log offsets.
const OFFSET: &str = "log_offset";

/// What is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: i64,
    /// Rows below this offset are left out.
    from_offset: Option<u64>,
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// What is complete at the beginning.
    #[default]
    Now,
    At(i64),
    Live,
}

/// Replays until the end of the range, or until interrupted.
pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<Outcome> {
    let span = span(&args)?;
    let backbone = Backbone::storage(&args.storage).await?;
    let name = StreamName::new(args.stream.as_str())?;
    let def = backbone.control.view().streams.get(&name).map(Arc::clone);
    let def = def.with_context(|| format!("there is no stream `{name}`"))?;
    let service = backbone.query();
    let replayed = tokio::select! {
        stopped = signalled() => stopped.map(|()| 0),
        replayed = replay(&args, span, &backbone, &service, &def) => replayed,
    };
    service.shutdown().await;
    backbone.close().await?;
    replayed.map(|_| Outcome::Done)
}

fn span(args: &ReplayArgs) -> anyhow::Result<Span> {
    let mut span = Span::default();
    match (args.from.as_str(), args.from.strip_prefix("offset:")) {
        ("earliest", _) => {}
        (_, Some(offset)) => {
            if args.partition.is_none() {
                bail!("--from offset:N needs --partition, since every partition counts its own");
            }
            let offset = offset.parse();
            span.from_offset = Some(offset.context("--from offset:N: N is no whole number")?);
        }
        (time, None) => span.start = parse_time_ns(time).context("--from")?,
    }
    span.end = match args.to.as_str() {
        "now" => End::Now,
        "live" => End::Live,
        time => End::At(parse_time_ns(time).context("--to")?),
    };
    if matches!(span.end, End::At(end) if end < span.start) {
        bail!("--to lies before --from");
    }
    Ok(span)
}

async fn replay(
    args: &ReplayArgs,
    span: Span,
    backbone: &Backbone,
    service: &QueryService,
    def: &Arc<StreamDef>,
) -> anyhow::Result<u64> {
    while !service.is_ready() {
        sleep(PAUSE).await;
    }
    let mut params = WindowParams::everything(def.schema());
    params.partition = args.partition;
    params.start = span.start;
    params.end = match span.end {
        End::Now => Some(service.complete_through(def)?.plus(1).0.max(span.start)),
        End::At(end) => Some(end),
        End::Live => None,
    };
    if span.from_offset.is_some() {
        params.columns.insert(2, OFFSET.to_owned());
    }
    let mut player = Player {
        from_offset: span.from_offset,
        pacer: match args.speed {
            Some(speed) => Some(Pacer::new(speed, "hlc".into())?),
            None => None,
        },
        sink: Sink::open(args, backbone, def).await?,
        rows: 0,
        begun: Instant::now(),
        told: Instant::now(),
    };
    loop {
        let end = params.end;
        if let (Some(end), true) = (end, matches!(span.end, End::At(_))) {
            // a window is asked for as soon as a part of it is complete
            let complete = service.complete_through(def)?.plus(1).0;
            params.end = Some(end.min(complete).max(params.start));
        }
        let window = service.window(def, &params).await?;
        let next = params.end.unwrap_or(window.complete_through.0 + 1);
        player.play(window).await?;
        params.start = next;
        params.end = end;
        if end.is_some_and(|end| next >= end) {
            break;
        }
        sleep(PAUSE).await;
    }
    player.finish().await
}

/// Rows on their way out.
struct Player {
    from_offset: Option<u64>,
    pacer: Option<Pacer>,
    sink: Sink,
    rows: u64,
    begun: Instant,
    told: Instant,
}

impl Player {
    async fn play(&mut self, window: Window) -> anyhow::Result<()> {
        let mut batches = window.batches;
        while let Some(batch) = batches.try_next().await? {
            let mut rest = self.wanted(&batch)?;
            match self.pacer.take() {
                None => self.send(&rest).await?,
                Some(mut pacer) => {
                    while let Some((due, later)) = pacer.split(&rest).await? {
                        self.send(&due).await?;
                        rest = later;
                    }
                    self.pacer = Some(pacer);
                }
            }
        }
        Ok(())
    }

    fn wanted(&self, batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
        let (Some(from), Some(offsets)) = (self.from_offset, batch.column_by_name(OFFSET)) else {
            return Ok(batch.clone());
        };
        let keep = gt_eq(offsets, &UInt64Array::new_scalar(from))?;
        Ok(filter_record_batch(batch, &keep)?)
    }

    async fn send(&mut self, rows: &RecordBatch) -> anyhow::Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.sink.send(rows).await?;
        self.rows += rows.num_rows() as u64;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let rate = per_second(self.rows, self.begun.elapsed());
            let (rows, rate) = (thousands(self.rows), thousands(rate));
            out::note(&format!("{rows} rows, {rate} rows/s"));
        }
        Ok(())
    }

    async fn finish(self) -> anyhow::Result<u64> {
        self.sink.finish().await?;
        let took = self.begun.elapsed();
        out::note(&format!(
            "{} rows replayed in {:.2} s ({} rows/s)",
            thousands(self.rows),
            took.as_secs_f64(),
            thousands(per_second(self.rows, took)),
        ));
        Ok(self.rows)
    }
}
