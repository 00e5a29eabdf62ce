//! Rows of the live edge as subscribers share them: read once, cut once for each way to look at
//! them, and encoded once for each format.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tourbillon_core::filter::KeyPredicate;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::open_rows::{key_at, offsets, stamps};

use super::place::{Place, Reach};
use super::work::Work;
use crate::encode::{Encoder, OutputFormat};
use crate::error::QueryError;

/// How a subscriber looks at rows: which of them pass, and the columns that it is sent.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The same for all who look alike.
    pub(super) name: Arc<str>,
    pub(super) keys: KeyPredicate,
    pub(super) schema: SchemaRef,
}

impl Look {
    /// What of rows in all columns is seen. A column that they lack came after them, and is null.
    pub(super) fn at(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self.schema.fields().iter().map(|field| {
            let found = rows.column_by_name(field.name()).cloned();
            found.unwrap_or_else(|| new_null_array(field.data_type(), rows.num_rows()))
        });
        let seen = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?;
        match self.keys.is_empty() {
            true => Ok(seen),
            false => filter_record_batch(&seen, &self.keys.mask(rows)?),
        }
    }
}

/// Bytes that are kept to be shared: of one stretch, and of all together. `None` when nothing more
/// of the stretch is kept.
#[derive(Debug)]
pub(super) struct Tally {
    own: Mutex<Option<usize>>,
    all: Arc<AtomicUsize>,
}

impl Tally {
    fn new(all: Arc<AtomicUsize>) -> Self {
        let own = Mutex::new(Some(0));
        Self { own, all }
    }

    fn add(&self, bytes: usize) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = own.as_mut() {
            *own += bytes;
            self.all.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn close(&self) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = own.take().unwrap_or(0);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Rows as a subscriber is sent them, and their bytes once somebody needs those.
#[derive(Debug)]
pub(crate) struct Cut {
    rows: OnceCell<RecordBatch>,
    json: OnceCell<Bytes>,
    arrow: OnceCell<Bytes>,
    /// Counts what is kept; absent if it is one subscriber's own.
    tally: Option<Arc<Tally>>,
    work: Arc<Work>,
}

impl Cut {
    /// Rows of one subscriber alone.
    pub(super) fn own(rows: RecordBatch, work: Arc<Work>) -> Self {
        let rows = OnceCell::new_with(Some(rows));
        let (json, arrow) = (OnceCell::new(), OnceCell::new());
        Self {
            rows,
            json,
            arrow,
            tally: None,
            work,
        }
    }

    fn shared(tally: Arc<Tally>, work: Arc<Work>) -> Self {
        Self {
            rows: OnceCell::new(),
            json: OnceCell::new(),
            arrow: OnceCell::new(),
            tally: Some(tally),
            work,
        }
    }

    fn keep(&self, bytes: usize) {
        if let Some(tally) = &self.tally {
            tally.add(bytes);
        }
    }

    /// Whether no row passes.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.get().is_none_or(|rows| rows.num_rows() == 0)
    }

    fn rows(&self) -> RecordBatch {
        let none = || RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
        self.rows.get().cloned().unwrap_or_else(none)
    }

    /// A JSON array in one line.
    pub(super) async fn json(&self) -> Result<Bytes, QueryError> {
        let text = self.json.get_or_try_init(|| async {
            let rows = self.rows();
            let mut encoder = Encoder::new(OutputFormat::Json, &rows.schema())?;
            let mut text = encoder.encode(&rows)?.to_vec();
            text.extend_from_slice(&encoder.finish()?);
            self.work.encoded();
            self.keep(text.len());
            Ok::<_, QueryError>(Bytes::from(text))
        });
        Ok(text.await?.clone())
    }

    /// A message of an Arrow stream. It has no dictionaries, so it fits into every stream with
    /// these columns.
    pub(super) async fn arrow(&self) -> Result<Bytes, QueryError> {
        let message = self.arrow.get_or_try_init(|| async {
            let rows = self.rows();
            let mut encoder = Encoder::new(OutputFormat::Arrow, &rows.schema())?;
            encoder.head();
            let message = encoder.encode(&rows)?;
            self.work.encoded();
            self.keep(message.len());
            Ok::<_, QueryError>(message)
        });
        Ok(message.await?.clone())
    }
}

type Cuts = BTreeMap<Arc<str>, Arc<Cut>>;

/// Some rows that follow one another at the live edge, in all columns; there is at least one.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) reach: Reach,
    /// When it was read.
    pub(super) made: Instant,
    /// Bytes that its rows take.
    pub(super) bytes: usize,
    rows: RecordBatch,
    lowest: Hlc,
    /// What was made of it, as long as there is room.
    cuts: Mutex<Option<Cuts>>,
    tally: Arc<Tally>,
    work: Arc<Work>,
}

