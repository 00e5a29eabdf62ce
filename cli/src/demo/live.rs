//! The live line, and the delays it shows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tourbillon_core::control::StreamDef;
use tourbillon_query::QueryService;

use super::feed::Record;
use super::stage::Stage;
use crate::out::{self, thousands};

/// How often the line is drawn on a terminal, and in a log.
const DRAW: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Samples kept of each delay.
const MAX_SAMPLES: usize = 1 << 16;

/// Delays seen so far, microseconds.
#[derive(Debug, Default)]
pub(super) struct Delays {
    queryable: Samples,
    watermark: Samples,
    probing: AtomicBool,
}

/// Two percentiles of a delay.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Percentiles {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

#[derive(Debug, Default)]
struct Samples {
    kept: Mutex<Vec<u64>>,
    latest: AtomicU64,
}

impl Samples {
    fn add(&self, delay_us: u64) {
        self.latest.store(delay_us, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_SAMPLES {
            kept.push(delay_us);
        }
    }

    fn percentiles(&self) -> Percentiles {
        let mut kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        kept.sort_unstable();
        let at = |percent: usize| {
            let index = kept.len().saturating_sub(1) * percent / 100;
            ms(kept.get(index).copied().unwrap_or(0))
        };
        Percentiles {
            p50_ms: at(50),
            p99_ms: at(99),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "delays are far below 2^52 us")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn us(delay: Duration) -> u64 {
    u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)
}

impl Delays {
    /// Whether a row should be watched until it can be read; one at a time.
    pub(super) fn wants_probe(&self) -> bool {
        !self.probing.swap(true, Ordering::AcqRel)
    }

    /// A watched row could be read, this long after it was made.
    pub(super) fn probed(&self, delay: Option<Duration>) {
        if let Some(delay) = delay {
            self.queryable.add(us(delay));
        }
        self.probing.store(false, Ordering::Release);
    }

    /// From the event to the moment it can be read.
    pub(super) fn queryable(&self) -> Percentiles {
        self.queryable.percentiles()
    }

    /// Rows that were watched until they could be read.
    pub(super) fn probes(&self) -> usize {
        let kept = self.queryable.kept.lock();
        kept.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How far the watermark is behind the wall clock.
    pub(super) fn watermark(&self) -> Percentiles {
        self.watermark.percentiles()
    }
}

/// Draws until stopped.
pub(super) struct Live {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What the line needs.
struct Line {
    service: QueryService,
    def: Arc<StreamDef>,
    clock: Arc<dyn tourbillon_core::clock::PhysicalClock>,
    record: Arc<Record>,
    delays: Arc<Delays>,
    duration: Duration,
}

impl Live {
    pub(super) fn start(
        stage: &Stage,
        record: Arc<Record>,
        delays: Arc<Delays>,
        duration: Duration,
    ) -> Self {
        let stop = CancellationToken::new();
        let line = Line {
            service: stage.service.clone(),
            def: Arc::clone(&stage.def),
            clock: Arc::clone(&stage.backbone.clock),
            record,
            delays,
            duration,
        };
        let task = tokio::spawn(line.draw(stop.clone()));
        Self { stop, task }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the live line broke");
        }
    }
}

impl Line {
    async fn draw(self, stop: CancellationToken) {
        let watched = out::is_watched();
        let target = if watched {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(us(self.duration)), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {msg}") {
            bar.set_style(style);
        }
        let begun = Instant::now();
        let mut told = begun;
        let mut before = (begun, 0);
        let mut rate = 0;
        let mut ticks = interval(DRAW.0);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let now = Instant::now();
            let rows = self.record.acknowledged();
            if now - before.0 >= Duration::from_secs(1) {
                rate = out::per_second(rows - before.1, now - before.0);
                before = (now, rows);
            }
            let text = self.text(rows, rate);
            bar.set_position(us(begun.elapsed()));
            bar.set_message(text.clone());
            if !watched && now - told >= DRAW.1 {
                told = now;
                out::note(&text);
            }
        }
        bar.finish_and_clear();
    }

    fn text(&self, rows: u64, rate: u64) -> String {
        if let Ok(complete) = self.service.complete_through(&self.def)
            && complete.0 > 0
        {
            let behind = (self.clock.wall_ns() - complete.0).max(0);
            self.delays.watermark.add(behind.unsigned_abs() / 1000);
        }
        let (segments, sealed, _) = self.service.totals(&self.def).unwrap_or_default();
        let latest = |samples: &Samples| ms(samples.latest.load(Ordering::Relaxed));
        format!(
            "{} rows, {}/s, queryable after {:.1} ms, watermark {:.0} ms behind, {} segments ({} rows)",
            thousands(rows),
            thousands(rate),
            latest(&self.delays.queryable),
            latest(&self.delays.watermark),
            thousands(segments as u64),
            thousands(sealed),
        )
    }
}
