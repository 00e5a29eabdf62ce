//! Reading what a query needs of a segment: pruned by page, projected, filtered, in key order.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::kernels::cmp::lt;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::StreamExt;
use futures::stream::BoxStream;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, RowFilter, RowSelection, RowSelector,
};
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use tourbillon_core::filter::{EventTimes, KeyPredicate};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, StreamName};
use tourbillon_core::manifest::SegmentMeta;
use tourbillon_core::open_rows::stamps;
use tourbillon_core::schema::SYSTEM_COLUMNS;
use tourbillon_core::sealer::SLICE_ROWS;

use super::groups::by_group;
use super::open::{Segment, checked};
use super::reader::SoundReader;
use super::slices::{rows_of, slices_of};
use crate::error::LakeError;
use crate::store::Lake;

type Rows = BoxStream<'static, Result<RecordBatch, LakeError>>;

/// Column of the log offsets.
pub(super) const OFFSET: &str = SYSTEM_COLUMNS[2];

/// What to read.
#[derive(Clone, Debug)]
pub struct SegmentRead {
    /// Stored columns to return, in this order; `hlc` and `writer` first. A column that the file is
    /// too old to have comes back null.
    pub columns: SchemaRef,
    /// Stamps, half-open.
    pub hlc: Range<Hlc>,
    /// Only rows that pass.
    pub keys: KeyPredicate,
    /// Only rows with these event times.
    pub event: Option<EventTimes>,
    /// Only rows below this log offset.
    pub before: Option<Offset>,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Rows that may well be enough: the pages of more are fetched once they are asked for.
    pub first_rows: usize,
    /// Whether few rows are wanted, whose neighbours the next window may ask for: the pages of
    /// `first_rows` are kept decoded.
    pub few: bool,
    /// Whether all rows will be asked for: row groups may be looked through on several threads before
    /// it is their turn, where there are filters.
    pub ahead: bool,
}

pub(super) type Builder = ParquetRecordBatchStreamBuilder<SoundReader>;

impl Lake {
    /// Streams the rows of a segment. Dropping the stream stops reading. Pages that can hold no
    /// stamp or event time of the window are not fetched, and of columns that are not filtered by
    /// only the pages that hold a row with accepted keys and event time.
    ///
    /// Bytes that are not those of the commit are never served: whoever is the first in this
    /// process to read from a piece of the file reads the piece whole and compares its digest.
    /// `docs/adr/0020-pieces-of-segments.md` says why and what it costs.
    pub async fn read_segment(
        &self,
        stream: &StreamName,
        meta: &SegmentMeta,
        mut read: SegmentRead,
    ) -> Result<BoxStream<'static, Result<RecordBatch, LakeError>>, LakeError> {
        let segment = self.open_segment(stream, meta).await?;
        read.before = read.before.filter(|before| meta.offsets.1 >= *before);
        let whole = read.select(segment.footer.metadata());
        let (first, rest) = parts(whole, read.first_rows);
        let rest = rest
            .map(|rest| by_group(&segment, rest))
            .unwrap_or_default();
        let batches = match read.few {
            true => {
                let kept = self.kept_rows(&segment, &read, &first);
                kept.chain(self.ahead.rows(segment, read, rest)).boxed()
            }
            false => {
                let mut groups = by_group(&segment, first);
                groups.extend(rest);
                self.ahead.rows(segment, read, groups)
            }
        };
        let some_rows = |batch: &Result<RecordBatch, LakeError>| {
            let empty = batch.as_ref().is_ok_and(|batch| batch.num_rows() == 0);
            futures::future::ready(!empty)
        };
        Ok(batches.filter(some_rows).boxed())
    }

    fn kept_rows(&self, segment: &Segment, read: &SegmentRead, rows: &RowSelection) -> Rows {
        let name = Arc::clone(&segment.name);
        let kept = Arc::clone(&self.slices);
        let rows = rows_of(kept, segment.clone(), read.clone(), slices_of(rows));
        let rows = AssertUnwindSafe(rows).catch_unwind();
        rows.map(move |batch| checked(&name, batch)).boxed()
    }
}

impl SegmentRead {
    /// What to decode of a row group.
    pub(super) fn plan(
        &self,
        builder: Builder,
        part: RowSelection,
    ) -> Result<ParquetRecordBatchStream<SoundReader>, ParquetError> {
        let all = self.columns.fields().iter();
        let mask = roots(&builder, all.map(|field| field.name().as_str()));
        let mut passes: Vec<Box<dyn ArrowPredicate>> = Vec::new();
        if let Some(event) = self.event.clone() {
            let times = roots(&builder, std::iter::once(event.column.as_str()));
            let within = ArrowPredicateFn::new(times, move |batch| event.mask(&batch));
            passes.push(Box::new(within));
        }
        if let Some(before) = self.before {
            let offsets = roots(&builder, std::iter::once(OFFSET));
            let known = ArrowPredicateFn::new(offsets, move |batch| below(&batch, before));
            passes.push(Box::new(known));
        }
        if !self.keys.is_empty() {
            let keys = self.keys.clone();
            let key_mask = roots(&builder, keys.columns());
            let accepted = ArrowPredicateFn::new(key_mask, move |batch| keys.mask(&batch));
            passes.push(Box::new(accepted));
        }
        let mut builder = builder;
        if !passes.is_empty() {
            builder = builder.with_row_filter(RowFilter::new(passes));
        }
        builder
            .with_projection(mask)
            .with_row_selection(part)
            .with_batch_size(self.batch_rows)
            .build()
    }

