//! The functions that every row passes, alone: `cargo bench -p tourbillon-benches`.
//!
//! Throughput is in rows, but of the clock and the machine, which work by batch.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[expect(dead_code, reason = "nothing is sent anywhere")]
#[path = "../src/bodies.rs"]
mod bodies;

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::take_record_batch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tourbillon_cli::market::Market;
use tourbillon_core::frame::{BodyCodec, FrameHeader, FrameKind};
use tourbillon_core::hlc::{Hlc, HlcClock, HlcSettings};
use tourbillon_core::ids::{Offset, PartitionId, WriterId};
use tourbillon_core::machine::{MachineRules, PartitionMachine};
use tourbillon_core::merge::merge_runs;
use tourbillon_core::schema::{StreamSchema, builtin_streams};
use tourbillon_ingest::parse::{Format, OnError, ilp, parse_rows};
use tourbillon_lake::{SegmentSpec, encode_segment};
use tourbillon_log::SystemClock;

use bodies::{BODY_ROWS, FORMATS};

/// Rows of the frames and batches here.
const ROWS: u32 = 8192;

/// Inputs of a merge.
const INPUTS: u32 = 4;

fn trades() -> StreamSchema {
    let mut streams = builtin_streams().into_iter();
    streams.find(|(name, _)| *name == "trades").unwrap().1
}

fn rows(seed: u64) -> RecordBatch {
    let now = 1_700_000_000_000_000_000;
    let mut market = Market::new(seed);
    let rows = market.trades(ROWS as usize, now, now + 1_000_000_000);
    rows.unwrap()
}

fn header(pseq: u64) -> FrameHeader {
    let first = Hlc(1_700_000_000_000_000_000 + i64::try_from(pseq).unwrap() * i64::from(ROWS));
    FrameHeader {
        hlc_last: first.plus(i64::from(ROWS) - 1),
        rows: ROWS,
        schema_version: 1,
        ..FrameHeader::bare(FrameKind::Data, WriterId(1), pseq, first)
    }
}

/// Rows as a partition stores them.
fn stored(pseq: u64) -> RecordBatch {
    let codec = BodyCodec::new(trades()).unwrap();
    let body = codec.encode(&rows(pseq), None).unwrap();
    codec.decode(&header(pseq), &body.into(), pseq).unwrap()
}

fn clock(c: &mut Criterion) {
    let clock = HlcClock::new(SystemClock::new(), HlcSettings::default());
    let mut group = c.benchmark_group("hlc");
    group.bench_function("reserve 1", |b| b.iter(|| clock.reserve(black_box(1))));
    group.bench_function("observe", |b| b.iter(|| clock.observe(black_box(Hlc(1)))));
    group.finish();
}

fn parse(c: &mut Criterion) {
    let schema = Arc::new(trades());
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(BODY_ROWS as u64));
    for format in FORMATS {
        let (body, _) = format.bodies(BODY_ROWS).unwrap().remove(0);
        group.bench_function(format.name, |b| match format.name {
            "line protocol" => {
                let of_trades = |name: &str| (name == "trades").then(|| Arc::clone(&schema));
                b.iter(|| {
                    let precision = ilp::Precision::Ns;
                    ilp::parse_lines(&body, precision, 0, &of_trades, OnError::Refuse).unwrap()
                });
            }
            _ => {
                let format = Format::from_content_type(format.content_type).unwrap();
                b.iter(|| parse_rows(format, &schema, &body, OnError::Refuse).unwrap());
            }
        });
    }
    group.finish();
}

fn frame(c: &mut Criterion) {
    let (codec, rows) = (BodyCodec::new(trades()).unwrap(), rows(7));
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(u64::from(ROWS)));
    group.bench_function("encode", |b| {
        b.iter(|| {
            header(0)
                .encode(&codec.encode(&rows, None).unwrap())
                .unwrap()
        });
    });
    let record = header(0)
        .encode(&codec.encode(&rows, None).unwrap())
        .unwrap();
    group.bench_function("decode", |b| {
        b.iter(|| {
            let (header, body) = FrameHeader::decode(&record).unwrap();
            codec.decode(&header, &body, 0).unwrap()
        });
    });
    group.finish();
}

fn machine(c: &mut Criterion) {
    let mut machine = PartitionMachine::new(MachineRules { max_drift_ns: None });
    let open = FrameHeader::bare(FrameKind::Open, WriterId(1), 0, Hlc(1));
    assert!(!machine.apply(Offset(0), 0, Some(&open)).is_rejected());
    let mut pseq = 0;
    c.bench_function("machine, a frame", |b| {
        b.iter(|| {
            pseq += 1;
            let verdict = machine.apply(Offset(pseq), 0, Some(&header(pseq)));
            assert_eq!(verdict.accepted_rows(), u64::from(ROWS));
        });
    });
}

/// Inputs whose rows take turns, one by one at random places or in long stretches.
fn inputs(alternating: bool) -> Vec<Vec<RecordBatch>> {
    let all = stored(0);
    let input_of = |row: u32| match alternating {
        true => (row.wrapping_mul(0x9e37_79b9) >> 16) % INPUTS,
        false => row / 512 % INPUTS,
    };
    let input = |input| {
        let own = arrow::array::UInt32Array::from_iter_values(
            (0..ROWS).filter(|row| input_of(*row) == input),
        );
        vec![take_record_batch(&all, &own).unwrap()]
    };
    (0..INPUTS).map(input).collect()
}

fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge of 4");
    group.throughput(Throughput::Elements(u64::from(ROWS)));
    for (name, alternating) in [("row by row", true), ("stretches of 512", false)] {
        let inputs = inputs(alternating);
        let schema = inputs[0][0].schema();
        group.bench_function(name, |b| {
            b.iter(|| merge_runs(Arc::clone(&schema), inputs.clone(), ROWS as usize).unwrap());
        });
    }
    group.finish();
}

fn segment(c: &mut Criterion) {
    let (schema, batches) = (trades(), (0..8).map(stored).collect::<Vec<_>>());
    let spec = SegmentSpec {
        partition: PartitionId(0),
        schema: &schema,
        schema_version: 1,
    };
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Elements(8 * u64::from(ROWS)));
    group.sample_size(20);
    group.bench_function("write", |b| {
        b.iter(|| encode_segment(&spec, &batches).unwrap());
    });
    group.finish();
}

criterion_group!(hot, clock, parse, frame, machine, merge, segment);
criterion_main!(hot);
