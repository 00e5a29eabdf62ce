//! The reader of a hub: follows the live edge and puts what there is into the ring.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::UInt64Type;
use futures::TryStreamExt;
use tokio::time::{sleep, timeout};
use tourbillon_core::control::StreamDef;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::filter::KeyPredicate;
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::open_rows::key_at;
use tourbillon_log::watch;

use super::eager::SETTLED_ROWS;
use super::hub::{Begun, Hub};
use super::place::{Gained, Place, Reach};
use super::source::{Source, WINDOW_ROWS, read_columns, since, through};
use super::stretch::{Look, Stretch};
use super::{HEARTBEAT, Stop};
use crate::params::WindowParams;
use crate::service::QueryService;

/// Most rows that a partition gains in one round: with more, subscribers catch up on their own.
const ROUND_ROWS: usize = if cfg!(test) { 4_000 } else { 262_144 };

/// The reader rests so long for each subscriber after new rows, so that many get fewer and larger
/// events; at most [`LONGEST_REST`].
const REST: Duration = Duration::from_micros(20);

/// See [`REST`].
const LONGEST_REST: Duration = Duration::from_millis(20);

/// Begins to read from `edge` on.
pub(super) fn start(service: &QueryService, def: &Arc<StreamDef>, begun: Begun, edge: Place) {
    let source = Source {
        service: service.clone(),
        def: Arc::clone(def),
        window: everything(def),
        look: Look {
            name: "".into(),
            keys: KeyPredicate::default(),
            schema: Arc::clone(def.schema().stored()),
        },
        seat: None,
    };
    let reader = Reader {
        source,
        at: edge,
        hub: begun.hub,
    };
    let bell = service.bell();
    let deserted = begun.deserted;
    service.tasks.spawn(async move {
        tokio::select! {
            biased;
            () = deserted.cancelled() => {}
            () = reader.run(bell) => {}
        }
    });
}

fn everything(def: &StreamDef) -> WindowParams {
    let mut window = WindowParams::everything(def.schema());
    window.columns = read_columns(&window.columns);
    window.wait_ns = 0;
    window
}

struct Reader {
    source: Source,
    /// Everything up to here is in the ring.
    at: Place,
    hub: Weak<Hub>,
}

/// Nobody has a seat.
struct Deserted;

impl Reader {
    /// Reads until nobody has a seat, or until something is beyond help: then every subscriber
    /// finds out on its own what that means to it.
    async fn run(mut self, mut bell: watch::Receiver<()>) {
        loop {
            let rows = match self.round().await {
                Ok(Ok(rows)) => rows,
                Ok(Err(Deserted)) => return,
                Err(Stop::Query(error)) => {
                    let Some(hub) = self.hub.upgrade() else {
                        return;
                    };
                    let away = error.kind() == ErrorKind::Unavailable;
                    if away {
                        hub.ring().trouble(error);
                    } else {
                        tracing::warn!(error = error_chain(&*error), "live edge given up");
                        hub.ring().close();
                    }
                    hub.ring_bell();
                    if !away {
                        return;
                    }
                    false
                }
                Err(_) => return,
            };
            let Some(seats) = self.hub.upgrade().map(|hub| hub.seats()) else {
                return;
            };
            let rest = (REST * seats).min(LONGEST_REST);
            // timers know no shorter time, and few need none
            if rows && rest >= Duration::from_millis(1) {
                sleep(rest).await;
            }
            // what is away for a while is asked for again
            if let Ok(Err(_)) = timeout(HEARTBEAT / 4, bell.changed()).await {
                return;
            }
        }
    }

    /// Reads what is new; whether there were rows.
    async fn round(&mut self) -> Result<Result<bool, Deserted>, Stop> {
        match self.at.clone() {
            Place::Ordered(at) => self.ordered(at).await,
            Place::Eager(at) => self.eager(at).await,
        }
    }

