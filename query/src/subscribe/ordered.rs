//! Final rows in the order of the stream: windows that follow one another, each up to T, and at
//! the live edge what a hub has read.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use tokio::time::{Instant, sleep_until};
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::open_rows::{key_at, stamps};

use super::pace::Pace;
use super::place::{Place, Reach};
use super::ring::Next;
use super::source::{Source, WINDOW_ROWS, start_after, through};
use super::stretch::Cut;
use super::{Event, Outlet, Stop};

/// An ordered subscription.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) source: Source,
    /// Every row up to this key has been sent.
    sent: Key,
    /// As fast as the client reads, if there is none.
    pace: Option<Pace>,
    /// The highest T that was told.
    complete: Hlc,
}

impl Ordered {
    /// From after this stamp.
    pub(super) fn above(source: Source, hlc: Hlc) -> Self {
        Self::after(source, through(hlc))
    }

    /// From after this row.
    pub(super) fn after(source: Source, sent: Key) -> Self {
        Self {
            source,
            sent,
            pace: None,
            complete: Hlc::MIN,
        }
    }

    /// So many times as fast as the rows came.
    pub(super) fn at(self, speed: Option<f64>) -> Self {
        let pace = speed.map(Pace::new);
        Self { pace, ..self }
    }

    pub(super) fn place(&self) -> Place {
        Place::Ordered(self.sent)
    }

    /// The lowest stamp that the next row can have.
    pub(super) fn start(&self) -> Hlc {
        start_after(self.sent)
    }

    /// Sends what is complete by now, and how far that is.
    pub(super) async fn round(&mut self, outlet: &mut Outlet) -> Result<(), Stop> {
        let mut any = false;
        loop {
            // rows at a pace of their own are nobody else's
            if self.pace.is_none() {
                self.source.sit_down(&self.place());
            }
            if self.source.seat.is_some() {
                match self.take(outlet, &mut any).await? {
                    true => break,
                    false => continue,
                }
            }
            self.source.look_again();
            let complete = self.source.service.complete_through(&self.source.def)?;
            if self.start() <= complete && self.sent != through(complete) {
                any |= self.window(complete, outlet).await?;
                continue;
            }
            self.complete = self.complete.max(complete);
            let (place, edge) = (self.place(), Place::Ordered(through(complete)));
            if self.pace.is_some() || !self.source.arrive(&place, edge, complete) {
                break;
            }
        }
        if any || outlet.is_due() {
            let (complete, place) = (self.complete, self.place());
            outlet.send(Event::Watermark { complete, place }).await?;
        }
        Ok(())
    }

    /// Takes everything from the ring; false if that is not where it goes on.
    async fn take(&mut self, outlet: &mut Outlet, any: &mut bool) -> Result<bool, Stop> {
        loop {
            let place = self.place();
            let next = self.source.seat.as_mut().map(|seat| seat.next(&place));
            match next {
                Some(Next::Stretch(stretch)) => {
                    let (reach, rows) = (stretch.reach, self.source.cut(&stretch, &place).await?);
                    // while the client reads it need not be kept
                    drop(stretch);
                    *any |= self.pass_on(rows, reach, outlet).await?;
                }
                Some(Next::Even { complete, end }) => {
                    if let Place::Ordered(end) = end {
                        self.sent = self.sent.max(end);
                    }
                    self.complete = self.complete.max(complete);
                    return Ok(true);
                }
                Some(Next::Trouble(error)) => return Err(Stop::Query(error)),
                Some(Next::Behind) | None => {
                    self.source.fall_behind();
                    return Ok(false);
                }
            }
        }
    }

    /// Sends what a hub has read; whether there are any rows for this subscriber.
    async fn pass_on(
        &mut self,
        rows: Arc<Cut>,
        reach: Reach,
        outlet: &mut Outlet,
    ) -> Result<bool, Stop> {
        let Reach::Through(to) = reach else {
            return Ok(false);
        };
        let any = !rows.is_empty();
        if any {
            let event = Event::Rows {
                rows,
                partition: None,
                place: Place::Ordered(to),
            };
            outlet.send(event).await?;
        }
        self.sent = to;
        Ok(any)
    }

    /// Sends rows through `complete`, or the first of them; whether there were any.
    async fn window(&mut self, complete: Hlc, outlet: &mut Outlet) -> Result<bool, Stop> {
        let mut batches = self.source.final_rows(self.sent, complete).await?;
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
                rows: self.source.own(&rows)?,
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
