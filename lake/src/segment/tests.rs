//! Segments: what their bytes depend on, what they hold, and how damage shows.

mod kept;
mod layout;
mod pruning;
mod sound;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::TryStreamExt;
use tourbillon_core::digest::Digest;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::filter::KeyPredicate;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::manifest::SegmentMeta;
use tourbillon_core::schema::{Column, ColumnType, StreamSchema};

use crate::sample::{EPOCH, pieces, rows, schema, segment, stream};
use crate::{Lake, LakeError, SegmentRead, SegmentSpec, encode_segment, verify_segment};

/// BLAKE3 of the file of `rows(7, 20_000)`. It may only change with the format's version: a file
/// made again must have the bytes that its commit names.
const GOLDEN: &str = "8d802649be5dc907a7f8fcadd09d5c0cbcb1bb63e8dc2da3b08187449ac4c8ba";

/// The same rows with plain strings, in one batch, so that equal means equal values.
pub(super) fn plain(schema: &SchemaRef, batches: &[RecordBatch]) -> RecordBatch {
    let whole = concat_batches(schema, batches).unwrap();
    let columns = whole
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Dictionary(_, value) => cast(column, value).unwrap(),
            _ => Arc::clone(column),
        });
    let columns: Vec<ArrayRef> = columns.collect();
    let field = |(field, column): (&Arc<Field>, &ArrayRef)| {
        Field::new(
            field.name(),
            column.data_type().clone(),
            field.is_nullable(),
        )
    };
    let fields: Vec<Field> = whole
        .schema()
        .fields()
        .iter()
        .zip(&columns)
        .map(field)
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Panics with the names of the columns that differ.
pub(super) fn assert_same(
    columns: &SchemaRef,
    found: &[RecordBatch],
    expected: &[RecordBatch],
    what: &str,
) {
    let (found, expected) = (plain(columns, found), plain(columns, expected));
    let differ = columns.fields().iter().filter(|field| {
        found.column_by_name(field.name()) != expected.column_by_name(field.name())
    });
    let differ: Vec<_> = differ.map(|field| field.name()).collect();
    assert!(differ.is_empty(), "{differ:?} differ in {what}");
}

/// Reads of everything in `columns`.
pub(super) fn whole(columns: &SchemaRef) -> SegmentRead {
    SegmentRead {
        columns: Arc::clone(columns),
        hlc: Hlc(i64::MIN)..Hlc(i64::MAX),
        keys: KeyPredicate::default(),
        event: None,
        before: None,
        batch_rows: 1000,
        first_rows: usize::MAX,
        few: false,
        ahead: true,
    }
}

pub(super) async fn read(
    lake: &Lake,
    meta: &SegmentMeta,
    read: SegmentRead,
) -> Result<Vec<RecordBatch>, LakeError> {
    lake.read_segment(&stream(), meta, read)
        .await?
        .try_collect()
        .await
}

/// Every dictionary made again, so that pieces do not share one.
fn recoded(batch: &RecordBatch) -> RecordBatch {
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Dictionary(_, value) => {
                cast(&cast(column, value).unwrap(), column.data_type()).unwrap()
            }
            _ => Arc::clone(column),
        });
    RecordBatch::try_new(batch.schema(), columns.collect()).unwrap()
}

#[test]
fn bytes_do_not_depend_on_batching_or_dictionaries() {
    let all = rows(1, 30_000);
    let one = segment(std::slice::from_ref(&all));
    for (seed, most) in [(1, 30_000), (2, 9_000), (3, 700), (4, 8192)] {
        let cut = pieces(seed, &all, most);
        let other = segment(&cut);
        assert_eq!(other.meta, one.meta, "pieces of up to {most}");
        assert!(other.bytes == one.bytes);
        let cut: Vec<_> = cut.iter().map(recoded).collect();
        assert_eq!(
            segment(&cut).meta,
            one.meta,
            "recoded pieces of up to {most}"
        );
    }
}

#[test]
fn bytes_are_pinned() {
    let made = segment(&[rows(7, 20_000)]);
    assert_eq!(made.meta.file_hash.to_string(), GOLDEN);
    let root = made.meta.rows_root;
    let name = format!(
        "data/date=2023-11-14/hour=22/p3-0{}-{root}.parquet",
        made.meta.first_key.hlc
    );
    assert_eq!(made.meta.name, name);
}

#[tokio::test]
async fn every_column_type_comes_back_with_its_nulls() {
    let lake = Lake::open("memory://").unwrap();
    for count in [1, 7, 8192, 8193, 20_000] {
        let all = rows(count as u64, count);
        let made = segment(std::slice::from_ref(&all));
        lake.put_segment(&stream(), &made).await.unwrap();
        verify_segment("x", &made.bytes, &made.meta).unwrap();
        let schema = schema();
        let back = read(&lake, &made.meta, whole(schema.stored()))
            .await
            .unwrap();
        assert!(back.iter().all(|batch| batch.schema() == *schema.stored()));
        assert_same(schema.stored(), &back, &[all], &format!("{count} rows"));
    }
}

#[test]
fn descriptions_match_the_rows() {
    let all = rows(2, 9_000);
    let meta = segment(std::slice::from_ref(&all)).meta;
    let stamps = tourbillon_core::open_rows::stamps(&all);
    assert_eq!(
        (meta.first_key.hlc.0, meta.last_key.hlc.0),
        (stamps[0], stamps[8_999])
    );
    assert_eq!(meta.offsets, (Offset(5000), Offset(5000 + 8_999 / 16 * 3)));
    let (lowest, highest) = meta.event_time.unwrap();
    assert!(EPOCH - 1_000_000 <= lowest && lowest < highest && highest <= EPOCH);
    assert_eq!((meta.rows, meta.schema_version), (9_000, 1));
}

