//! Ticks at a steady rate, alternately to both gateways, every batch until it is acknowledged.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::live::Delays;
use super::stage::{STREAM, Stage};
use crate::args::{DemoArgs, FileArgs};
use crate::client::Client;
use crate::load::{Mapping, Sender, Source, StreamColumns};
use crate::market::Market;

/// Time between two batches.
const TICK: Duration = Duration::from_millis(10);

/// Batches that may wait for a gateway; beyond, the feed slows down.
const AHEAD: usize = 64;

/// How long a batch is repeated.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the client knows to be stored.
#[derive(Debug, Default)]
pub(super) struct Record {
    acknowledged: AtomicU64,
    first_hlc: OnceLock<i64>,
    last_hlc: AtomicU64,
}

impl Record {
    /// Rows acknowledged. Rows are numbered from 0 and none is given up, so once the feed has
    /// ended these are the rows 0 to this.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Highest stamp acknowledged.
    pub(super) fn last_hlc(&self) -> i64 {
        self.last_hlc.load(Ordering::Acquire).cast_signed()
    }

    /// A stamp below all acknowledged ones and above all older rows.
    pub(super) fn begin(&self, hlc: i64) {
        let _already_begun = self.first_hlc.set(hlc);
    }

    /// Where the rows of this run begin.
    pub(super) fn first_hlc(&self) -> i64 {
        self.first_hlc.get().copied().unwrap_or(0)
    }

    fn note(&self, rows: u64, last_hlc: i64) {
        self.acknowledged.fetch_add(rows, Ordering::AcqRel);
        self.last_hlc
            .fetch_max(last_hlc.cast_unsigned(), Ordering::AcqRel);
    }
}

/// Where ticks come from.
enum Ticks {
    Simulated(Box<Market>),
    File(Box<Loop>),
}

/// A feed, ready to run.
pub(super) struct Feed {
    ticks: Ticks,
    clients: [Client; 2],
    rate: u32,
    clock: Arc<dyn tourbillon_core::clock::PhysicalClock>,
}

impl Feed {
    pub(super) async fn open(args: &DemoArgs, stage: &Stage) -> anyhow::Result<Self> {
        let clients = stage.clients()?;
        let ticks = match args.feed.as_str() {
            "simulated" => Ticks::Simulated(Box::new(Market::new(args.seed))),
            file => {
                let columns = StreamColumns::fetch(&clients[0], STREAM).await?;
                Ticks::File(Box::new(Loop::new(
                    file.into(),
                    args.input.clone(),
                    columns,
                )?))
            }
        };
        Ok(Self {
            ticks,
            clients,
            rate: args.rate,
            clock: Arc::clone(&stage.backbone.clock),
        })
    }

    /// Feeds for `duration`, then waits for the last acknowledgement.
    pub(super) async fn run(
        mut self,
        duration: Duration,
        record: &Arc<Record>,
        delays: &Arc<Delays>,
    ) -> anyhow::Result<()> {
        let mut lanes = JoinSet::new();
        let mut senders = Vec::new();
        for client in &self.clients {
            let (sender, batches) = mpsc::channel(AHEAD);
            senders.push(sender);
            let source = crate::load::one_time_source()?;
            let lane = Lane {
                sender: Sender::new(client, STREAM, &source, PATIENCE),
                reader: self.clients[0].clone(),
                record: Arc::clone(record),
                delays: Arc::clone(delays),
            };
            lanes.spawn(lane.run(batches));
        }
        let begun = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut fed: u64 = 0;
        let mut turn = 0;
        while begun.elapsed() < duration {
            ticks.tick().await;
            let due = begun.elapsed().as_millis() * u128::from(self.rate) / 1000;
            let rows = u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(fed);
            let rows = usize::try_from(rows.min(65_536)).unwrap_or(0);
            if rows == 0 {
                continue;
            }
            let batch = self.take(rows, fed).await?;
            fed += batch.num_rows() as u64;
            if senders[turn % 2]
                .send((Instant::now(), batch))
                .await
                .is_err()
            {
                break;
            }
            turn += 1;
        }
        drop(senders);
        while let Some(lane) = lanes.join_next().await {
            lane??;
        }
        Ok(())
    }

