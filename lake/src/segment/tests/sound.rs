//! Bytes that are not those of the commit are never served.

use object_store::PutMode;
use object_store::memory::InMemory;

use super::*;
use crate::EncodedSegment;
use crate::faulty::FaultyStore;
use crate::store::object_path;

/// Four bytes of a page changed to others; the footer is whole.
fn damaged(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 3;
    for byte in &mut bytes[middle..middle + 4] {
        *byte ^= 0x11;
    }
    bytes.into()
}

fn names(error: &LakeError, path: &object_store::path::Path) -> bool {
    matches!(error, LakeError::Damaged { path: named, .. } if named == path.as_ref())
}

#[tokio::test]
async fn four_flipped_bytes_are_never_served() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["memory://", folder.path().to_str().unwrap()] {
        let lake = Lake::open(url).unwrap();
        let made = segment(&[rows(9, 20_000)]);
        let path = object_path(&stream(), &made.meta.name);
        let put = |bytes| lake.put(&path, bytes, PutMode::Overwrite);
        put(damaged(&made.bytes)).await.unwrap();
        let wanted = |few| SegmentRead {
            few,
            ..whole(schema().stored())
        };
        for few in [false, true, false, true] {
            let error = read(&lake, &made.meta, wanted(few)).await.unwrap_err();
            assert!(names(&error, &path), "{error:?}");
        }
        // the failure was not remembered
        put(made.bytes.clone()).await.unwrap();
        for few in [false, true] {
            read(&lake, &made.meta, wanted(few)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_local_file_that_changed_is_checked_again() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap()).unwrap();
    let made = segment(&[rows(9, 20_000)]);
    lake.put_segment(&stream(), &made).await.unwrap();
    let wanted = |few| SegmentRead {
        few,
        ..whole(schema().stored())
    };
    for few in [true, false, true] {
        read(&lake, &made.meta, wanted(few)).await.unwrap();
    }
    let path = object_path(&stream(), &made.meta.name);
    let file = folder.path().join(path.as_ref());
    std::fs::write(&file, damaged(&made.bytes)).unwrap();
    // rows that were kept are those of other bytes
    for few in [true, false] {
        let error = read(&lake, &made.meta, wanted(few)).await.unwrap_err();
        assert!(names(&error, &path), "{error:?}");
    }
    std::fs::remove_file(file).unwrap();
    let error = read(&lake, &made.meta, wanted(true)).await.unwrap_err();
    assert!(error.is_absent(), "{error:?}");
}

/// A segment of several pieces in a store that counts.
async fn large() -> (FaultyStore, Lake, EncodedSegment) {
    let store = FaultyStore::new(Arc::new(InMemory::new()), |_, _| None);
    let lake = Lake::with_store(Arc::new(store.clone()), "memory://");
    let made = segment(&[rows(9, 1_000_000)]);
    assert!(made.meta.pieces.len() > 8, "{} bytes", made.meta.bytes);
    lake.put_segment(&stream(), &made).await.unwrap();
    (store, lake, made)
}

/// The first rows only.
fn few(made: &EncodedSegment) -> SegmentRead {
    let first = made.meta.first_key.hlc;
    SegmentRead {
        hlc: first..first.plus(10),
        ..whole(schema().stored())
    }
}

#[tokio::test]
async fn a_small_window_proves_only_the_pieces_under_it_and_once() {
    let (store, lake, made) = large().await;
    let cost = async |wanted| {
        let before = store.read_bytes();
        let rows = read(&lake, &made.meta, wanted).await.unwrap();
        assert!(!rows.is_empty());
        store.read_bytes() - before
    };
    let first = cost(few(&made)).await;
    let again = cost(few(&made)).await;
    let all = cost(whole(schema().stored())).await;
    let piece = tourbillon_core::digest::PIECE_BYTES;
    assert!(
        first >= piece && first < made.meta.bytes,
        "{first} of {}",
        made.meta.bytes
    );
    assert!(again < piece / 2, "{again}");
    // a piece under the border of two row groups is read whole for the first and in part again
    let most = made.meta.bytes * 3 / 2;
    assert!(all <= most, "{all} of {}", made.meta.bytes);
}

#[tokio::test]
async fn damage_is_found_when_its_piece_is_read_and_not_served() {
    let (_, lake, made) = large().await;
    let path = object_path(&stream(), &made.meta.name);
    let mut bytes = made.bytes.to_vec();
    // in a page of the second row group
    let at = bytes.len() * 2 / 3;
    bytes[at] ^= 1;
    lake.put(&path, bytes.into(), PutMode::Overwrite)
        .await
        .unwrap();
    read(&lake, &made.meta, few(&made)).await.unwrap();
    for _ in 0..2 {
        let error = read(&lake, &made.meta, whole(schema().stored())).await;
        assert!(names(&error.unwrap_err(), &path));
    }
}

#[tokio::test]
async fn pieces_that_do_not_give_the_file_hash_are_refused() {
    let (_, lake, made) = large().await;
    let spoil: [fn(&mut SegmentMeta); 3] = [
        |meta| meta.pieces.clear(),
        |meta| meta.pieces[1] = Digest::ZERO,
        |meta| meta.file_hash = Digest::ZERO,
    ];
    for change in spoil {
        let mut meta = made.meta.clone();
        change(&mut meta);
        let error = read(&lake, &meta, few(&made)).await.unwrap_err();
        assert!(matches!(error, LakeError::Damaged { .. }), "{error:?}");
        assert!(verify_segment("the-path", &made.bytes, &meta).is_err());
    }
}
