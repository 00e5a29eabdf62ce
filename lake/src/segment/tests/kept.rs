//! Slices that are kept decoded.

use object_store::memory::InMemory;

use super::*;
use crate::EncodedSegment;
use crate::faulty::FaultyStore;

/// A segment in a store that counts.
async fn counted(bytes: u64) -> (FaultyStore, Lake, EncodedSegment) {
    let store = FaultyStore::new(Arc::new(InMemory::new()), |_, _| None);
    let lake = Lake::with_store(Arc::new(store.clone()), "memory://").keeping(bytes);
    let made = segment(&[rows(5, 150_000)]);
    lake.put_segment(&stream(), &made).await.unwrap();
    (store, lake, made)
}

/// Few rows from a place of the segment on.
fn few(made: &EncodedSegment, percent: i64) -> SegmentRead {
    let (first, last) = (made.meta.first_key.hlc.0, made.meta.last_key.hlc.0);
    let from = first + (last - first) / 100 * percent;
    SegmentRead {
        hlc: Hlc(from)..Hlc(i64::MAX),
        first_rows: 100,
        few: true,
        ..whole(schema().stored())
    }
}

async fn first_batch(lake: &Lake, made: &EncodedSegment, wanted: SegmentRead) -> RecordBatch {
    let rows = lake.read_segment(&stream(), &made.meta, wanted).await;
    rows.unwrap().try_next().await.unwrap().unwrap()
}

#[tokio::test]
async fn rows_that_were_read_are_not_fetched_again() {
    let (store, lake, made) = counted(64 << 20).await;
    let first = first_batch(&lake, &made, few(&made, 40)).await;
    let before = store.read_bytes();
    assert_eq!(first_batch(&lake, &made, few(&made, 40)).await, first);
    assert_eq!(store.read_bytes(), before);
    // other columns of the same rows are
    let columns = Arc::new(schema().stored().project(&[0, 1, 2, 4]).unwrap());
    let some = SegmentRead {
        columns,
        ..few(&made, 40)
    };
    let some = first_batch(&lake, &made, some).await;
    assert_eq!(some, first.project(&[0, 1, 2, 4]).unwrap());
    assert_eq!(store.read_bytes(), before);
}

#[tokio::test]
async fn what_is_kept_takes_no_more_memory_than_it_may() {
    let (store, lake, made) = counted(2 << 20).await;
    for round in 0..2 {
        for percent in 0..100 {
            let batch = first_batch(&lake, &made, few(&made, percent)).await;
            assert!(batch.num_rows() > 0, "{round} {percent}");
            let kept = lake.slices.bytes();
            assert!(kept <= 2 << 20, "{kept} bytes");
        }
    }
    let before = store.read_bytes();
    first_batch(&lake, &made, few(&made, 0)).await;
    assert!(store.read_bytes() > before, "all of it fits?");
}
