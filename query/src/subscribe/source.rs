//! What is read for a subscriber, or for all subscribers of a hub.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::cmp::gt_eq;
use futures::{StreamExt, TryStreamExt};
use tourbillon_core::control::StreamDef;
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::ids::{Offset, PartitionId, WriterId};
use tourbillon_core::schema::SYSTEM_COLUMNS;

use super::hub::{HubName, Seat};
use super::place::{Gained, Place};
use super::stretch::{Cut, Look, Stretch};
use super::{Stop, reader};
use crate::error::QueryError;
use crate::params::{Consistency, WindowParams};
use crate::plan::Batches;
use crate::service::QueryService;
use crate::token::Token;

/// Most rows that are read from one window, so that a slow reader keeps neither rows that have
/// been sealed since nor files that have been replaced. Tests need not be long to see it.
pub(super) const WINDOW_ROWS: usize = if cfg!(test) { 20_000 } else { 262_144 };

/// Rows to be read, and how a subscriber looks at them.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) service: QueryService,
    pub(super) def: Arc<StreamDef>,
    /// Filters, and the columns that are read: the key, the offset, then those of the answer.
    pub(super) window: WindowParams,
    pub(super) look: Look,
    /// At the live edge, if the subscriber has come there.
    pub(super) seat: Option<Seat>,
}

/// The key above every row with this stamp.
pub(super) fn through(hlc: Hlc) -> Key {
    Key {
        hlc,
        writer: WriterId(u32::MAX),
    }
}

/// The lowest stamp that a row after this key can have.
pub(super) fn start_after(key: Key) -> Hlc {
    match key.writer {
        _ if key.hlc <= Hlc::MIN => Hlc::MIN,
        WriterId(u32::MAX) => key.hlc.plus(1),
        _ => key.hlc,
    }
}

/// The lowest stamp that a row above this one can have.
pub(super) fn start_above(floor: Hlc) -> Hlc {
    match floor {
        Hlc::MIN => Hlc::MIN,
        floor => floor.plus(1),
    }
}

/// Rows at or above an offset.
pub(super) fn since(batch: &RecordBatch, from: Offset) -> Result<RecordBatch, Stop> {
    let mask = gt_eq(batch.column(2), &UInt64Array::new_scalar(from.0))?;
    Ok(filter_record_batch(batch, &mask)?)
}

/// The columns to read: the key and the offset, to know where a subscriber stands, then others.
pub(super) fn read_columns(others: &[String]) -> Vec<String> {
    let system = SYSTEM_COLUMNS.iter().map(|name| (*name).to_owned());
    let own = others.iter();
    let own = own.filter(|name| !SYSTEM_COLUMNS.contains(&name.as_str()));
    system.chain(own.cloned()).collect()
}

impl Source {
    /// Looks whether the stream has grown.
    pub(super) fn look_again(&mut self) {
        let view = self.service.control_view();
        if let Some(def) = view.streams.get(&self.def.name) {
            self.def = Arc::clone(def);
        }
    }

    /// Final rows after a key through `complete`, or the first [`WINDOW_ROWS`] of them.
    pub(super) async fn final_rows(&self, sent: Key, complete: Hlc) -> Result<Batches, QueryError> {
        let mut params = self.window.clone();
        params.start = start_after(sent).0;
        params.end = Some(complete.plus(1).0);
        params.consistency = Consistency::Final;
        // rows with the stamp of the key itself are looked at only if there can be some
        params.after = (sent.writer != WriterId(u32::MAX)).then_some(sent.into());
        params.limit = Some(WINDOW_ROWS);
        self.open(&params).await
    }

    /// What a partition has gained below an offset, and perhaps older rows: see [`since`].
    pub(super) async fn gained_rows(
        &self,
        gained: &Gained,
        partition: PartitionId,
        to: Offset,
    ) -> Result<Batches, QueryError> {
        let mut offsets = vec![Offset(0); partition.0 as usize];
        offsets.push(to);
        let mut params = self.window.clone();
        params.start = start_above(gained.floor()).0;
        params.consistency = Consistency::Latest;
        params.partition = Some(partition.0);
        params.after = gained.seen.after;
        params.snapshot = Some(Token {
            offsets,
            complete_through: None,
            kept_from: Hlc::MIN,
            columns: None,
            after: None,
        });
        self.open(&params).await
    }

    async fn open(&self, params: &WindowParams) -> Result<Batches, QueryError> {
        let work = Arc::clone(&self.service.hubs.work);
        work.opened();
        let batches = self.service.window(&self.def, params).await?.batches;
        let counted = batches.inspect_ok(move |batch| work.read(batch.num_rows()));
        Ok(counted.boxed())
    }

    /// Rows of its own as it is sent them.
    pub(super) fn own(&self, rows: &RecordBatch) -> Result<Arc<Cut>, Stop> {
        let own = rows.schema();
        let names = self.look.schema.fields().iter();
        let indices = names.map(|field| own.index_of(field.name()));
        let rows = rows.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        let work = Arc::clone(&self.service.hubs.work);
        Ok(Arc::new(Cut::own(rows, work)))
    }

    /// What it is sent of a stretch, standing at `place`.
    pub(super) async fn cut(&self, stretch: &Stretch, place: &Place) -> Result<Arc<Cut>, Stop> {
        Ok(stretch.cut(&self.look, place).await?)
    }

    fn hub_name(&self, place: &Place) -> HubName {
        (self.def.name.clone(), matches!(place, Place::Eager(_)))
    }

    /// Takes a seat if there is a ring that has all that comes after `place`.
    pub(super) fn sit_down(&mut self, place: &Place) {
        if self.seat.is_none() {
            let hubs = &self.service.hubs;
            self.seat = hubs.seat(&self.hub_name(place), place);
            if self.seat.is_some() {
                hubs.work.seated();
            }
        }
    }

    /// Gives up its seat: what it lacks is not kept there any more.
    pub(super) fn fall_behind(&mut self) {
        if self.seat.take().is_some() {
            self.service.hubs.work.left_behind();
        }
    }

    /// Takes a seat at the live edge, for a subscriber at `place` who has everything up to `edge`,
    /// where T is `complete`; begins to read for all if nobody does. Whether there is one now: if
    /// not, the others' ring begins further on.
    pub(super) fn arrive(&mut self, place: &Place, edge: Place, complete: Hlc) -> bool {
        let name = self.hub_name(place);
        if let Some((seat, begun)) = self.service.hubs.begin(&name, edge.clone(), complete) {
            reader::start(&self.service, &self.def, begun, edge);
            self.seat = Some(seat);
            self.service.hubs.work.seated();
        }
        self.sit_down(place);
        self.seat.is_some()
    }
}
