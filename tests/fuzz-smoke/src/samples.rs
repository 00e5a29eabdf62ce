//! What the targets are set up with, and seeds that no one can type.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use tourbillon_core::frame::{BodyCodec, FrameHeader, FrameKind, SourcePart};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId, WriterId};
use tourbillon_core::machine::Reason;
use tourbillon_core::schema::{Column, ColumnType, StreamSchema};
use tourbillon_core::sealer::RejectedFrame;
use tourbillon_ingest::parse::{Format, OnError, parse_rows};
use tourbillon_lake::encode_rejects;

/// A stream with a column of every type, nullable but for the key.
pub static SCHEMA: LazyLock<Arc<StreamSchema>> = LazyLock::new(|| {
    let (precision, scale) = (18, 9);
    let columns = vec![
        Column::required("k", ColumnType::String),
        Column::optional("t", ColumnType::Timestamp),
        Column::optional("d", ColumnType::Decimal { precision, scale }),
        Column::optional("i", ColumnType::Int64),
        Column::optional("u", ColumnType::UInt64),
        Column::optional("f", ColumnType::Float64),
        Column::optional("b", ColumnType::Bool),
        Column::optional("s", ColumnType::String),
    ];
    let schema = StreamSchema::new(columns, &["k"], Some("t"));
    Arc::new(schema.expect("the columns are sound"))
});

/// Its codec.
pub static CODEC: LazyLock<BodyCodec> = LazyLock::new(|| {
    let codec = BodyCodec::new(StreamSchema::clone(&SCHEMA));
    codec.expect("every schema can be coded")
});

/// Some rows of it.
const ROWS: &[u8] = br#"{"k":"a","t":1,"d":"1.5","i":-1,"u":1,"f":0.5,"b":true,"s":"x"}
{"k":"b","s":"y"}
{"k":"a","d":2}"#;

/// Seeds that are not text: target, name, bytes.
pub fn binary_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let body = Bytes::from_static(ROWS);
    let parsed = parse_rows(Format::NdJson, &SCHEMA, &body, OnError::Refuse);
    let rows = parsed.expect("the rows are sound").rows;
    let data = data_frame(&rows);
    let bare = FrameHeader::bare(FrameKind::Beat, WriterId(7), 3, Hlc(1 << 40)).encode(&[]);
    let bare = bare.expect("the header is sound");
    vec![
        ("arrow_stream", "rows", arrow_stream(&rows)),
        ("frame", "data", data.to_vec()),
        ("frame", "bare", bare.to_vec()),
        ("rejects", "two", sidecar(&[data, bare])),
    ]
}

fn data_frame(rows: &RecordBatch) -> Bytes {
    let body = CODEC.encode(rows, None).expect("the rows fit");
    let mut header = FrameHeader::bare(FrameKind::Data, WriterId(7), 1, Hlc(1 << 40));
    header.rows = u32::try_from(rows.num_rows()).expect("few rows");
    header.hlc_last = header.hlc_first.plus(i64::from(header.rows) - 1);
    header.sources = vec![SourcePart {
        source: "feed".into(),
        ..SourcePart::anonymous(header.rows)
    }];
    header.encode(&body).expect("the header is sound")
}

fn arrow_stream(rows: &RecordBatch) -> Vec<u8> {
    let mut out = Vec::new();
    let written = StreamWriter::try_new(&mut out, &rows.schema()).and_then(|mut writer| {
        writer.write(rows)?;
        writer.finish()
    });
    written.expect("memory takes it");
    out
}

fn sidecar(payloads: &[Bytes]) -> Vec<u8> {
    let frames: Vec<_> = (5..)
        .zip(payloads)
        .map(|(offset, payload)| RejectedFrame {
            offset: Offset(offset),
            append_time_ns: 1 << 40,
            reason: Reason::WriterNotOpen,
            payload: payload.clone(),
        })
        .collect();
    encode_rejects(PartitionId(0), 1, &frames).1.to_vec()
}
