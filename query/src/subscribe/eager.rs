//! Rows as soon as the log has them: what each partition has gained since it was last looked at.
//!
//! A partition's new rows lie above T as it was then, so they are found by stamp, in tails and
//! files, and told from older ones by their offset. A few of them are put into the order of the
//! log; when there are many, a client is catching up, and gets them in the order of the stream.
//! Once it has caught up it takes what a hub has read.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::TryStreamExt;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::open_rows::key_at;

use super::place::{Gained, Place, Reach};
use super::reader::in_log_order;
use super::ring::Next;
use super::source::{Source, since, start_above};
use super::stretch::Cut;
use super::{Event, Outlet, Stop};
use crate::plan::Batches;

/// Rows of a partition that are put into the order of the log.
pub(super) const SETTLED_ROWS: usize = 16_384;

/// An eager subscription.
#[derive(Debug)]
pub(super) struct Eager {
    pub(super) source: Source,
    gained: Gained,
    /// The highest T that was told.
    complete: Hlc,
}

impl Eager {
    pub(super) fn new(source: Source, gained: Gained) -> Self {
        Self {
            source,
            gained,
            complete: Hlc::MIN,
        }
    }

    pub(super) fn place(&self) -> Place {
        Place::Eager(self.gained.clone())
    }

    /// The lowest stamp that the next row can have.
    pub(super) fn start(&self) -> Hlc {
        start_above(self.gained.floor())
    }

    /// Sends what every partition has gained, and how far the stream is complete.
    pub(super) async fn round(&mut self, outlet: &mut Outlet) -> Result<(), Stop> {
        let mut any = false;
        loop {
            self.source.sit_down(&self.place());
            if self.source.seat.is_some() {
                match self.take(outlet, &mut any).await? {
                    true => break,
                    false => continue,
                }
            }
            let edge = self.catch_up(outlet, &mut any).await?;
            let complete = edge.floor();
            if !self
                .source
                .arrive(&self.place(), Place::Eager(edge), complete)
            {
                break;
            }
        }
        if any || outlet.is_due() {
            let (complete, place) = (self.complete, self.place());
            outlet.send(Event::Watermark { complete, place }).await?;
        }
        Ok(())
    }

    /// Everything through this T has been sent.
    fn settle(&mut self, complete: Hlc) {
        self.gained.seen.complete_through = Some(self.gained.floor().max(complete));
        self.complete = self.complete.max(complete);
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
                    if let Place::Eager(end) = end {
                        let offsets = end.seen.positions().into_iter();
                        offsets.for_each(|(partition, to)| self.gained.reach(partition, to));
                    }
                    self.settle(complete);
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

    /// Reads what every partition has gained; how far that is, whatever the subscriber's cursor
    /// says, and T before.
    async fn catch_up(&mut self, outlet: &mut Outlet, any: &mut bool) -> Result<Gained, Stop> {
        self.source.look_again();
        if let Some((partition, to)) = self.gained.under_way {
            *any |= self.advance(partition, to, outlet).await?;
        }
        // T is looked at before the offsets, so whatever comes beyond them lies above it
        let now = self.source.service.now(&self.source.def)?;
        for (partition, to) in now.positions() {
            if to > self.gained.seen.offset(partition) {
                *any |= self.advance(partition, to, outlet).await?;
            }
        }
        self.settle(now.complete_through.unwrap_or(Hlc::MIN));
        Ok(Gained::everything_in(now))
    }

    /// Sends the rows of a partition up to an offset; whether there were any.
    async fn advance(
        &mut self,
        partition: PartitionId,
        to: Offset,
        outlet: &mut Outlet,
    ) -> Result<bool, Stop> {
        let from = self.gained.seen.offset(partition);
        let rows = self.source.gained_rows(&self.gained, partition, to);
        let mut batches = rows.await?;
        let (mut few, all) = first(&mut batches, from).await?;
        if all && self.gained.under_way.is_none() {
            return self.send_settled(&few, partition, to, outlet).await;
        }
        loop {
            for batch in few {
                self.send_under_way(&batch, partition, to, outlet).await?;
            }
            match batches.try_next().await? {
                Some(batch) => few = vec![since(&batch, from)?],
                None => break,
            }
        }
        self.gained.reach(partition, to);
        self.gained.seen.after = None;
        self.gained.under_way = None;
        Ok(true)
    }

    /// All rows that the partition has gained, frame by frame.
    async fn send_settled(
        &mut self,
        rows: &[RecordBatch],
        partition: PartitionId,
        to: Offset,
        outlet: &mut Outlet,
    ) -> Result<bool, Stop> {
        let Some(first) = rows.first() else {
            self.gained.reach(partition, to);
            return Ok(false);
        };
        let rows = in_log_order(&concat_batches(&first.schema(), rows)?)?;
        let rows = self.source.own(&rows)?;
        self.pass_on(rows, Reach::Gained(partition, to), outlet)
            .await
    }

    /// Sends rows of a partition; whether there are any for this subscriber.
    async fn pass_on(
        &mut self,
        rows: Arc<Cut>,
        reach: Reach,
        outlet: &mut Outlet,
    ) -> Result<bool, Stop> {
        let Reach::Gained(partition, to) = reach else {
            return Ok(false);
        };
        let mut then = self.gained.clone();
        then.reach(partition, to);
        let any = !rows.is_empty();
        if any {
            let event = Event::Rows {
                rows,
                partition: Some(partition),
                place: Place::Eager(then.clone()),
            };
            outlet.send(event).await?;
        }
        self.gained = then;
        Ok(any)
    }

    /// Some of the many rows of a client that catches up.
    async fn send_under_way(
        &mut self,
        batch: &RecordBatch,
        partition: PartitionId,
        to: Offset,
        outlet: &mut Outlet,
    ) -> Result<(), Stop> {
        let Some(last) = batch.num_rows().checked_sub(1) else {
            return Ok(());
        };
        let mut then = self.gained.clone();
        then.seen.after = Some(key_at(batch, last).into());
        then.under_way = Some((partition, to));
        let event = Event::Rows {
            rows: self.source.own(batch)?,
            partition: Some(partition),
            place: Place::Eager(then.clone()),
        };
        outlet.send(event).await?;
        self.gained = then;
        Ok(())
    }
}

/// Rows at or above an offset, until there are more than [`SETTLED_ROWS`]; whether that is all.
async fn first(batches: &mut Batches, from: Offset) -> Result<(Vec<RecordBatch>, bool), Stop> {
    let (mut held, mut rows) = (Vec::new(), 0);
    while rows <= SETTLED_ROWS {
        let Some(batch) = batches.try_next().await? else {
            return Ok((held, true));
        };
        let batch = since(&batch, from)?;
        rows += batch.num_rows();
        if batch.num_rows() > 0 {
            held.push(batch);
        }
    }
    Ok((held, false))
}
