//! Request bodies.

use arrow::array::RecordBatch;
use bytes::Bytes;
use tourbillon_core::frame::{FrameHeader, FrameKind, MAX_FRAME_ROWS};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::WriterId;
use tourbillon_ingest::parse::{Format, OnError, ParseError, parse_rows};

use crate::samples::{CODEC, SCHEMA};

/// Arrow IPC streams.
pub fn arrow_stream(data: &[u8]) {
    run(Format::ArrowStream, data);
}

/// CSV with a header row.
pub fn csv(data: &[u8]) {
    run(Format::Csv, data);
}

/// A JSON array.
pub fn json(data: &[u8]) {
    run(Format::Json, data);
}

/// JSON objects, one a line.
pub fn ndjson(data: &[u8]) {
    run(Format::NdJson, data);
}

/// Any body is answered; refusing and skipping agree on which rows are bad; what is let in fits
/// into a frame.
fn run(format: Format, data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let strict = parse_rows(format, &SCHEMA, &body, OnError::Refuse);
    let loose = parse_rows(format, &SCHEMA, &body, OnError::Skip);
    match (strict, loose) {
        (Ok(strict), Ok(loose)) => {
            assert_eq!(strict.rows, loose.rows, "other rows");
            assert_eq!(loose.refused_count, 0, "rows refused and kept");
            fits_into_a_frame(&loose.rows);
        }
        (Err(ParseError::Rows { total, errors }), Ok(loose)) => {
            assert_eq!(loose.refused_count, total, "other rows refused");
            assert_eq!(loose.refused, errors, "other reasons");
            fits_into_a_frame(&loose.rows);
        }
        (Err(strict), Err(loose)) => assert_eq!(strict.to_string(), loose.to_string()),
        (strict, loose) => panic!("one is refused: {strict:?}, {loose:?}"),
    }
}

fn fits_into_a_frame(rows: &RecordBatch) {
    assert_eq!(rows.schema(), *SCHEMA.data(), "another schema");
    let count = u32::try_from(rows.num_rows()).unwrap_or(u32::MAX);
    if !(1..=MAX_FRAME_ROWS).contains(&count) {
        return;
    }
    let mut header = FrameHeader::bare(FrameKind::Data, WriterId(1), 1, Hlc(1024));
    header.rows = count;
    header.hlc_last = header.hlc_first.plus(i64::from(count) - 1);
    let body = CODEC.encode(rows, None).expect("rows of this schema");
    let stored = CODEC.decode(&header, &body.into(), 0);
    let stored = stored.expect("a body just written");
    assert_eq!(&stored.columns()[3..], rows.columns(), "the rows changed");
}
