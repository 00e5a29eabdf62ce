//! The least that a stage must do, done by nothing else: what its figure is compared with.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use arrow::array::{
    ArrayRef, AsArray, Decimal128Builder, Int64Builder, RecordBatch, StringDictionaryBuilder,
    TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, TimestampNanosecondType, UInt32Type};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Deserialize;
use tokio::time::Instant;
use tourbillon_core::frame::{BodyCodec, FrameHeader, FrameKind};
use tourbillon_core::ids::PartitionId;
use tourbillon_core::schema::StreamSchema;
use tourbillon_log::TopicPartition;

use crate::rig::Rig;

/// Writes each body behind the one before and flushes it to the disk; seconds.
pub(crate) fn disk(folder: &Path, bodies: &[(Bytes, usize)]) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(folder)?;
    let mut file = File::create(folder.path().join("floor"))?;
    let begun = Instant::now();
    for (body, _) in bodies {
        file.write_all(body)?;
        file.sync_data()?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// A trade as the bodies have it.
#[derive(Debug, Deserialize)]
struct Trade<'a> {
    venue: &'a str,
    symbol: &'a str,
    ts_event: i64,
    price: &'a str,
    size: &'a str,
    side: &'a str,
    seq: i64,
}

/// Parses each body with sonic-rs (SIMD) into the stream's columns, and does nothing else: no check of
/// any value, no unknown field, no error; seconds.
pub(crate) fn ndjson(bodies: &[(Bytes, usize)]) -> anyhow::Result<f64> {
    let begun = Instant::now();
    for (body, rows) in bodies {
        let columns = columns(body)?;
        ensure!(columns[0].len() == *rows, "the floor lost rows");
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn columns(body: &[u8]) -> anyhow::Result<Vec<ArrayRef>> {
    let [mut venue, mut symbol, mut side] =
        std::array::from_fn(|_| StringDictionaryBuilder::<UInt32Type>::new());
    let (mut event, mut seq) = (TimestampNanosecondBuilder::new(), Int64Builder::new());
    let [mut price, mut size] = std::array::from_fn(|_| {
        Decimal128Builder::new().with_data_type(DataType::Decimal128(18, 9))
    });
    for line in body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let trade: Trade<'_> = sonic_rs::from_slice(line)?;
        venue.append(trade.venue)?;
        symbol.append(trade.symbol)?;
        event.append_value(trade.ts_event);
        price.append_value(decimal(trade.price)?);
        size.append_value(decimal(trade.size)?);
        side.append(trade.side)?;
        seq.append_value(trade.seq);
    }
    Ok(vec![
        Arc::new(venue.finish()),
        Arc::new(symbol.finish()),
        Arc::new(event.finish()),
        Arc::new(price.finish()),
        Arc::new(size.finish()),
        Arc::new(side.finish()),
        Arc::new(seq.finish()),
    ])
}

/// A decimal of scale 9.
fn decimal(text: &str) -> anyhow::Result<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits: i128 = part.parse().unwrap_or(0);
    let places = u32::try_from(part.len())?;
    Ok(whole.parse::<i128>()? * 1_000_000_000 + digits * 10_i128.pow(9 - places))
}

/// Decodes the frames of a log and writes their rows, as they come, with Arrow's Parquet writer, a
/// file for each partition; one thread does it all; rows and seconds.
pub(crate) async fn parquet(rig: &Rig) -> anyhow::Result<(usize, f64)> {
    let (schema, records) = (schema(rig)?, records(rig).await?);
    let begun = Instant::now();
    let mut rows = 0;
    for of_partition in &records {
        rows += write(&schema, of_partition)?;
    }
    Ok((rows, begun.elapsed().as_secs_f64()))
}

/// Decodes the frames of a log; rows and seconds.
pub(crate) async fn frames(rig: &Rig) -> anyhow::Result<(usize, f64)> {
    let (schema, records) = (schema(rig)?, records(rig).await?);
    let begun = Instant::now();
    let mut rows = 0;
    for of_partition in &records {
        decoded(&schema, of_partition, |batch| {
            rows += batch.num_rows();
            Ok(())
        })?;
    }
    Ok((rows, begun.elapsed().as_secs_f64()))
}

/// The stamp of a batch's first row.
pub(crate) fn first_stamp(batch: &RecordBatch) -> anyhow::Result<i64> {
    let stamps = batch
        .column(0)
        .as_primitive_opt::<TimestampNanosecondType>();
    let stamps = stamps.context("the first column has the stamps")?;
    stamps.values().first().copied().context("an empty batch")
}

fn schema(rig: &Rig) -> anyhow::Result<StreamSchema> {
    let view = rig.control.view();
    let stream = view
        .streams
        .get(&rig.stream)
        .context("the stream is there")?;
    Ok(stream.schema().clone())
}

/// The records of each partition.
async fn records(rig: &Rig) -> anyhow::Result<Vec<Vec<Bytes>>> {
    let mut records = Vec::new();
    let topic = rig.control.stream_topic(&rig.stream);
    for partition in (0..rig.log.partitions(&topic).await?.unwrap_or(0)).map(PartitionId) {
        let at = TopicPartition {
            topic: topic.clone(),
            partition,
        };
        let range = rig.log.range(&at).await?;
        let mut reader = rig.log.read(&at, range.start).await?;
        let (mut next, mut of_partition) = (range.start, Vec::new());
        while next < range.end {
            for record in reader.next().await? {
                next = record.offset.next();
                of_partition.push(record.payload);
            }
        }
        records.push(of_partition);
    }
    Ok(records)
}

fn write(schema: &StreamSchema, records: &[Bytes]) -> anyhow::Result<usize> {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1)?);
    let properties = WriterProperties::builder().set_compression(zstd).build();
    let stored = Arc::clone(schema.stored());
    let mut writer = ArrowWriter::try_new(Vec::new(), stored, Some(properties))?;
    let mut rows = 0;
    decoded(schema, records, |batch| {
        rows += batch.num_rows();
        Ok(writer.write(&batch)?)
    })?;
    writer.close()?;
    Ok(rows)
}

fn decoded(
    schema: &StreamSchema,
    records: &[Bytes],
    mut each: impl FnMut(RecordBatch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let codec = BodyCodec::new(schema.clone())?;
    for (offset, record) in (0..).zip(records) {
        let (header, body) = FrameHeader::decode(record)?;
        if header.kind == FrameKind::Data {
            each(codec.decode(&header, &body, offset)?)?;
        }
    }
    Ok(())
}
