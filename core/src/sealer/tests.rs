use arrow::array::{ArrayRef, DictionaryArray, UInt32Array};
use arrow::datatypes::Int32Type;

use super::*;
use crate::frame::{BodyCodec, FrameHeader, FrameKind};
use crate::ids::WriterId;
use crate::machine::MachineRules;
use crate::open_rows::{stamps, writers};
use crate::schema::{Column, ColumnType};

const RULES: MachineRules = MachineRules { max_drift_ns: None };
const WINDOW: i64 = 1000;

#[derive(Debug)]
struct OneCodec(Arc<BodyCodec>);

impl Codecs for OneCodec {
    fn codec(&self, version: u32) -> Option<Arc<BodyCodec>> {
        (version == 1).then(|| Arc::clone(&self.0))
    }
}

fn codecs() -> OneCodec {
    let columns = vec![Column::required("symbol", ColumnType::String)];
    let schema = StreamSchema::new(columns, &["symbol"], None).unwrap();
    OneCodec(Arc::new(BodyCodec::new(schema).unwrap()))
}

/// Writes frames of interleaving writers, as a log would hold them.
struct Script {
    frames: Vec<Bytes>,
    codec: Arc<BodyCodec>,
    pseq: BTreeMap<u32, u64>,
}

impl Script {
    fn new() -> Self {
        Self {
            frames: Vec::new(),
            codec: codecs().0,
            pseq: BTreeMap::new(),
        }
    }

    fn bare(&mut self, kind: FrameKind, writer: u32, hlc: i64) {
        let pseq = self.pseq.entry(writer).or_default();
        let frame = FrameHeader::bare(kind, WriterId(writer), *pseq, Hlc(hlc));
        *pseq += 1;
        self.frames.push(frame.encode(b"").unwrap());
    }

    fn data(&mut self, writer: u32, hlcs: &[i64]) {
        let symbols: DictionaryArray<Int32Type> = hlcs.iter().map(|_| "BTCUSDT").collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(symbols)];
        let schema = Arc::clone(self.codec.schema().data());
        let rows = RecordBatch::try_new(schema, columns).unwrap();
        let deltas = hlcs.iter().map(|hlc| u32::try_from(hlc - hlcs[0]).unwrap());
        let deltas = UInt32Array::from_iter_values(deltas);
        let body = self.codec.encode(&rows, Some(deltas)).unwrap();
        let pseq = self.pseq.entry(writer).or_default();
        let mut frame = FrameHeader::bare(FrameKind::Data, WriterId(writer), *pseq, Hlc(hlcs[0]));
        *pseq += 1;
        frame.hlc_last = Hlc(*hlcs.last().unwrap());
        frame.rows = u32::try_from(hlcs.len()).unwrap();
        frame.schema_version = 1;
        frame.contiguous = false;
        self.frames.push(frame.encode(&body).unwrap());
    }
}

fn record(frames: &[Bytes], at: usize) -> Record<'_> {
    let append_time_ns = 0;
    Record {
        offset: Offset(at as u64),
        append_time_ns,
        payload: &frames[at],
    }
}

fn run(frames: &[Bytes], replica: &mut Replica, sealer: &mut Sealer) -> Vec<CommitPlan> {
    let codecs = codecs();
    let from = usize::try_from(replica.position().0).unwrap();
    let mut plans = Vec::new();
    for at in from..frames.len() {
        let applied = replica.apply(record(frames, at), &codecs).unwrap();
        plans.extend(
            sealer
                .step(record(frames, at), applied, replica, &codecs)
                .unwrap(),
        );
    }
    plans
}

fn fresh() -> (Replica, Sealer) {
    let stream = StreamName::new("trades").unwrap();
    (
        Replica::new(RULES),
        Sealer::new(stream, PartitionId(0), WINDOW),
    )
}