    /// The stream as it is by now. Looked at after T, it has all columns of the rows through it.
    fn look_again(&mut self) {
        let before = Arc::clone(&self.source.def);
        self.source.look_again();
        if !Arc::ptr_eq(&before, &self.source.def) {
            self.source.window = everything(&self.source.def);
        }
    }

    async fn ordered(&mut self, mut at: Key) -> Result<Result<bool, Deserted>, Stop> {
        let complete = self.source.service.complete_through(&self.source.def)?;
        self.look_again();
        let mut any = false;
        while at < through(complete) {
            let mut batches = self.source.final_rows(at, complete).await?;
            let mut rows = 0;
            while let Some(batch) = batches.try_next().await? {
                let Some(last) = batch.num_rows().checked_sub(1) else {
                    continue;
                };
                rows += batch.num_rows();
                at = key_at(&batch, last);
                let stretch = self.stretch(&batch, Reach::Through(at))?;
                if self.put(vec![stretch]).is_err() {
                    return Ok(Err(Deserted));
                }
                self.at = Place::Ordered(at);
            }
            any |= rows > 0;
            if rows < WINDOW_ROWS {
                at = through(complete);
            }
        }
        self.at = Place::Ordered(at);
        Ok(self.settle([Reach::Through(at)], complete, any))
    }

    fn stretch(&self, rows: &RecordBatch, reach: Reach) -> Result<Stretch, Stop> {
        Ok(Stretch::new(rows, reach, &self.source.service.hubs.work)?)
    }

    /// Puts rows into the ring.
    fn put(&self, stretches: Vec<Stretch>) -> Result<(), Deserted> {
        let hub = self.hub.upgrade().ok_or(Deserted)?;
        {
            let mut ring = hub.ring();
            stretches.into_iter().for_each(|stretch| ring.push(stretch));
        }
        hub.ring_bell();
        self.source.service.hubs.trim();
        Ok(())
    }

    /// Everything up to there is in the ring, and T is `complete` there.
    fn settle(
        &self,
        reached: impl IntoIterator<Item = Reach>,
        complete: Hlc,
        any: bool,
    ) -> Result<bool, Deserted> {
        let hub = self.hub.upgrade().ok_or(Deserted)?;
        {
            let mut ring = hub.ring();
            ring.reach(reached);
            ring.settle(complete);
        }
        // where nothing came, watermarks are told in their own time
        if any {
            hub.ring_bell();
        }
        Ok(any)
    }

    async fn eager(&mut self, at: Gained) -> Result<Result<bool, Deserted>, Stop> {
        // T is looked at before the offsets, so whatever comes beyond them lies above it
        let now = self.source.service.now(&self.source.def)?;
        self.look_again();
        let complete = now.complete_through.unwrap_or(Hlc::MIN);
        let (mut then, mut stretches, mut reached) = (at.clone(), Vec::new(), Vec::new());
        let mut kept_up = true;
        for (partition, to) in now.positions() {
            if to <= at.seen.offset(partition) {
                continue;
            }
            then.reach(partition, to);
            reached.push(Reach::Gained(partition, to));
            if kept_up {
                kept_up = self.gains(&at, partition, to, &mut stretches).await?;
            }
        }
        then.seen.complete_through = Some(at.floor().max(complete));
        self.at = Place::Eager(then);
        if !kept_up {
            let Some(hub) = self.hub.upgrade() else {
                return Ok(Err(Deserted));
            };
            hub.ring().skip_to(self.at.clone(), complete);
            hub.ring_bell();
            return Ok(Ok(true));
        }
        let any = !stretches.is_empty();
        Ok(self.put_all(stretches, reached, complete).map(|()| any))
    }

