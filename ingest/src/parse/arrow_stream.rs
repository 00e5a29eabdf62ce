//! Arrow IPC streams, columns converted without loss to the types of the stream.
//!
//! The decoder validates offsets, keys and UTF-8, yet a crafted stream can still make it panic;
//! such a panic is caught and answered as damage, so that no body can take a gateway down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use bytes::Bytes;
use tourbillon_core::schema::StreamSchema;

use super::convert::convert;
use super::error::{ParseError, RowError};
use super::{Refusals, row_limit};

pub(super) fn parse(
    schema: &StreamSchema,
    body: &Bytes,
    refusals: &mut Refusals,
) -> Result<RecordBatch, ParseError> {
    // nothing of a parse that panicked is looked at again
    let attempt = AssertUnwindSafe(|| decode(schema, body, refusals));
    catch_unwind(attempt).unwrap_or(Err(ParseError::ArrowDecoder))
}

fn decode(
    schema: &StreamSchema,
    body: &Bytes,
    refusals: &mut Refusals,
) -> Result<RecordBatch, ParseError> {
    let limit = row_limit(schema.columns().len());
    let mut decoder = StreamDecoder::new();
    let mut rest = Buffer::from(body.clone());
    let mut batches = Vec::new();
    let mut rows = 0;
    let damaged = |rows| move |source| ParseError::ArrowStream { rows, source };
    while let Some(batch) = decoder.decode(&mut rest).map_err(damaged(rows))? {
        if batch.num_rows() > limit - rows {
            return Err(ParseError::TooManyRows { limit });
        }
        batches.push(fit(schema, &batch, rows, refusals)?);
        rows += batch.num_rows();
    }
    decoder.finish().map_err(damaged(rows))?;
    let source = decoder.schema().ok_or_else(|| {
        damaged(rows)(ArrowError::IpcError("the stream has no schema".to_owned()))
    })?;
    places(schema, &source)?;
    match batches.as_slice() {
        [only] => Ok(only.clone()),
        all => concat_batches(schema.data(), all).map_err(ParseError::Assemble),
    }
}

/// Converts one batch, which `before` rows precede.
fn fit(
    schema: &StreamSchema,
    batch: &RecordBatch,
    before: usize,
    refusals: &mut Refusals,
) -> Result<RecordBatch, ParseError> {
    let mut columns = Vec::with_capacity(schema.columns().len());
    let mut bad = Vec::new();
    let places = places(schema, batch.schema_ref())?;
    for (column, place) in schema.columns().iter().zip(places) {
        let Some(place) = place else {
            columns.push(new_null_array(&column.ty.arrow(), batch.num_rows()));
            continue;
        };
        let source = batch.column(place);
        let fitted = convert(source, column)?;
        if let Some(rows) = misfits(source, &fitted, column.nullable) {
            bad.push((place, column, rows));
        }
        columns.push(fitted);
    }
    if bad.is_empty() {
        return assemble(schema.data(), columns, batch.num_rows());
    }
    let every = bad.iter().map(|(.., rows)| rows.clone());
    let Some(every) = every.reduce(|all, rows| &all | &rows) else {
        return assemble(schema.data(), columns, batch.num_rows());
    };
    for row in every.set_indices() {
        refusals.add(|| {
            let first = bad.iter().find(|(.., rows)| rows.value(row));
            let missing = |place: usize| {
                let nulls = batch.column(place).logical_nulls();
                nulls.is_some_and(|nulls| nulls.is_null(row))
            };
            let reason = match first {
                Some(&(place, ..)) if missing(place) => "is required".to_owned(),
                Some((_, column, _)) => format!("does not fit {} without loss", column.ty),
                None => String::new(),
            };
            RowError {
                row: (before + row + 1) as u64,
                column: first.map(|(_, column, _)| column.name.clone()),
                reason,
            }
        });
    }
    // required columns hold nulls until the bad rows are gone
    let loose: Vec<_> = schema.data().fields().iter().collect();
    let loose = loose
        .into_iter()
        .map(|f| f.as_ref().clone().with_nullable(true));
    let loose = Arc::new(Schema::new(loose.collect::<Vec<_>>()));
    let all = assemble(&loose, columns, batch.num_rows())?;
    let good = filter_record_batch(&all, &BooleanArray::new(!&every, None));
    let good = good.map_err(ParseError::Assemble)?;
    assemble(schema.data(), good.columns().to_vec(), good.num_rows())
}

fn assemble(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ParseError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(ParseError::Assemble)
}

/// Rows whose value was lost on the way, or is null where the column does not allow it.
fn misfits(source: &ArrayRef, fitted: &ArrayRef, nullable: bool) -> Option<BooleanBuffer> {
    let empty = !fitted.logical_nulls()?.inner();
    let bad = match source.logical_nulls() {
        Some(before) if nullable => &empty & before.inner(),
        _ => empty,
    };
    (bad.count_set_bits() > 0).then_some(bad)
}

/// Place in the body of each column of the stream.
fn places(schema: &StreamSchema, source: &Schema) -> Result<Vec<Option<usize>>, ParseError> {
    let refuse = |column: &str, reason: &str| ParseError::Column {
        column: column.chars().take(40).collect(),
        reason: reason.to_owned(),
    };
    let mut places = vec![None; schema.columns().len()];
    for (place, field) in source.fields().iter().enumerate() {
        let column = schema
            .index_of(field.name())
            .ok_or_else(|| refuse(field.name(), "is not a column of the stream"))?;
        if places[column].replace(place).is_some() {
            return Err(refuse(field.name(), "is given twice"));
        }
    }
    let mut columns = schema.columns().iter().zip(&places);
    match columns.find(|(column, place)| !column.nullable && place.is_none()) {
        Some((column, _)) => Err(refuse(&column.name, "is required but not in the schema")),
        None => Ok(places),
    }
}