impl Stretch {
    pub(super) fn new(
        rows: &RecordBatch,
        reach: Reach,
        work: &Arc<Work>,
    ) -> Result<Self, ArrowError> {
        let rows = snug(rows)?;
        let lowest = stamps(&rows).iter().min().map_or(Hlc::MIN, |hlc| Hlc(*hlc));
        Ok(Self {
            reach,
            made: Instant::now(),
            bytes: rows.get_array_memory_size(),
            rows,
            lowest,
            cuts: Mutex::new(Some(Cuts::new())),
            tally: Arc::new(Tally::new(work.kept())),
            work: Arc::clone(work),
        })
    }

    /// What a subscriber who is at `place` is sent of it.
    pub(super) async fn cut(&self, look: &Look, place: &Place) -> Result<Arc<Cut>, QueryError> {
        if let Some(rest) = self.beyond(place)? {
            return Ok(Arc::new(Cut::own(look.at(&rest)?, Arc::clone(&self.work))));
        }
        let cut = self.shared(look);
        let made = cut.rows.get_or_try_init(|| async {
            let rows = look.at(&self.rows)?;
            if !look.keys.is_empty() {
                cut.keep(rows.get_array_memory_size());
            }
            Ok::<_, QueryError>(rows)
        });
        made.await?;
        Ok(cut)
    }

    fn shared(&self, look: &Look) -> Arc<Cut> {
        let fresh = || {
            let (tally, work) = (Arc::clone(&self.tally), Arc::clone(&self.work));
            Arc::new(Cut::shared(tally, work))
        };
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        match cuts.as_mut() {
            Some(cuts) => Arc::clone(cuts.entry(Arc::clone(&look.name)).or_insert_with(fresh)),
            None => fresh(),
        }
    }

    /// Keeps nothing that was made of it any longer, only the rows.
    pub(super) fn forget_cuts(&self) {
        let cuts = {
            let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
            cuts.take()
        };
        self.tally.close();
        drop(cuts);
    }

    /// The rows that a subscriber lacks, if that is not all of them.
    fn beyond(&self, place: &Place) -> Result<Option<RecordBatch>, ArrowError> {
        match (place, self.reach) {
            (Place::Ordered(sent), Reach::Through(_)) if *sent >= key_at(&self.rows, 0) => {
                let rows = self.rows.num_rows();
                let had = (0..rows).take_while(|row| key_at(&self.rows, *row) <= *sent);
                let had = had.count();
                Ok(Some(self.rows.slice(had, rows - had)))
            }
            (Place::Eager(gained), Reach::Gained(partition, _)) => {
                let (from, floor) = (gained.seen.offset(partition), gained.floor());
                let offsets = offsets(&self.rows);
                if offsets.first().is_none_or(|first| from.0 <= *first) && floor < self.lowest {
                    return Ok(None);
                }
                let rows = offsets.iter().zip(stamps(&self.rows));
                let lacking = rows.map(|(at, hlc)| Some(*at >= from.0 && *hlc > floor.0));
                let lacking: BooleanArray = lacking.collect();
                Ok(Some(filter_record_batch(&self.rows, &lacking)?))
            }
            _ => Ok(None),
        }
    }
}

/// The rows in buffers of their own, if those that they lie in are much larger.
fn snug(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter();
    let needed: usize = columns
        .map(|column| column.to_data().get_slice_memory_size())
        .sum::<Result<usize, _>>()?;
    if rows.get_array_memory_size() <= 2 * needed + 4096 {
        return Ok(rows.clone());
    }
    let all = UInt32Array::from_iter_values((0..).take(rows.num_rows()));
    take_record_batch(rows, &all)
}