    /// All that the partitions have gained and how far the stream is complete, in one step:
    /// whoever has looked at everything may rely on T.
    fn put_all(
        &self,
        stretches: Vec<Stretch>,
        reached: Vec<Reach>,
        complete: Hlc,
    ) -> Result<(), Deserted> {
        let hub = self.hub.upgrade().ok_or(Deserted)?;
        let any = !stretches.is_empty();
        {
            let mut ring = hub.ring();
            stretches.into_iter().for_each(|stretch| ring.push(stretch));
            ring.reach(reached);
            ring.settle(complete);
        }
        if any {
            hub.ring_bell();
            self.source.service.hubs.trim();
        }
        Ok(())
    }

    /// What a partition has gained, in the order of the log, cut between frames; false if that is
    /// too much.
    async fn gains(
        &self,
        at: &Gained,
        partition: PartitionId,
        to: Offset,
        stretches: &mut Vec<Stretch>,
    ) -> Result<bool, Stop> {
        let from = at.seen.offset(partition);
        let mut batches = self.source.gained_rows(at, partition, to).await?;
        let (mut held, mut rows) = (Vec::new(), 0);
        while let Some(batch) = batches.try_next().await? {
            let batch = since(&batch, from)?;
            rows += batch.num_rows();
            if rows > ROUND_ROWS {
                return Ok(false);
            }
            held.push(batch);
        }
        let Some(first) = held.first() else {
            return Ok(true);
        };
        let rows = in_log_order(&concat_batches(&first.schema(), &held)?)?;
        for (rows, below) in between_frames(&rows, to) {
            stretches.push(self.stretch(&rows, Reach::Gained(partition, below))?);
        }
        Ok(true)
    }
}

/// Rows in key order to rows by offset; the rows of a frame stay in key order.
pub(super) fn in_log_order(rows: &RecordBatch) -> Result<RecordBatch, Stop> {
    let offsets = rows.column(2).as_primitive::<UInt64Type>().values();
    if offsets.is_sorted() {
        return Ok(rows.clone());
    }
    let mut order: Vec<u32> = (0..).take(rows.num_rows()).collect();
    order.sort_by_key(|row| offsets[*row as usize]);
    Ok(take_record_batch(rows, &UInt32Array::from(order))?)
}

/// Rows by offset in pieces of about [`SETTLED_ROWS`], none of which ends within a frame; and the
/// offset below which the rows lie that end with it.
fn between_frames(rows: &RecordBatch, to: Offset) -> Vec<(RecordBatch, Offset)> {
    let offsets = rows.column(2).as_primitive::<UInt64Type>().values();
    let (mut pieces, mut from) = (Vec::new(), 0);
    while from < offsets.len() {
        let last = (from + SETTLED_ROWS).min(offsets.len()) - 1;
        let end = offsets.partition_point(|offset| *offset <= offsets[last]);
        let below = offsets.get(end).map_or(to, |next| Offset(*next));
        pieces.push((rows.slice(from, end - from), below));
        from = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, UInt64Array};

    use super::*;

    #[test]
    fn no_piece_ends_within_a_frame() {
        let offsets: Vec<u64> = [(3, 9), (4, SETTLED_ROWS), (6, 5), (7, 1)]
            .iter()
            .flat_map(|(offset, rows)| std::iter::repeat_n(*offset, *rows))
            .collect();
        let column = || -> ArrayRef { Arc::new(UInt64Array::from(offsets.clone())) };
        let columns = [
            ("hlc", column()),
            ("writer", column()),
            ("log_offset", column()),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let pieces = between_frames(&rows, Offset(20));
        let shapes: Vec<_> = pieces
            .iter()
            .map(|(rows, to)| (rows.num_rows(), to.0))
            .collect();
        assert_eq!(shapes, [(SETTLED_ROWS + 9, 6), (6, 20)]);
        let pieces: Vec<_> = pieces.into_iter().map(|(rows, _)| rows).collect();
        assert_eq!(concat_batches(&rows.schema(), &pieces).unwrap(), rows);
        assert!(between_frames(&rows.slice(0, 0), Offset(20)).is_empty());
    }
}
