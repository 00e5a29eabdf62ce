//! Orders other than that of the merge: the window is read piece by piece, each short enough that
//! its rows can be held and sorted.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::TimestampNanosecondType;
use arrow::error::ArrowError;
use futures::{StreamExt, TryStreamExt, stream};
use tourbillon_core::hlc::Hlc;

use super::pieces::{Extent, MAX_PIECE_ROWS, Pieces};
use super::timed::Timed;
use super::{Cut, Order};
use crate::error::QueryError;
use crate::partition::View;
use crate::plan::{Batches, Plan};
use crate::window::ANSWER_ROWS;

/// The rows of a window in an order that is not the merge's.
pub(super) fn sorted(plan: Arc<Plan>, views: Vec<View>, order: Order) -> Batches {
    let source = Source::new(views, &plan);
    let pieces = Pieces::new(source.extents(), source.bounds(&plan), order.descending);
    let pieces = pieces.for_rows(plan.read.first_rows);
    let start = Sorted {
        plan,
        source,
        order,
        pieces,
        held: Held::default(),
        direct: None,
    };
    stream::try_unfold(start, |mut state| async move {
        let batch = state.next().await?;
        Ok(batch.map(|batch| (batch, state)))
    })
    .boxed()
}

struct Sorted {
    plan: Arc<Plan>,
    source: Source,
    order: Order,
    pieces: Pieces,
    held: Held,
    /// Rows that come in order as they are read: those of one event time that are too many to hold.
    direct: Option<Batches>,
}

impl Sorted {
    async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        loop {
            if let Some(direct) = &mut self.direct {
                match direct.try_next().await? {
                    Some(batch) => return Ok(Some(batch)),
                    None => self.direct = None,
                }
            }
            if let Some(batch) = self.held.next()? {
                return Ok(Some(batch));
            }
            let Some(piece) = self.pieces.next() else {
                return Ok(None);
            };
            self.read(piece).await?;
        }
    }

    /// Reads a piece, or only finds out that it must be shorter.
    async fn read(&mut self, piece: (i64, i64)) -> Result<(), QueryError> {
        let (plan, views) = self.source.part(&self.plan, piece);
        let mut merged = plan.merged(views.clone(), Cut::LARGE);
        let (mut batches, mut rows) = (Vec::new(), 0);
        while let Some(batch) = merged.try_next().await? {
            rows += batch.num_rows();
            batches.push(batch);
            if rows <= MAX_PIECE_ROWS {
                continue;
            }
            if piece.0 < piece.1 {
                self.pieces.too_long(piece);
                return Ok(());
            }
            if self.order.event.is_some() {
                // rows of one event time stand in the order of the stream
                self.direct = Some(match self.order.descending {
                    false => stream::iter(batches.into_iter().map(Ok))
                        .chain(merged)
                        .boxed(),
                    true => sorted(
                        plan,
                        views,
                        Order {
                            event: None,
                            ..self.order
                        },
                    ),
                });
                self.pieces.taken(piece, rows);
                return Ok(());
            }
        }
        self.pieces.taken(piece, rows);
        self.held = Held::new(&batches, self.order)?;
        Ok(())
    }
}

/// What is cut into pieces, by stamp or by event time.
enum Source {
    Hlc(Vec<View>),
    Event(Vec<Timed>),
}

impl Source {
    fn new(views: Vec<View>, plan: &Plan) -> Self {
        let Some(event) = &plan.read.event else {
            return Self::Hlc(views);
        };
        let timed = |view| Timed::new(view, &event.column);
        let timed = views.into_iter().map(timed);
        if event.first < event.last {
            return Self::Event(timed.collect());
        }
        // one event time at most: its rows stand in the order of the stream
        let times = (event.first, event.last);
        Self::Hlc(timed.map(|timed| timed.within(times)).collect())
    }

    fn extents(&self) -> Vec<Extent> {
        match self {
            Self::Hlc(views) => views.iter().flat_map(View::extents).collect(),
            Self::Event(views) => views.iter().flat_map(Timed::extents).collect(),
        }
    }

    /// The lowest time of the window and the highest.
    fn bounds(&self, plan: &Plan) -> (i64, i64) {
        match (self, &plan.read.event) {
            (Self::Event(_), Some(event)) => (event.first, event.last),
            _ => {
                let hlc = &plan.read.hlc;
                (hlc.start.0, hlc.end.0.saturating_sub(1))
            }
        }
    }

    /// What is to be read of a piece.
    fn part(&self, plan: &Plan, (first, last): (i64, i64)) -> (Arc<Plan>, Vec<View>) {
        let mut plan = plan.clone();
        let views = match self {
            Self::Hlc(views) => {
                let hlc = Hlc(first)..Hlc(last).plus(1);
                let views = views.iter().map(|view| view.within(&hlc)).collect();
                plan.read.hlc = hlc;
                views
            }
            Self::Event(views) => {
                if let Some(event) = &mut plan.read.event {
                    (event.first, event.last) = (first, last);
                }
                views
                    .iter()
                    .map(|view| view.within((first, last)))
                    .collect()
            }
        };
        (Arc::new(plan), views)
    }
}

/// The rows of a piece that have not been given yet.
#[derive(Default)]
struct Held {
    rows: Option<RecordBatch>,
    /// Their places, next first.
    order: Vec<u32>,
    given: usize,
}

impl Held {
    fn new(batches: &[RecordBatch], order: Order) -> Result<Self, ArrowError> {
        let Some(first) = batches.first() else {
            return Ok(Self::default());
        };
        let rows = concat_batches(first.schema_ref(), batches)?;
        let mut places: Vec<u32> =
            (0..u32::try_from(rows.num_rows()).unwrap_or(u32::MAX)).collect();
        if let Some(event) = order.event {
            let times = rows.column(event).as_primitive::<TimestampNanosecondType>();
            let times = times.values();
            // stable: rows of one event time stay in the order of the stream
            places.sort_by_key(|place| times[*place as usize]);
        }
        if order.descending {
            places.reverse();
        }
        Ok(Self {
            rows: Some(rows),
            order: places,
            given: 0,
        })
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let Some(rows) = self.rows.as_ref().filter(|_| self.given < self.order.len()) else {
            self.rows = None;
            return Ok(None);
        };
        let to = (self.given + ANSWER_ROWS).min(self.order.len());
        let places = UInt32Array::from(self.order[self.given..to].to_vec());
        self.given = to;
        Ok(Some(take_record_batch(rows, &places)?))
    }
}
