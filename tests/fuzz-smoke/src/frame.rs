//! Records of a partition topic.

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::TimestampNanosecondType;
use bytes::Bytes;
use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::ids::Offset;
use tourbillon_core::machine::{MachineRules, PartitionMachine};

use crate::samples::CODEC;

/// Where the checksum stands.
const CRC: std::ops::Range<usize> = 8..12;

/// Any record is answered, as it is and with its checksum put right; what can be read survives
/// being written again.
pub fn run(data: &[u8]) {
    read(&Bytes::copy_from_slice(data));
    if let Some(sealed) = with_checksum(data) {
        read(&sealed);
    }
}

fn with_checksum(data: &[u8]) -> Option<Bytes> {
    let mut frame = data.to_vec();
    let crc = crc32c::crc32c(frame.get(..CRC.start)?);
    let crc = crc32c::crc32c_append(crc, frame.get(CRC.end..)?);
    frame.get_mut(CRC)?.copy_from_slice(&crc.to_le_bytes());
    Some(frame.into())
}

fn read(record: &Bytes) {
    let Ok((header, body)) = FrameHeader::decode(record) else {
        return;
    };
    let again = header.encode(&body).expect("a header that was read");
    let (same, rest) = FrameHeader::decode(&again).expect("a frame just written");
    assert!(same == header && rest == body, "the frame changed");
    judge(&header);
    if header.kind == FrameKind::Data {
        read_body(&header, &body);
    }
}

/// The machine counts every row, whether the writer is open or not.
fn judge(header: &FrameHeader) {
    let max_drift_ns = Some(500_000_000);
    let mut machine = PartitionMachine::new(MachineRules { max_drift_ns });
    let open = FrameHeader::bare(FrameKind::Open, header.writer, 0, header.hlc_first);
    let frames = [header, &open, header, header];
    for (offset, frame) in (0..).zip(frames) {
        machine.apply(Offset(offset), 0, Some(frame));
    }
    let counts = machine.counts();
    let sum = counts.accepted + counts.duplicate + counts.rejected;
    assert_eq!(sum, 3 * u64::from(header.rows), "rows were lost");
}

fn read_body(header: &FrameHeader, body: &Bytes) {
    let Ok(stored) = CODEC.decode(header, body, 7) else {
        return;
    };
    assert_eq!(stored.num_rows(), header.rows as usize, "another row count");
    let own: Vec<usize> = (3..stored.num_columns()).collect();
    let own = stored.project(&own).expect("the columns are there");
    let body = CODEC.encode(&own, deltas(header, &stored));
    let body = body.expect("rows that were read").into();
    let again = CODEC.decode(header, &body, 7).expect("a body just written");
    assert_eq!(again, stored, "the rows changed");
}

/// Distances of the stamps, where they are not contiguous.
fn deltas(header: &FrameHeader, stored: &RecordBatch) -> Option<UInt32Array> {
    let stamps = stored.column(0).as_primitive::<TimestampNanosecondType>();
    let delta =
        |stamp: &i64| u32::try_from(stamp - header.hlc_first.0).expect("checked on reading");
    let deltas = || stamps.values().iter().map(delta);
    (!header.contiguous).then(|| UInt32Array::from_iter_values(deltas()))
}
