use arrow::array::{Decimal128Array, DictionaryArray};
use arrow::datatypes::Int32Type;

use super::*;
use crate::frame::FrameKind;
use crate::hlc::Hlc;
use crate::ids::WriterId;
use crate::schema::{Column, ColumnType};

fn codec() -> BodyCodec {
    let columns = vec![
        Column::required("symbol", ColumnType::String),
        Column::optional("side", ColumnType::String),
        Column::required(
            "price",
            ColumnType::Decimal {
                precision: 18,
                scale: 9,
            },
        ),
    ];
    BodyCodec::new(StreamSchema::new(columns, &["symbol"], None).unwrap()).unwrap()
}

fn rows(codec: &BodyCodec, n: usize) -> RecordBatch {
    let symbols: DictionaryArray<Int32Type> =
        (0..n).map(|i| ["BTCUSDT", "ETHUSDT"][i % 2]).collect();
    let sides: DictionaryArray<Int32Type> = (0..n).map(|i| (i % 3 != 0).then_some("buy")).collect();
    let prices = (0..n).map(|i| i as i128).collect::<Vec<_>>();
    let prices = Decimal128Array::from(prices)
        .with_precision_and_scale(18, 9)
        .unwrap();
    let columns: Vec<ArrayRef> = vec![Arc::new(symbols), Arc::new(sides), Arc::new(prices)];
    RecordBatch::try_new(Arc::clone(codec.schema.data()), columns).unwrap()
}

fn header(stamps: &[i64], contiguous: bool) -> FrameHeader {
    let mut header = FrameHeader::bare(FrameKind::Data, WriterId(5), 1, Hlc(stamps[0]));
    header.hlc_last = Hlc(*stamps.last().unwrap());
    header.rows = u32::try_from(stamps.len()).unwrap();
    header.contiguous = contiguous;
    header
}

#[test]
fn contiguous_rows_come_back_with_their_keys() {
    let codec = codec();
    let own = rows(&codec, 100);
    let body = Bytes::from(codec.encode(&own, None).unwrap());
    let stamps: Vec<i64> = (5000..5100).collect();
    let stored = codec.decode(&header(&stamps, true), &body, 42).unwrap();
    assert_eq!(stored.schema(), *codec.schema.stored());
    assert_eq!(&stored.columns()[3..], own.columns());
    assert_eq!(stored.column(2).as_ref(), &UInt64Array::from_value(42, 100));
    let hlc = TimestampNanosecondArray::from(stamps).with_timezone("UTC");
    assert_eq!(stored.column(0).as_ref(), &hlc);
}

#[test]
fn scattered_stamps_and_sliced_batches_survive() {
    let codec = codec();
    let own = rows(&codec, 100).slice(37, 3);
    let deltas = UInt32Array::from(vec![0, 7, 1000]);
    let body = Bytes::from(codec.encode(&own, Some(deltas)).unwrap());
    let stored = codec
        .decode(&header(&[9, 16, 1009], false), &body, 1)
        .unwrap();
    assert_eq!(&stored.columns()[3..], own.columns());
    let hlc = TimestampNanosecondArray::from(vec![9, 16, 1009]).with_timezone("UTC");
    assert_eq!(stored.column(0).as_ref(), &hlc);
}

#[test]
fn stamps_that_do_not_increase_are_refused() {
    let codec = codec();
    let body = codec
        .encode(&rows(&codec, 3), Some(UInt32Array::from(vec![0, 5, 5])))
        .unwrap();
    let header = header(&[10, 12, 15], false);
    assert!(matches!(
        codec.decode(&header, &body.into(), 0),
        Err(FrameError::Field { field: "stamps" })
    ));
}

#[test]
fn truncated_bodies_are_refused_at_every_length() {
    let codec = codec();
    let body = Bytes::from(codec.encode(&rows(&codec, 8), None).unwrap());
    let stamps: Vec<i64> = (0..8).collect();
    for length in 0..body.len() {
        assert!(
            codec
                .decode(&header(&stamps, true), &body.slice(..length), 0)
                .is_err()
        );
    }
}

#[test]
fn bodies_with_any_byte_changed_are_answered() {
    let codec = codec();
    let body = codec.encode(&rows(&codec, 8), None).unwrap();
    let stamps: Vec<i64> = (0..8).collect();
    for at in 0..body.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut body = body.clone();
            body[at] ^= change;
            let _read = codec.decode(&header(&stamps, true), &body.into(), 0);
        }
    }
}
