//! Final rows in the order of the stream: windows that follow one another, each up to T.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use tokio::time::{Instant, sleep_until};
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::ids::WriterId;
use tourbillon_core::open_rows::{key_at, stamps};

use super::pace::Pace;
use super::place::Place;
use super::{Event, Outlet, Source, Stop};
use crate::params::Consistency;

/// Most rows that are read from one window, so that a slow reader keeps neither rows that have
/// been sealed since nor files that have been replaced. Tests need not be long to see it.
const WINDOW_ROWS: usize = if cfg!(test) { 20_000 } else { 262_144 };

/// An ordered subscription.
#[derive(Debug)]
pub(super) struct Ordered {
    source: Source,
    /// Every row up to this key has been sent.
    sent: Key,
    /// As fast as the client reads, if there is none.
    pace: Option<Pace>,
}

/// The key above every row with this stamp.
fn through(hlc: Hlc) -> Key {
    Key {
        hlc,
        writer: WriterId(u32::MAX),
    }
}

impl Ordered {
    /// From after this stamp.
    pub(super) fn above(source: Source, hlc: Hlc) -> Self {
        Self::after(source, through(hlc))
    }

    /// From after this row.
    pub(super) fn after(source: Source, sent: Key) -> Self {
        let pace = None;
        Self { source, sent, pace }
    }

    /// So many times as fast as the rows came.
    pub(super) fn at(self, speed: Option<f64>) -> Self {
        let pace = speed.map(Pace::new);
        Self { pace, ..self }
    }

    pub(super) fn place(&self) -> Place {
        Place::Ordered(self.sent)
    }

    /// Columns of what is sent.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.source.schema)
    }

    /// The lowest stamp that the next row can have.
    pub(super) fn start(&self) -> Hlc {
        match self.sent.writer {
            _ if self.sent.hlc <= Hlc::MIN => Hlc::MIN,
            WriterId(u32::MAX) => self.sent.hlc.plus(1),
            _ => self.sent.hlc,
        }
    }

    /// Sends what is complete by now, and how far that is.
    pub(super) async fn round(&mut self, outlet: &mut Outlet) -> Result<(), Stop> {
        self.source.look();
        let complete = self.source.service.complete_through(&self.source.def)?;
        let mut any = false;
        while self.start() <= complete && self.sent != through(complete) {
            any |= self.window(complete, outlet).await?;
        }
        if any || outlet.is_due() {
            let place = self.place();
            outlet.send(Event::Watermark { complete, place }).await?;
        }
        Ok(())
    }

    /// Sends rows through `complete`, or the first of them; whether there were any.
    async fn window(&mut self, complete: Hlc, outlet: &mut Outlet) -> Result<bool, Stop> {
        let mut params = self.source.window.clone();
        params.start = self.start().0;
        params.end = Some(complete.plus(1).0);
        params.consistency = Consistency::Final;
        params.after = Some(self.sent.into());
        params.limit = Some(WINDOW_ROWS);
        let service = self.source.service.clone();
        let mut batches = service.window(&self.source.def, &params).await?.batches;
        let mut rows = 0;
        while let Some(batch) = batches.try_next().await? {
            self.send(&batch, complete, outlet).await?;
            rows += batch.num_rows();
        }
        if rows < WINDOW_ROWS {
            self.sent = through(complete);
        }
        Ok(rows > 0)
    }

    /// Sends a batch, at once or at its pace.
    async fn send(
        &mut self,
        batch: &RecordBatch,
        complete: Hlc,
        outlet: &mut Outlet,
    ) -> Result<(), Stop> {
        let mut from = 0;
        while from < batch.num_rows() {
            let mut rows = batch.slice(from, batch.num_rows() - from);
            if let Some(pace) = &mut self.pace {
                let (now, due) = pace.next(stamps(&rows));
                rows = rows.slice(0, now.len());
                self.wait(due, complete, outlet).await?;
            }
            let last = key_at(&rows, rows.num_rows() - 1);
            let event = Event::Rows {
                rows: self.source.project(&rows)?,
                partition: None,
                place: Place::Ordered(last),
            };
            outlet.send(event).await?;
            self.sent = last;
            from += rows.num_rows();
        }
        Ok(())
    }

    /// Waits, but not in silence.
    async fn wait(&self, due: Instant, complete: Hlc, outlet: &mut Outlet) -> Result<(), Stop> {
        while Instant::now() < due {
            sleep_until(due.min(outlet.due)).await;
            if outlet.is_due() {
                let place = self.place();
                outlet.send(Event::Watermark { complete, place }).await?;
            }
        }
        Ok(())
    }
}
