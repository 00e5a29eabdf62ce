use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int64Array};
use arrow::datatypes::{Int32Type, Int64Type};
use proptest::prelude::*;
use tourbillon_core::frame::{FrameHeader, FrameKind, SourcePart};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::WriterId;
use tourbillon_core::machine::MachineRules;
use tourbillon_core::schema::{Column, ColumnType};

use super::*;

const ROWS: i64 = 40_000;
const CUTS: [u32; 3] = [1, 3, 4];
const RULES: MachineRules = MachineRules { max_drift_ns: None };
const WRITER: WriterId = WriterId(1);

fn schema() -> StreamSchema {
    let columns = vec![
        Column::required("symbol", ColumnType::String),
        Column::required("n", ColumnType::Int64),
    ];
    StreamSchema::new(columns, &["symbol"], None).unwrap()
}

fn rows() -> RecordBatch {
    let names: Vec<String> = (0..11).map(|i| format!("s{i}")).collect();
    let symbols: DictionaryArray<Int32Type> = (0..ROWS)
        .map(|n| Some(names[usize::try_from(n * n % 11).unwrap()].as_str()))
        .collect();
    let numbers = Int64Array::from_iter_values(0..ROWS);
    let columns: Vec<ArrayRef> = vec![Arc::new(symbols), Arc::new(numbers)];
    RecordBatch::try_new(Arc::clone(schema().data()), columns).unwrap()
}

fn source() -> Source {
    Source {
        name: "feed".into(),
        sequence: 9,
    }
}

fn numbers(rows: &RecordBatch) -> Vec<i64> {
    rows.column(1).as_primitive::<Int64Type>().values().to_vec()
}

/// A partition that one writer speaks to.
struct Partition(PartitionMachine, u64);

impl Partition {
    fn send(&mut self, kind: FrameKind, cut: u32, part: Option<SourcePart>) {
        let stamp = Hlc(i64::try_from(self.1).unwrap() * 10_000);
        let mut frame = FrameHeader::bare(kind, WRITER, self.1, stamp).cut_by(cut);
        if let Some(part) = part {
            frame.rows = part.rows;
            frame.hlc_last = stamp.plus(i64::from(part.rows) - 1);
            frame.sources = vec![part];
        }
        let verdict = self.0.apply(Offset(self.1), 1, Some(&frame));
        assert!(verdict.refused.is_empty());
        self.1 += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A request is sent under one cut after the other, and each time any number of the parts
    /// of each partition land. The dull twin takes note of the rows themselves.
    #[test]
    fn what_landed_under_any_cut_is_left_out(
        lands in proptest::collection::vec(0usize..4, 3 * 4), asked in 0usize..3
    ) {
        let mut partitions: Vec<_> = (0..5).map(|_| Partition(PartitionMachine::new(RULES), 0)).collect();
        partitions.iter_mut().for_each(|p| p.send(FrameKind::Open, CUTS[0], None));
        let (mut left, mut landed, mut lands) = (rows(), BTreeSet::new(), lands.into_iter());
        let mut before_asked = left.clone();
        for (number, cut) in CUTS.into_iter().enumerate() {
            if number == asked {
                before_asked = left.clone();
            }
            partitions.iter_mut().for_each(|p| p.send(FrameKind::Beat, cut, None));
            for share in shares(&schema(), &left, cut).unwrap() {
                let partition = &mut partitions[share.partition.0 as usize];
                let parts = share.parts.len();
                let lands = lands.next().unwrap_or(0);
                for (part, (places, _)) in share.parts.iter().enumerate().take(lands) {
                    partition.send(FrameKind::Data, cut, Some(SourcePart {
                        source: "feed".into(),
                        sequence: 9,
                        part: u32::try_from(part).unwrap(),
                        last: part + 1 == parts,
                        rows: u32::try_from(places.len()).unwrap(),
                    }));
                    let all = numbers(&left);
                    landed.extend(places.values().iter().map(|place| all[*place as usize]));
                }
            }
            let open = numbers(&left).into_iter().zip(0u32..).filter(|(n, _)| !landed.contains(n));
            let open: UInt32Array = open.map(|(_, place)| place).collect();
            left = take_record_batch(&left, &open).unwrap();
        }
        partitions.iter_mut().for_each(|p| p.send(FrameKind::Beat, 5, None));
        let mut earlier = Earlier::default();
        for (partition, Partition(machine, _)) in (0..).map(PartitionId).zip(&partitions) {
            earlier.learn(partition, machine);
        }
        prop_assert_eq!(earlier.knows(&source(), 1), !landed.is_empty());
        let from_start = earlier.rest(&schema(), rows(), &source(), 0, 1).unwrap();
        prop_assert_eq!(numbers(&from_start.rows), numbers(&left));
        // whoever has asked about the lower cuts already
        let rest = earlier.rest(&schema(), before_asked, &source(), CUTS[asked], 1).unwrap();
        prop_assert_eq!(numbers(&rest.rows), numbers(&left));
        let other = Source { name: "other".into(), ..source() };
        prop_assert!(!earlier.knows(&other, 1));
    }
}
