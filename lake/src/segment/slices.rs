//! Slices of segments, kept decoded, for windows of few rows.
//!
//! A page has 8,192 rows. A window of a thousand would have the pages of every column and partition
//! decompressed and decoded for its few rows, and the next window of the same rows again. What was
//! decoded comes from proven bytes and is kept under what identifies them, so an answer from here is
//! as sound as one from the store, which is only asked whether a local file has changed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::compute::{and, concat, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use futures::TryStreamExt;
use futures::stream::{self, Stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::errors::ParquetError;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tourbillon_core::digest::Digest;
use tourbillon_core::sealer::SLICE_ROWS;

use super::open::Segment;
use super::packed::Packed;
use super::read::{Builder, OFFSET, SegmentRead, below};

/// Memory of the columns that are kept unless the lake says otherwise, bytes.
pub(crate) const DEFAULT_BYTES: u64 = 128 << 20;

/// How many columns that may be; only the first size of the cache's table.
const EXPECTED: usize = 4096;

/// A column of [`SLICE_ROWS`] rows of a segment that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    segment: Digest,
    slice: usize,
    column: usize,
}

/// The columns of slices that were used most lately.
#[derive(Debug)]
pub(crate) struct Slices(Cache<Place, Packed, ByMemory>);

#[derive(Clone, Debug)]
struct ByMemory;

impl Weighter<Place, Packed> for ByMemory {
    fn weight(&self, _: &Place, column: &Packed) -> u64 {
        (column.memory() + size_of::<Place>()) as u64
    }
}

impl Slices {
    /// A cache that takes so much memory.
    pub(crate) fn new(bytes: u64) -> Self {
        Self(Cache::with_weighter(EXPECTED, bytes, ByMemory))
    }

    /// Memory that is taken.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.0.weight()
    }

    /// These columns of a slice, by their place in the file, from memory or read.
    async fn columns(
        &self,
        segment: &Segment,
        slice: usize,
        wanted: &[usize],
    ) -> Result<BTreeMap<usize, Packed>, ParquetError> {
        let place = |column| Place {
            segment: segment.bytes,
            slice,
            column,
        };
        let kept = wanted
            .iter()
            .filter_map(|c| Some((*c, self.0.get(&place(*c))?)));
        let mut columns: BTreeMap<_, _> = kept.collect();
        let missing = wanted.iter().filter(|c| !columns.contains_key(c));
        let missing: Vec<usize> = missing.copied().collect();
        if missing.is_empty() {
            return Ok(columns);
        }
        for (column, packed) in decode(segment, slice, missing).await? {
            self.0.insert(place(column), packed.clone());
            columns.insert(column, packed);
        }
        Ok(columns)
    }
}

/// Decodes columns of a slice.
async fn decode(
    segment: &Segment,
    slice: usize,
    mut wanted: Vec<usize>,
) -> Result<Vec<(usize, Packed)>, ParquetError> {
    wanted.sort_unstable();
    let rows = [
        RowSelector::skip(slice * SLICE_ROWS),
        RowSelector::select(SLICE_ROWS),
    ];
    let builder = Builder::new_with_metadata(segment.reader.clone(), segment.footer.clone());
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied());
    let batches = builder
        .with_projection(mask)
        .with_row_selection(RowSelection::from(rows.to_vec()))
        .with_batch_size(SLICE_ROWS)
        .build()?;
    let batches: Vec<RecordBatch> = batches.try_collect().await?;
    let packed = wanted.iter().enumerate().map(|(place, column)| {
        let parts: Vec<_> = batches
            .iter()
            .map(|batch| batch.column(place).as_ref())
            .collect();
        Ok((*column, Packed::new(&concat(&parts)?)))
    });
    packed.collect()
}

/// The slices that a selection takes rows of.
pub(super) fn slices_of(rows: &RowSelection) -> Vec<usize> {
    let (mut slices, mut at) = (Vec::new(), 0);
    for step in rows.iter() {
        let end = at + step.row_count;
        if !step.skip && step.row_count > 0 {
            let from = (at / SLICE_ROWS).max(slices.last().map_or(0, |last| last + 1));
            slices.extend(from..end.div_ceil(SLICE_ROWS));
        }
        at = end;
    }
    slices
}

/// The rows of some slices that are wanted, in batches that are made as they are asked for.
pub(super) fn rows_of(
    kept: Arc<Slices>,
    segment: Segment,
    read: SegmentRead,
    slices: Vec<usize>,
) -> impl Stream<Item = Result<RecordBatch, ParquetError>> {
    let start = (kept, segment, read, slices.into_iter(), None::<Open>);
    stream::try_unfold(
        start,
        |(kept, segment, read, mut slices, open)| async move {
            let mut open = open;
            loop {
                if let Some(batch) = open.as_mut().map(Open::next).transpose()?.flatten() {
                    return Ok(Some((batch, (kept, segment, read, slices, open))));
                }
                let Some(slice) = slices.next() else {
                    return Ok(None);
                };
                open = Open::new(&kept, &segment, slice, &read).await?;
            }
        },
    )
}