#[tokio::test]
async fn columns_younger_than_the_file_come_back_null() {
    let (lake, old) = (Lake::open("memory://").unwrap(), schema());
    let all = rows(3, 500);
    let made = segment(std::slice::from_ref(&all));
    lake.put_segment(&stream(), &made).await.unwrap();
    let added = [
        Column::optional("venue", ColumnType::String),
        Column::optional(
            "fee",
            ColumnType::Decimal {
                precision: 18,
                scale: 9,
            },
        ),
        Column::optional("late", ColumnType::Bool),
    ];
    let new = old.evolve(&added).unwrap();
    let back = read(&lake, &made.meta, whole(new.stored())).await.unwrap();
    let promoted = new.promote_stored(&all).unwrap();
    assert_same(new.stored(), &back, &[promoted], "promoted rows");
    let only = Arc::new(new.stored().project(&[0, 1, 2, 14]).unwrap());
    let back = read(&lake, &made.meta, whole(&only)).await.unwrap();
    assert_eq!(
        back.iter().map(|b| b.column(3).null_count()).sum::<usize>(),
        500
    );
}

#[test]
fn rows_out_of_order_or_twice_are_refused() {
    let all = rows(4, 100);
    let (first, second) = (all.slice(0, 50), all.slice(50, 50));
    let schema = schema();
    let spec = SegmentSpec {
        partition: PartitionId(0),
        schema: &schema,
        schema_version: 1,
    };
    for bad in [
        vec![second.clone(), first.clone()],
        vec![first.clone(), first],
        vec![],
    ] {
        let error = encode_segment(&spec, &bad).unwrap_err();
        assert!(matches!(error, LakeError::Damaged { .. }), "{error}");
    }
}

#[test]
fn any_flipped_byte_is_noticed() {
    let made = segment(&[rows(5, 300)]);
    let verify =
        |bytes: Vec<u8>, meta: &SegmentMeta| verify_segment("the-path", &bytes.into(), meta);
    for at in (0..made.bytes.len()).step_by(37) {
        let mut bytes = made.bytes.to_vec();
        bytes[at] ^= 1;
        // with the hash put right the rows themselves must still give the damage away, unless the
        // byte means nothing to a reader
        let error = verify(bytes.clone(), &made.meta).unwrap_err().to_string();
        assert!(
            error.contains("the-path") && error.contains("file_hash"),
            "{error}"
        );
        let meta = SegmentMeta {
            file_hash: Digest::of(&bytes),
            ..made.meta.clone()
        };
        if let Err(error) = verify(bytes, &meta) {
            assert!(error.to_string().contains("the-path"), "{error}");
            assert_eq!(error.kind(), ErrorKind::Data);
        }
    }
}

#[test]
fn wrong_descriptions_are_noticed() {
    let made = segment(&[rows(6, 300)]);
    let spoil: [fn(&mut SegmentMeta); 7] = [
        |meta| meta.rows_root = Digest::of(b"other"),
        |meta| meta.rows += 1,
        |meta| meta.bytes += 1,
        |meta| meta.first_key.hlc = meta.first_key.hlc.plus(-1),
        |meta| meta.last_key.writer.0 += 1,
        |meta| meta.offsets.1 = Offset(1),
        |meta| meta.file_hash = Digest::ZERO,
    ];
    for (case, change) in spoil.into_iter().enumerate() {
        let mut meta = made.meta.clone();
        change(&mut meta);
        let error = verify_segment("the-path", &made.bytes, &meta).unwrap_err();
        assert!(
            error.to_string().contains("the-path"),
            "{error} in case {case}"
        );
    }
}

#[tokio::test]
async fn damaged_files_are_errors_that_name_the_path() {
    let lake = Lake::open("memory://").unwrap();
    let made = segment(&[rows(8, 20_000)]);
    let path = crate::store::object_path(&stream(), &made.meta.name);
    let cuts: [fn(&Bytes) -> Bytes; 4] = [
        |all| all.slice(..all.len() / 2),
        |_| Bytes::from_static(b"PAR1"),
        |_| Bytes::new(),
        |all| {
            let mut bytes = all.to_vec();
            bytes[4..5000].fill(0xAA);
            bytes.into()
        },
    ];
    for (case, cut) in cuts.into_iter().enumerate() {
        let bytes = cut(&made.bytes);
        lake.put(&path, bytes, object_store::PutMode::Overwrite)
            .await
            .unwrap();
        let error = read(&lake, &made.meta, whole(schema().stored()))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains(path.as_ref()),
            "{error} in case {case}"
        );
        assert_eq!(error.kind(), ErrorKind::Data, "{error:?} in case {case}");
    }
    lake.delete(&path).await.unwrap();
    let error = read(&lake, &made.meta, whole(schema().stored()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains(path.as_ref()), "{error}");
    assert_eq!(error.kind(), ErrorKind::Data, "{error:?}");
}

/// A schema of one column, to keep row groups cheap.
pub(super) fn narrow() -> StreamSchema {
    let columns = vec![Column::required("symbol", ColumnType::String)];
    StreamSchema::new(columns, &["symbol"], None).unwrap()
}
