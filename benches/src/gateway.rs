//! Bodies through a gateway to the embedded log, every row durable when it counts.

use std::path::Path;

use anyhow::ensure;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use tourbillon_core::ids::PartitionId;
use tourbillon_log::TopicPartition;

use crate::bodies::{FORMATS, Format};
use crate::floors;
use crate::rig::{Rig, call};
use crate::{Figure, rate};

/// Requests in flight.
const IN_FLIGHT: usize = 8;

pub(crate) async fn measure(
    folder: &Path,
    rows: usize,
    runs: usize,
) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for format in FORMATS {
        let bodies = format.bodies(rows)?;
        let bytes: usize = bodies.iter().map(|(body, _)| body.len()).sum();
        let (mut values, mut shares) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let rig = Rig::new(folder).await?;
            let router = rig.router();
            let begun = Instant::now();
            let calls = stream::iter(&bodies).map(|(body, _)| {
                call(
                    &router,
                    format.path,
                    format.content_type,
                    Some(body.clone()),
                )
            });
            calls
                .buffer_unordered(IN_FLIGHT)
                .try_collect::<Vec<_>>()
                .await?;
            let took = begun.elapsed();
            values.push(rate(rows, took) / 1e6);
            let stored = count(&rig).await?;
            ensure!(
                stored == rows as u64,
                "{} of {rows} rows are in the log",
                stored
            );
            rig.close().await?;
            let floor = floor(format, folder, &bodies)?;
            shares.extend(floor.map(|(_, seconds)| seconds / took.as_secs_f64()));
        }
        let name = format!("gateway, {} ({} B a row)", format.name, bytes / rows);
        figures.push(Figure {
            name,
            unit: "M rows/s",
            values,
        });
        if let Some((what, _)) = floor(format, folder, &bodies[..1])? {
            figures.push(Figure {
                name: format!("gateway, {}: of {what}", format.name),
                unit: "x",
                values: shares,
            });
        }
    }
    Ok(figures)
}

/// What a format is compared with, and how long that takes.
fn floor(
    format: Format,
    folder: &Path,
    bodies: &[(Bytes, usize)],
) -> anyhow::Result<Option<(&'static str, f64)>> {
    Ok(match format.name {
        "arrow" => Some((
            "write and flush, body by body",
            floors::disk(folder, bodies)?,
        )),
        "ndjson" => Some(("sonic-rs into columns, one thread", floors::ndjson(bodies)?)),
        _ => None,
    })
}

/// Rows in the log, by the headers of its frames.
pub(crate) async fn count(rig: &Rig) -> anyhow::Result<u64> {
    let mut rows = 0;
    let topic = rig.control.stream_topic(&rig.stream);
    let partitions = rig.log.partitions(&topic).await?.unwrap_or(0);
    for partition in (0..partitions).map(PartitionId) {
        let at = TopicPartition {
            topic: topic.clone(),
            partition,
        };
        let range = rig.log.range(&at).await?;
        let mut reader = rig.log.read(&at, range.start).await?;
        let mut next = range.start;
        while next < range.end {
            for record in reader.next().await? {
                next = record.offset.next();
                let (header, _) = tourbillon_core::frame::FrameHeader::decode(&record.payload)?;
                rows += u64::from(header.rows);
            }
        }
    }
    Ok(rows)
}
