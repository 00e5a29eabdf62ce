//! Readers: they ask for windows while everything moves, and remember what they were given.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{TimestampNanosecondType, UInt32Type, UInt64Type};
use futures::TryStreamExt;
use tokio::time::sleep;
use tourbillon_core::control::StreamDef;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::hlc::Hlc;
use tourbillon_query::params::WindowParams;
use tourbillon_query::{QueryError, QueryService};

use super::host::{Host, Process};
use super::model::{Sample, SeenRow};
use super::stream::{find, numbers};
use super::world::World;

/// A reader.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) world: Arc<World>,
    pub(crate) queries: Vec<Arc<Host>>,
}

/// A window to ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Whether only rows through T count.
    pub(crate) is_final: bool,
}

impl Asked {
    fn params(&self, def: &StreamDef) -> Result<WindowParams, QueryError> {
        let consistency = if self.is_final { "final" } else { "latest" };
        let pairs = [
            ("start", self.start.to_string()),
            ("end", self.end.to_string()),
            ("columns", "hlc,writer,log_offset,symbol,n".to_owned()),
            ("consistency", consistency.to_owned()),
            ("wait", "0s".to_owned()),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
        WindowParams::parse(&pairs, def.schema())
    }
}

/// Asks for a window and reads it to its end.
pub(crate) async fn ask(
    query: &QueryService,
    asked: Asked,
) -> Result<Option<(Sample, Hlc)>, QueryError> {
    let Some(def) = find(&query.control_view()) else {
        return Ok(None);
    };
    let window = query.window(&def, &asked.params(&def)?).await?;
    let (snapshot, is_final) = (window.snapshot, window.is_final);
    let batches: Vec<_> = window.batches.try_collect().await?;
    let mut rows = Vec::new();
    for batch in &batches {
        let hlcs = batch.column(0).as_primitive::<TimestampNanosecondType>();
        let writers = batch.column(1).as_primitive::<UInt32Type>();
        let offsets = batch.column(2).as_primitive::<UInt64Type>();
        let numbers = numbers(batch);
        rows.extend((0..batch.num_rows()).map(|i| SeenRow {
            hlc: hlcs.value(i),
            writer: writers.value(i),
            offset: offsets.value(i),
            n: numbers[i],
        }));
    }
    let sample = Sample {
        start: asked.start,
        end: asked.end,
        is_final,
        snapshot,
        rows,
    };
    Ok(Some((sample, window.complete_through)))
}

impl Reader {
    /// Reads for ever.
    pub(crate) async fn run(self) {
        loop {
            sleep(self.world.dice.millis(50..700)).await;
            let host = &self.queries[self.world.dice.index(self.queries.len())];
            let Some(process) = host.current() else {
                continue;
            };
            let read = self.read(&process);
            tokio::select! {
                biased;
                () = process.gate.dead() => {}
                () = read => {}
            }
        }
    }

    async fn read(&self, process: &Process) {
        let Some(query) = process.query() else { return };
        process.gate.pass().await;
        let Some(def) = find(&query.control_view()) else {
            return;
        };
        let Ok(through) = query.complete_through(&def) else {
            return;
        };
        self.world
            .model
            .published(self.world.start.elapsed(), through);
        let dice = &self.world.dice;
        let latest = dice.chance(0.4);
        let reach = if latest {
            -1_000_000_000..3_000_000_000
        } else {
            -4_000_000_000..1
        };
        let end = through.0 + 1 + dice.signed(reach);
        let start = end - dice.signed(1..6_000_000_000);
        let asked = Asked {
            start,
            end,
            is_final: !latest,
        };
        let answer = ask(query, asked).await;
        process.gate.pass().await;
        match answer {
            Ok(Some((sample, through))) => {
                let rows = sample.rows.len();
                self.world
                    .trace
                    .note(format_args!("{rows} rows in [{start}, {end})"));
                self.world
                    .model
                    .published(self.world.start.elapsed(), through);
                self.world.model.sampled(sample);
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(QueryError::Gone { .. }) if self.world.plan.retention_ns > 0 => {}
            Err(error) => self.world.violated("INV-ORDER", error_chain(&error)),
        }
    }
}
