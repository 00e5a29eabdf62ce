//! The proof at the end: what was acknowledged is what is stored, and what is stored is what the
//! log says.

use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::AsArray;
use arrow::buffer::Buffer;
use arrow::datatypes::{Int64Type, TimestampNanosecondType, UInt32Type};
use arrow::ipc::reader::StreamDecoder;
use futures::StreamExt;
use tokio::time::{Instant, sleep};
use tourbillon_core::ids::PartitionId;
use tourbillon_log::TopicPartition;

use super::feed::Record;
use super::stage::{STREAM, Stage};
use crate::client::Client;
use crate::commands::verify::verify_partition;

/// How long the worker may take to reach the log's end.
const CATCH_UP: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Proof {
    pub(super) acknowledged: u64,
    pub(super) window_rows: u64,
    pub(super) once: bool,
    pub(super) strict_order: bool,
    pub(super) segments: u64,
    pub(super) commits: u64,
    pub(super) sealed_rows: u64,
    pub(super) open_rows: u64,
    pub(super) duplicate_rows: u64,
    pub(super) rejected_rows: u64,
    pub(super) differences: Vec<String>,
    /// Rows that were watched until they could be read.
    pub(super) probed_rows: usize,
    /// Rows that were there before the demo.
    older_rows: u64,
}

impl Proof {
    /// Whether all is as it should be.
    pub(super) fn holds(&self) -> bool {
        self.once
            && self.strict_order
            && self.differences.is_empty()
            && self.acknowledged > 0
            && self.probed_rows > 0
            && self.sealed_rows + self.open_rows == self.older_rows + self.window_rows
    }
}

/// Reads everything back, closes the stage and verifies every partition.
pub(super) async fn prove(stage: Stage, record: &Record, older_rows: u64) -> anyhow::Result<Proof> {
    let acknowledged = record.acknowledged();
    let mut proof = Proof {
        acknowledged,
        older_rows,
        ..Proof::default()
    };
    if proof.acknowledged == 0 {
        bail!("no row was acknowledged");
    }
    let [reader, _] = stage.clients()?;
    read_back(&reader, record, &mut proof).await?;
    stage.close_front().await;
    catch_up(&stage).await?;
    stage.worker.shutdown().await;
    for partition in (0..stage.def.partitions).map(PartitionId) {
        let report = verify_partition(&stage.backbone, &stage.def, partition, &|_, _| {}).await?;
        proof.segments += report.segments;
        proof.commits += report.commits;
        proof.sealed_rows += report.sealed_rows;
        proof.open_rows += report.open_rows;
        proof.duplicate_rows += report.duplicate_rows;
        proof.rejected_rows += report.rejected_rows;
        proof.differences.extend(report.differences);
        proof.differences.extend(report.strays);
        if !report.complete {
            proof
                .differences
                .push(format!("partition {partition} lacks commits that are due"));
        }
    }
    stage.close().await?;
    Ok(proof)
}

/// One window over everything, through the service as any client would.
async fn read_back(reader: &Client, record: &Record, proof: &mut Proof) -> anyhow::Result<()> {
    let query = [
        ("start".to_owned(), record.first_hlc().to_string()),
        ("end".to_owned(), (record.last_hlc() + 1).to_string()),
        ("columns".to_owned(), "hlc,writer,seq".to_owned()),
        ("wait".to_owned(), "30s".to_owned()),
    ];
    let path = ["v1", "streams", STREAM, "window"];
    let answer = reader
        .get(&path, &query, "application/vnd.apache.arrow.stream")
        .await?;
    let mut bytes = answer.bytes_stream();
    let mut decoder = StreamDecoder::new();
    let mut seen = vec![false; usize::try_from(proof.acknowledged)?];
    let (mut last, mut repeated) = (None, false);
    proof.strict_order = true;
    while let Some(chunk) = bytes.next().await {
        let mut chunk = Buffer::from(chunk.context("the window broke off")?);
        while let Some(batch) = decoder.decode(&mut chunk)? {
            let hlcs = batch.column(0).as_primitive::<TimestampNanosecondType>();
            let writers = batch.column(1).as_primitive::<UInt32Type>();
            let seqs = batch.column(2).as_primitive::<Int64Type>();
            for ((hlc, writer), seq) in hlcs
                .values()
                .iter()
                .zip(writers.values())
                .zip(seqs.values())
            {
                proof.strict_order &= last.is_none_or(|last| last < (*hlc, *writer));
                last = Some((*hlc, *writer));
                let place = usize::try_from(*seq).ok().and_then(|seq| seen.get_mut(seq));
                match place {
                    Some(place) => repeated |= std::mem::replace(place, true),
                    None => repeated = true,
                }
            }
            proof.window_rows += batch.num_rows() as u64;
        }
    }
    proof.once = !repeated && seen.iter().all(|seen| *seen);
    Ok(())
}

/// Waits until the worker has read what the log holds.
async fn catch_up(stage: &Stage) -> anyhow::Result<()> {
    let until = Instant::now() + CATCH_UP;
    let name = &stage.def.name;
    for partition in (0..stage.def.partitions).map(PartitionId) {
        let topic = stage.backbone.control.stream_topic(name);
        let end = stage
            .backbone
            .log
            .range(&TopicPartition { topic, partition })
            .await?
            .end;
        let key = (name.clone(), partition);
        while stage
            .worker
            .progress()
            .get(&key)
            .is_none_or(|p| p.next_offset() < end.0)
        {
            if Instant::now() > until {
                bail!("the worker did not reach the log's end in partition {partition}");
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}