/// A slice of which rows are given.
struct Open {
    schema: SchemaRef,
    /// By column of `schema`; the file lacks some.
    columns: Vec<Option<Packed>>,
    left: Range<usize>,
    batch_rows: usize,
    /// What is left after filters, if there are any.
    filtered: Option<RecordBatch>,
}

impl Open {
    async fn new(
        kept: &Slices,
        segment: &Segment,
        slice: usize,
        read: &SegmentRead,
    ) -> Result<Option<Self>, ParquetError> {
        let file = segment.footer.schema();
        let schema = with_filtered(file, read);
        let fields = schema.fields().iter();
        let places: Vec<Option<usize>> = fields.map(|f| file.index_of(f.name()).ok()).collect();
        let wanted: Vec<usize> = places.iter().flatten().copied().collect();
        let found = kept.columns(segment, slice, &wanted).await?;
        let columns = places
            .iter()
            .map(|place| found.get(place.as_ref()?).cloned());
        let mut open = Self {
            left: 0..0,
            columns: columns.collect(),
            schema,
            batch_rows: read.batch_rows.max(1),
            filtered: None,
        };
        open.left = open.within(read)?;
        open.filter(read)?;
        Ok(Some(open))
    }

    /// The rows whose stamps are wanted.
    fn within(&self, read: &SegmentRead) -> Result<Range<usize>, ParquetError> {
        let general = |reason: &str| ParquetError::General(reason.to_owned());
        let no_stamps = || general("its column hlc holds no stamps");
        let stamps = self.columns.first().and_then(Option::as_ref);
        let stamps = stamps.ok_or_else(no_stamps)?;
        let mut columns = self.columns.iter().flatten();
        if columns.any(|column| column.rows() != stamps.rows()) {
            return Err(general("its columns are not of one length"));
        }
        let below = |bound: i64| stamps.times_below(bound).ok_or_else(no_stamps);
        let (from, to) = (below(read.hlc.start.0)?, below(read.hlc.end.0)?);
        Ok(from..to.max(from))
    }

    /// Takes out what does not pass, if anything may not.
    fn filter(&mut self, read: &SegmentRead) -> Result<(), ArrowError> {
        if read.keys.is_empty() && read.event.is_none() && read.before.is_none() {
            return Ok(());
        }
        let rows = self.batch(self.left.clone())?;
        let mut mask = read.keys.mask(&rows)?;
        if let Some(event) = &read.event {
            mask = and(&mask, &event.mask(&rows)?)?;
        }
        if let Some(before) = read.before {
            mask = and(&mask, &below(&rows, before)?)?;
        }
        let columns: Vec<usize> = (0..read.columns.fields().len()).collect();
        let rows = filter_record_batch(&rows.project(&columns)?, &mask)?;
        self.left = 0..rows.num_rows();
        self.filtered = Some(rows);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let to = self.left.end.min(self.left.start + self.batch_rows);
        let rows = self.left.start..to;
        self.left.start = to;
        match &self.filtered {
            Some(filtered) => Ok(Some(filtered.slice(rows.start, rows.len()))),
            None => self.batch(rows).map(Some),
        }
    }

    fn batch(&self, rows: Range<usize>) -> Result<RecordBatch, ArrowError> {
        let fields = self.schema.fields().iter().zip(&self.columns);
        let columns = fields.map(|(field, column)| match column {
            Some(column) => column.rows_at(rows.clone()),
            None => new_null_array(field.data_type(), rows.len()),
        });
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())
    }
}

/// The columns that are wanted, and behind them those that only filters look at.
fn with_filtered(file: &SchemaRef, read: &SegmentRead) -> SchemaRef {
    let event = read.event.iter().map(|event| event.column.as_str());
    let looked_at = read.keys.columns().chain(event);
    let looked_at = looked_at.chain(read.before.map(|_| OFFSET));
    let wanted = |name: &str| read.columns.field_with_name(name).is_ok();
    let more = looked_at.filter(|name| !wanted(name));
    let more = more.filter_map(|name| file.field_with_name(name).ok());
    let more: Vec<_> = more.map(|field| Arc::new(field.clone())).collect();
    if more.is_empty() {
        return Arc::clone(&read.columns);
    }
    let fields = read.columns.fields().iter().cloned().chain(more);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