fn keys(plans: &[CommitPlan]) -> Vec<(i64, u32)> {
    let batches = plans
        .iter()
        .flat_map(|p| &p.segments)
        .flat_map(|s| &s.batches);
    let keys = |b: &RecordBatch| {
        stamps(b)
            .iter()
            .copied()
            .zip(writers(b).iter().copied())
            .collect::<Vec<_>>()
    };
    batches.flat_map(keys).collect()
}

fn two_writers() -> Script {
    let mut script = Script::new();
    script.bare(FrameKind::Open, 1, 1);
    script.bare(FrameKind::Open, 2, 1);
    for round in 0..40i64 {
        let base = 100 + round * 150;
        script.data(1, &[base, base + 20, base + 40]);
        script.data(2, &[base + 10, base + 20, base + 90]);
        script.bare(FrameKind::Beat, 1, base + 100);
    }
    script
}

#[test]
fn windows_are_sealed_once_the_watermark_has_passed_them() {
    let script = two_writers();
    let (mut replica, mut sealer) = fresh();
    let plans = run(&script.frames, &mut replica, &mut sealer);
    let keys = keys(&plans);
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    for plan in &plans {
        for segment in &plan.segments {
            let window = |hlc: &i64| hlc / WINDOW;
            let first = window(&stamps(&segment.batches[0])[0]);
            assert!(
                segment
                    .batches
                    .iter()
                    .all(|b| stamps(b).iter().all(|h| window(h) == first))
            );
            assert!((first + 1) * WINDOW - 1 <= plan.body.state.watermark.0);
        }
    }
    let all: u64 = 240;
    assert_eq!(keys.len() as u64 + sealer.open_rows(), all);
    assert_eq!(plans.last().unwrap().body.sealed_rows, keys.len() as u64);
}

/// INV-PURE: a worker that starts again from any commit makes the same commits.
#[test]
fn resuming_from_any_commit_makes_the_same_commits() {
    let mut script = two_writers();
    script.frames.push(Bytes::from_static(b"not a frame"));
    let stray = FrameHeader::bare(FrameKind::Beat, WriterId(9), 4, Hlc(9));
    script.frames.push(stray.encode(b"").unwrap());
    for round in 0..20i64 {
        script.data(2, &[7000 + round * 300]);
        script.data(1, &[7001 + round * 300, 7002 + round * 300]);
    }
    let (mut replica, mut sealer) = fresh();
    let plans = run(&script.frames, &mut replica, &mut sealer);
    assert!(plans.len() > 5);
    assert_eq!(plans.iter().map(|p| p.rejects.len()).sum::<usize>(), 2);
    for cut in 0..plans.len() {
        let body = &plans[cut].body;
        let mut replica = Replica::resume(RULES, body);
        let mut sealer = Sealer::resume(StreamName::new("trades").unwrap(), WINDOW, body);
        let again = run(&script.frames, &mut replica, &mut sealer);
        let bodies =
            |plans: &[CommitPlan]| plans.iter().map(|p| p.body.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(&again), bodies(&plans[cut + 1..]));
        assert_eq!(keys(&again), keys(&plans[cut + 1..]));
    }
}

#[test]
fn full_segments_are_cut_at_exactly_the_limit() {
    let row = |hlc: i64| {
        let mut script = Script::new();
        script.data(1, &(hlc..hlc + 8192).collect::<Vec<_>>());
        let (header, body) = FrameHeader::decode(&script.frames[0]).unwrap();
        script.codec.decode(&header, &body, 0).unwrap()
    };
    let batches: Vec<_> = (0..200).map(|i| row(1 + i * 8192)).collect();
    let total = 200 * 8192u64;
    let rows =
        |segment: &Vec<RecordBatch>| segment.iter().map(|b| b.num_rows() as u64).sum::<u64>();
    let open = cut(batches.clone(), false);
    assert_eq!(
        open.iter().map(rows).collect::<Vec<_>>(),
        [MAX_SEGMENT_ROWS]
    );
    let passed = cut(batches, true);
    let expected = [MAX_SEGMENT_ROWS, total - MAX_SEGMENT_ROWS];
    assert_eq!(passed.iter().map(rows).collect::<Vec<_>>(), expected);
}
