//! An independent reading of the whole log after a run, and what it says about each promise.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tourbillon_core::control::StreamDef;
use tourbillon_core::frame::FrameHeader;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::machine::PartitionMachine;
use tourbillon_core::open_rows::{offsets, stamps, writers};
use tourbillon_core::replica::{Applied, Replica};
use tourbillon_log::follow::as_record;
use tourbillon_log::{Log, LogRecord, TopicPartition};

use super::model::SeenRow;
use super::oracle::Oracle;
use super::stream::{numbers, stream_topic};
use super::world::World;

/// The accepted rows of a partition.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) rows: Vec<SeenRow>,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) watermark: Hlc,
}

/// Reads one partition from its first record.
pub(crate) async fn replay(world: &World, def: &StreamDef, partition: PartitionId) -> Replayed {
    let mut reading = Reading {
        world,
        partition,
        oracle: Oracle::new(def.rules.max_drift_ns),
        rows_in: 0,
        replayed: Replayed {
            rows: Vec::new(),
            batches: Vec::new(),
            watermark: Hlc::MIN,
        },
    };
    let mut replica = Replica::new(def.rules);
    for record in records(world, partition).await {
        let before = replica.machine().watermark();
        match replica.apply(as_record(&record), def) {
            Ok(applied) => reading.take(&record, applied, before, replica.machine()),
            Err(error) => {
                world.violated("INV-PURE", format!("the log cannot be replayed: {error}"));
                break;
            }
        }
    }
    let counts = replica.machine().counts();
    if counts.accepted + counts.duplicate + counts.rejected != reading.rows_in
        || counts.accepted != reading.replayed.rows.len() as u64
    {
        let details = format!("{} rows came in and {counts:?}", reading.rows_in);
        world.violated("INV-REJECT", details);
    }
    reading.replayed.watermark = replica.machine().watermark();
    reading.replayed
}

async fn records(world: &World, partition: PartitionId) -> Vec<LogRecord> {
    let at = TopicPartition {
        topic: stream_topic(),
        partition,
    };
    let end = world
        .broker
        .range(&at)
        .await
        .map_or(Offset(0), |range| range.end);
    let mut records: Vec<LogRecord> = Vec::new();
    if let Ok(mut reader) = world.broker.read(&at, Offset(0)).await {
        while records.len() as u64 != end.0 {
            records.extend(reader.next().await.unwrap_or_default());
        }
    }
    records
}

struct Reading<'a> {
    world: &'a World,
    partition: PartitionId,
    oracle: Oracle,
    rows_in: u64,
    replayed: Replayed,
}

impl Reading<'_> {
    fn take(
        &mut self,
        record: &LogRecord,
        applied: Applied,
        before: Hlc,
        machine: &PartitionMachine,
    ) {
        for run in applied.runs {
            let (hlcs, writers) = (stamps(&run.rows), writers(&run.rows));
            let (offsets, numbers) = (offsets(&run.rows), numbers(&run.rows));
            for i in 0..run.rows.num_rows() {
                self.row(
                    before,
                    SeenRow {
                        hlc: hlcs[i],
                        writer: writers[i],
                        offset: offsets[i],
                        n: numbers[i],
                    },
                );
            }
            self.replayed.batches.push(run.rows);
        }
        let Ok((header, _)) = FrameHeader::decode(&record.payload) else {
            return;
        };
        self.rows_in += u64::from(header.rows);
        let wanted: u32 = self
            .oracle
            .take(record.append_time_ns, &header)
            .iter()
            .map(|rows| rows.end - rows.start)
            .sum();
        let found = applied.verdict.map_or(0, |verdict| verdict.accepted_rows());
        if found != u64::from(wanted) || machine.watermark() != self.oracle.watermark {
            self.world.violated(
                "INV-PURE",
                format!(
                    "partition {} offset {}: {found} rows accepted and W {} where the protocol \
                     says {wanted} and {}",
                    self.partition,
                    record.offset,
                    machine.watermark(),
                    self.oracle.watermark
                ),
            );
            self.oracle.watermark = machine.watermark();
        }
    }

    fn row(&mut self, before: Hlc, row: SeenRow) {
        if row.hlc <= before.0 {
            let details = format!(
                "partition {} offset {}: row {} accepted at {} with W at {before}",
                self.partition, row.offset, row.n, row.hlc
            );
            self.world.violated("INV-FINAL", details);
        }
        self.replayed.rows.push(row);
    }
}

/// Where every accepted row lies.
pub(crate) type Places = BTreeMap<i64, (PartitionId, SeenRow)>;

/// Replays every partition and gathers the rows by number.
pub(crate) async fn replay_all(world: &World, def: &Arc<StreamDef>) -> (Vec<Replayed>, Places) {
    let (mut all, mut places) = (Vec::new(), Places::new());
    for partition in (0..def.partitions).map(PartitionId) {
        let replayed = replay(world, def, partition).await;
        for row in &replayed.rows {
            if let Some((other, first)) = places.insert(row.n, (partition, *row)) {
                let details = format!(
                    "row {} is accepted twice: partition {other} {first:?} and partition \
                     {partition} {row:?}",
                    row.n
                );
                world.violated("INV-ONCE", details);
            }
        }
        all.push(replayed);
    }
    (all, places)
}
