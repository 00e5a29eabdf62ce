//! Opening stores, and storing segments again.

use std::sync::atomic::{AtomicBool, Ordering};

use object_store::memory::InMemory;
use tourbillon_core::error::ErrorKind;

use super::*;
use crate::faulty::{FaultyStore, StoreCall, StoreFault};
use crate::sample::{rows, segment, stream};

fn memory() -> Lake {
    Lake::open("memory://").unwrap()
}

#[test]
fn bad_addresses_are_told_with_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let below = file.join("lake");
    let bad = [
        "ftp://host/x",
        "nonsense://x",
        "s3://",
        "://",
        "file://host/x",
        below.to_str().unwrap(),
    ];
    for url in bad {
        let error = Lake::open(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(url), "{error}");
    }
}

#[tokio::test]
async fn a_folder_is_made_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let made = segment(&[rows(1, 50)]);
    let path = folder.path().join("a b/ü");
    Lake::open(path.to_str().unwrap())
        .unwrap()
        .put_segment(&stream(), &made)
        .await
        .unwrap();
    let again = Lake::open(path.to_str().unwrap()).unwrap();
    assert_eq!(
        again.get_segment(&stream(), &made.meta.name).await.unwrap(),
        made.bytes
    );
    assert!(path.join("ticks").join(&made.meta.name).is_file());
}

#[tokio::test]
async fn a_missing_segment_is_damage_with_a_path() {
    let error = memory().get_segment(&stream(), "data/x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("ticks/data/x"), "{error}");
}

#[tokio::test]
async fn storing_a_segment_again_changes_nothing() {
    let (lake, made) = (memory(), segment(&[rows(1, 50)]));
    for _ in 0..3 {
        assert_eq!(lake.put_segment(&stream(), &made).await.unwrap(), made.meta);
    }
    assert_eq!(
        lake.get_segment(&stream(), &made.meta.name).await.unwrap(),
        made.bytes
    );
}

/// The same rows as another release might encode them.
fn other_release(made: &EncodedSegment) -> EncodedSegment {
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let reader = ParquetRecordBatchReaderBuilder::try_new(made.bytes.clone()).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(reader.schema()), None).unwrap();
    for batch in reader.build().unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    let bytes = Bytes::from(writer.into_inner().unwrap());
    let meta = SegmentMeta {
        file_hash: Digest::of(&bytes),
        bytes: bytes.len() as u64,
        ..made.meta.clone()
    };
    EncodedSegment { meta, bytes }
}

#[tokio::test]
async fn a_file_of_another_release_with_the_same_rows_stays() {
    let (lake, made) = (memory(), segment(&[rows(1, 500)]));
    let theirs = other_release(&made);
    assert_ne!(theirs.meta, made.meta);
    lake.put_segment(&stream(), &theirs).await.unwrap();
    // their commit may name the file already: its bytes must stay what that commit says
    assert_eq!(
        lake.put_segment(&stream(), &made).await.unwrap(),
        theirs.meta
    );
    assert_eq!(
        lake.get_segment(&stream(), &made.meta.name).await.unwrap(),
        theirs.bytes
    );
}

#[tokio::test]
async fn a_damaged_file_is_replaced() {
    let (lake, made) = (memory(), segment(&[rows(1, 50)]));
    let path = object_path(&stream(), &made.meta.name);
    for bad in [
        Bytes::new(),
        Bytes::from_static(b"PAR1"),
        segment(&[rows(2, 50)]).bytes,
    ] {
        lake.put(&path, bad, PutMode::Overwrite).await.unwrap();
        assert_eq!(lake.put_segment(&stream(), &made).await.unwrap(), made.meta);
        assert_eq!(
            lake.get_segment(&stream(), &made.meta.name).await.unwrap(),
            made.bytes
        );
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_the_segment_ready_for_the_next_try() {
    let first = AtomicBool::new(true);
    let store = FaultyStore::new(Arc::new(InMemory::new()), move |call, _| {
        let lost = call == StoreCall::Put && first.swap(false, Ordering::SeqCst);
        lost.then_some(StoreFault::LostAnswer)
    });
    let lake = Lake::with_store(Arc::new(store), "faulty://");
    let made = segment(&[rows(1, 50)]);
    let error = lake.put_segment(&stream(), &made).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(lake.put_segment(&stream(), &made).await.unwrap(), made.meta);
}

#[tokio::test]
async fn sidecars_come_back_or_are_damaged() {
    let frame = RejectedFrame {
        offset: tourbillon_core::ids::Offset(7),
        append_time_ns: 1,
        reason: tourbillon_core::machine::Reason::Malformed,
        payload: Bytes::from_static(b"frame"),
    };
    let (lake, frames) = (memory(), vec![frame]);
    let meta = lake
        .put_rejects(&stream(), PartitionId(0), 4, &frames)
        .await
        .unwrap();
    assert_eq!(lake.get_rejects(&stream(), &meta).await.unwrap(), frames);
    let other = RejectsMeta {
        file_hash: Digest::ZERO,
        ..meta
    };
    let error = lake.get_rejects(&stream(), &other).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("rejects/p0/00000000000000000004"),
        "{error}"
    );
}

#[test]
fn only_vendors_variables_reach_the_store() {
    let keys: Vec<String> = vendor_options().map(|(key, _)| key).collect();
    let vendors = ["aws_", "google_", "azure_"];
    assert!(
        keys.iter()
            .all(|key| vendors.iter().any(|vendor| key.starts_with(vendor)))
    );
}