    /// Rows of the pages that may hold what is wanted.
    fn select(&self, metadata: &ParquetMetaData) -> RowSelection {
        let stamps = (self.hlc.start.0, self.hlc.end.0.saturating_sub(1));
        let selection = select_pages(metadata, 0, stamps);
        let Some(event) = &self.event else {
            return selection;
        };
        let columns = metadata.file_metadata().schema_descr();
        let column = columns.columns().iter();
        let column = column
            .map(|column| column.name())
            .position(|name| name == event.column);
        match column {
            Some(column) => {
                let timely = select_pages(metadata, column, (event.first, event.last));
                selection.intersection(&timely)
            }
            None => selection,
        }
    }

    /// The exact rows and columns of a batch as read.
    pub(super) fn trim(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let batch = self.conform(batch)?;
        let hlcs = stamps(&batch);
        let from = hlcs.partition_point(|hlc| *hlc < self.hlc.start.0);
        let to = hlcs.partition_point(|hlc| *hlc < self.hlc.end.0);
        Ok(batch.slice(from, to.saturating_sub(from)))
    }

    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self.columns.fields().iter().map(|field| {
            let found = batch.column_by_name(field.name()).cloned();
            found.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
        });
        RecordBatch::try_new(Arc::clone(&self.columns), columns.collect())
    }
}

/// A selection of whole pages cut in two, the first with about so many rows: the page where a window
/// begins may hold few of it.
fn parts(whole: RowSelection, first_rows: usize) -> (RowSelection, Option<RowSelection>) {
    let pages = first_rows.div_ceil(SLICE_ROWS).saturating_add(1);
    let mut left = pages.saturating_mul(SLICE_ROWS);
    if whole.row_count() <= left {
        return (whole, None);
    }
    let (mut first, mut rest, mut passed) = (Vec::new(), Vec::new(), 0);
    for step in whole.iter() {
        let now = if step.skip {
            step.row_count
        } else {
            step.row_count.min(left)
        };
        let now = if left == 0 { 0 } else { now };
        let (skip, later) = (step.skip, step.row_count - now);
        passed += now;
        left -= if skip { 0 } else { now };
        first.push(RowSelector {
            row_count: now,
            skip,
        });
        rest.push(RowSelector {
            row_count: later,
            skip,
        });
    }
    rest.insert(0, RowSelector::skip(passed));
    (first.into(), Some(rest.into()))
}

/// The columns of these names that the file has. By index, because names may hold dots.
fn roots<'a>(builder: &Builder, names: impl Iterator<Item = &'a str>) -> ProjectionMask {
    let indices = names.filter_map(|name| builder.schema().index_of(name).ok());
    ProjectionMask::roots(builder.parquet_schema(), indices)
}

/// Which rows of a batch, which must hold their offsets, lie below one.
pub(super) fn below(batch: &RecordBatch, before: Offset) -> Result<BooleanArray, ArrowError> {
    let lack = || ArrowError::InvalidArgumentError(format!("column {OFFSET} was not read"));
    let offsets = batch.column_by_name(OFFSET).ok_or_else(lack)?;
    lt(offsets, &UInt64Array::new_scalar(before.0))
}

/// Rows of the pages of a column of times that may hold one between two, both included;
/// everything where there is no page index.
fn select_pages(
    metadata: &ParquetMetaData,
    column: usize,
    (first, last): (i64, i64),
) -> RowSelection {
    let mut selectors = Vec::new();
    for (group, rows) in metadata
        .row_groups()
        .iter()
        .map(|g| g.num_rows())
        .enumerate()
    {
        let rows = usize::try_from(rows).unwrap_or(0);
        let pages = page_bounds(metadata, group, column);
        let pages = pages.unwrap_or_else(|| vec![(0, i64::MIN, i64::MAX)]);
        for (i, (from, lowest, highest)) in pages.iter().enumerate() {
            let to = pages.get(i + 1).map_or(rows, |next| next.0);
            let wanted = *highest >= first && *lowest <= last;
            let count = to.saturating_sub(*from);
            selectors.push(if wanted {
                RowSelector::select(count)
            } else {
                RowSelector::skip(count)
            });
        }
    }
    RowSelection::from(selectors)
}

/// First row, lowest and highest value of each page of a column in a row group; of a page of
/// nulls the lowest lies above the highest.
fn page_bounds(
    metadata: &ParquetMetaData,
    group: usize,
    column: usize,
) -> Option<Vec<(usize, i64, i64)>> {
    let index = metadata.column_index()?.get(group)?.get(column)?;
    let ColumnIndexMetaData::INT64(index) = index else {
        return None;
    };
    let locations = metadata
        .offset_index()?
        .get(group)?
        .get(column)?
        .page_locations();
    let bounds = locations.iter().enumerate().map(|(page, location)| {
        let first_row = usize::try_from(location.first_row_index).ok()?;
        if index.is_null_page(page) {
            return Some((first_row, i64::MAX, i64::MIN));
        }
        Some((first_row, *index.min_value(page)?, *index.max_value(page)?))
    });
    bounds.collect()
}
