//! Rows as soon as the log has them: what each partition has gained since it was last looked at.
//!
//! A partition's new rows lie above T as it was then, so they are found by stamp, in tails and
//! files, and told from older ones by their offset. A few of them are put into the order of the
//! log; when there are many, a client is catching up, and gets them in the order of the stream.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::kernels::cmp::gt_eq;
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{SchemaRef, UInt64Type};
use futures::TryStreamExt;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::open_rows::key_at;

use super::place::{Gained, Place};
use super::{Event, Outlet, Source, Stop};
use crate::params::{Consistency, WindowParams};
use crate::plan::Batches;
use crate::token::Token;

/// Rows of a partition that are put into the order of the log.
pub(super) const SETTLED_ROWS: usize = 16_384;

/// An eager subscription.
#[derive(Debug)]
pub(super) struct Eager {
    source: Source,
    gained: Gained,
}

impl Eager {
    pub(super) fn new(source: Source, gained: Gained) -> Self {
        Self { source, gained }
    }

    pub(super) fn place(&self) -> Place {
        Place::Eager(self.gained.clone())
    }

    /// Columns of what is sent.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.source.schema)
    }

    /// The lowest stamp that the next row can have.
    pub(super) fn start(&self) -> Hlc {
        match self.floor() {
            Hlc::MIN => Hlc::MIN,
            floor => floor.plus(1),
        }
    }

    fn floor(&self) -> Hlc {
        self.gained.seen.complete_through.unwrap_or(Hlc::MIN)
    }

    /// Sends what every partition has gained, and how far the stream is complete.
    pub(super) async fn round(&mut self, outlet: &mut Outlet) -> Result<(), Stop> {
        self.source.look();
        if let Some((partition, to)) = self.gained.under_way {
            self.advance(partition, to, outlet).await?;
        }
        // T is looked at before the offsets, so whatever comes beyond them lies above it
        let now = self.source.service.now(&self.source.def)?;
        let mut any = false;
        for (partition, to) in now.positions() {
            if to > self.gained.seen.offset(partition) {
                any |= self.advance(partition, to, outlet).await?;
            }
        }
        let complete = now.complete_through.unwrap_or(Hlc::MIN);
        self.gained.seen.complete_through = Some(self.floor().max(complete));
        if any || outlet.is_due() {
            let place = self.place();
            outlet.send(Event::Watermark { complete, place }).await?;
        }
        Ok(())
    }

    /// Sends the rows of a partition up to an offset; whether there were any.
    async fn advance(
        &mut self,
        partition: PartitionId,
        to: Offset,
        outlet: &mut Outlet,
    ) -> Result<bool, Stop> {
        let from = self.gained.seen.offset(partition);
        let params = self.params(partition, to);
        let service = self.source.service.clone();
        let mut batches = service.window(&self.source.def, &params).await?.batches;
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
        self.arrive(partition, to);
        Ok(true)
    }

    fn params(&self, partition: PartitionId, to: Offset) -> WindowParams {
        let mut offsets = vec![Offset(0); partition.0 as usize];
        offsets.push(to);
        let mut params = self.source.window.clone();
        params.start = self.start().0;
        params.consistency = Consistency::Latest;
        params.partition = Some(partition.0);
        params.after = self.gained.seen.after;
        params.snapshot = Some(Token {
            offsets,
            complete_through: None,
            kept_from: Hlc::MIN,
            columns: None,
            after: None,
        });
        params
    }

    /// All rows that the partition has gained, frame by frame.
    async fn send_settled(
        &mut self,
        rows: &[RecordBatch],
        partition: PartitionId,
        to: Offset,
        outlet: &mut Outlet,
    ) -> Result<bool, Stop> {
        let mut then = self.gained.clone();
        reach(&mut then.seen, partition, to);
        let Some(first) = rows.first() else {
            self.gained = then;
            return Ok(false);
        };
        let rows = in_log_order(&concat_batches(&first.schema(), rows)?)?;
        let event = Event::Rows {
            rows: self.source.project(&rows)?,
            partition: Some(partition),
            place: Place::Eager(then.clone()),
        };
        outlet.send(event).await?;
        self.gained = then;
        Ok(true)
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
            rows: self.source.project(batch)?,
            partition: Some(partition),
            place: Place::Eager(then.clone()),
        };
        outlet.send(event).await?;
        self.gained = then;
        Ok(())
    }

    fn arrive(&mut self, partition: PartitionId, to: Offset) {
        reach(&mut self.gained.seen, partition, to);
        self.gained.seen.after = None;
        self.gained.under_way = None;
    }
}

fn reach(seen: &mut Token, partition: PartitionId, to: Offset) {
    let place = partition.0 as usize;
    if seen.offsets.len() <= place {
        seen.offsets.resize(place + 1, Offset(0));
    }
    seen.offsets[place] = to;
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

fn since(batch: &RecordBatch, from: Offset) -> Result<RecordBatch, Stop> {
    let mask = gt_eq(batch.column(2), &UInt64Array::new_scalar(from.0))?;
    Ok(filter_record_batch(batch, &mask)?)
}

/// Rows in key order to rows by offset; the rows of a frame stay in key order.
fn in_log_order(rows: &RecordBatch) -> Result<RecordBatch, Stop> {
    let offsets = rows.column(2).as_primitive::<UInt64Type>().values();
    if offsets.is_sorted() {
        return Ok(rows.clone());
    }
    let mut order: Vec<u32> = (0..).take(rows.num_rows()).collect();
    order.sort_by_key(|row| offsets[*row as usize]);
    Ok(take_record_batch(rows, &UInt32Array::from(order))?)
}
