//! Bytes that are not those of the commit are never served.

use object_store::PutMode;
use object_store::memory::InMemory;

use super::*;
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
        let wanted = || whole(schema().stored());
        for _ in 0..2 {
            let error = read(&lake, &made.meta, wanted()).await.unwrap_err();
            assert!(names(&error, &path), "{error:?}");
        }
        // the failure was not remembered
        put(made.bytes.clone()).await.unwrap();
        read(&lake, &made.meta, wanted()).await.unwrap();
    }
}

#[tokio::test]
async fn a_local_file_that_changed_is_checked_again() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap()).unwrap();
    let made = segment(&[rows(9, 20_000)]);
    lake.put_segment(&stream(), &made).await.unwrap();
    let wanted = || whole(schema().stored());
    read(&lake, &made.meta, wanted()).await.unwrap();
    let path = object_path(&stream(), &made.meta.name);
    let file = folder.path().join(path.as_ref());
    std::fs::write(file, damaged(&made.bytes)).unwrap();
    let error = read(&lake, &made.meta, wanted()).await.unwrap_err();
    assert!(names(&error, &path), "{error:?}");
}

#[tokio::test]
async fn a_segment_is_hashed_once_however_many_read_it() {
    let store = FaultyStore::new(Arc::new(InMemory::new()), |_, _| None);
    let lake = Lake::with_store(Arc::new(store.clone()), "memory://");
    let made = segment(&[rows(9, 20_000)]);
    lake.put_segment(&stream(), &made).await.unwrap();
    let path = object_path(&stream(), &made.meta.name);
    let clones: Vec<Lake> = (0..8).map(|_| lake.clone()).collect();
    let checks = clones
        .iter()
        .map(|lake| lake.check_segment(&path, &made.meta));
    futures::future::try_join_all(checks).await.unwrap();
    assert_eq!(store.read_bytes(), made.meta.bytes);
}