    async fn take(&mut self, rows: usize, fed: u64) -> anyhow::Result<RecordBatch> {
        match &mut self.ticks {
            Ticks::Simulated(market) => {
                let now = self.clock.wall_ns();
                let tick = i64::try_from(TICK.as_nanos()).unwrap_or(0);
                Ok(market.trades(rows, now - tick, now)?)
            }
            Ticks::File(file) => file.take(rows, fed).await,
        }
    }
}

/// Batches to one gateway, in order.
struct Lane {
    sender: Sender,
    reader: Client,
    record: Arc<Record>,
    delays: Arc<Delays>,
}

impl Lane {
    async fn run(
        mut self,
        mut batches: mpsc::Receiver<(Instant, RecordBatch)>,
    ) -> anyhow::Result<()> {
        while let Some((born, batch)) = batches.recv().await {
            let answer = self.sender.send(&batch).await?;
            let stamp = |name: &str| answer[name].as_i64();
            let (Some(first), Some(last)) = (stamp("first_hlc"), stamp("last_hlc")) else {
                bail!("the gateway's answer has no stamps: {answer}");
            };
            if answer["accepted"].as_u64() != Some(batch.num_rows() as u64) {
                bail!(
                    "the gateway took not all of {} rows: {answer}",
                    batch.num_rows()
                );
            }
            self.record.note(batch.num_rows() as u64, last);
            if self.delays.wants_probe() {
                let (reader, delays) = (self.reader.clone(), Arc::clone(&self.delays));
                tokio::spawn(async move {
                    let seen = until_visible(&reader, first).await;
                    delays.probed(seen.is_ok().then(|| born.elapsed()));
                });
            }
        }
        Ok(())
    }
}

/// Asks for the row stamped `first` until it is there.
async fn until_visible(reader: &Client, first: i64) -> anyhow::Result<()> {
    let query = [
        ("start".to_owned(), first.to_string()),
        ("end".to_owned(), (first + 1).to_string()),
        ("consistency".to_owned(), "latest".to_owned()),
        ("columns".to_owned(), "hlc".to_owned()),
    ];
    loop {
        let answer = reader
            .get(
                &["v1", "streams", STREAM, "window"],
                &query,
                "application/json",
            )
            .await?;
        let rows: Value = answer.json().await?;
        if rows.as_array().is_some_and(|rows| !rows.is_empty()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A file played again and again, its rows numbered in `seq`.
struct Loop {
    file: PathBuf,
    args: FileArgs,
    columns: StreamColumns,
    source: Source,
    mapping: Mapping,
    batch: Option<RecordBatch>,
}

impl Loop {
    fn new(file: PathBuf, args: FileArgs, columns: StreamColumns) -> anyhow::Result<Self> {
        let source = Source::open(&file, &args, &columns, 8192)?;
        let mapping = source.mapping(&args, &columns)?;
        Ok(Self {
            file,
            args,
            columns,
            source,
            mapping,
            batch: None,
        })
    }

    async fn take(&mut self, rows: usize, fed: u64) -> anyhow::Result<RecordBatch> {
        let batch = match self.batch.take() {
            Some(batch) => batch,
            None => self.next().await?,
        };
        let taken = rows.min(batch.num_rows());
        let rest = batch.slice(taken, batch.num_rows() - taken);
        self.batch = (rest.num_rows() > 0).then_some(rest);
        renumber(&self.mapping.apply(&batch.slice(0, taken), 0)?, fed)
    }

    async fn next(&mut self) -> anyhow::Result<RecordBatch> {
        if let Some(batch) = self.source.next().await? {
            return Ok(batch);
        }
        self.source = Source::open(&self.file, &self.args, &self.columns, 8192)?;
        self.source
            .next()
            .await?
            .with_context(|| format!("{} holds no rows", self.file.display()))
    }
}

fn renumber(rows: &RecordBatch, from: u64) -> anyhow::Result<RecordBatch> {
    let from = i64::try_from(from)?;
    let seqs = Int64Array::from_iter_values((from..).take(rows.num_rows()));
    let schema = rows.schema();
    let kept = schema
        .fields()
        .iter()
        .zip(rows.columns())
        .filter(|(field, _)| field.name() != "seq");
    let (mut fields, mut columns): (Vec<_>, Vec<ArrayRef>) = kept
        .map(|(field, column)| (Arc::clone(field), Arc::clone(column)))
        .unzip();
    fields.push(Arc::new(Field::new("seq", DataType::Int64, false)));
    columns.push(Arc::new(seqs));
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}
