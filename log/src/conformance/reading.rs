//! What readers promise.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tourbillon_core::ids::Offset;

use super::{Subject, assert_contiguous, at, noise, take};
use crate::{LogError, LogRange, MAX_READ_BYTES};

/// A payload that tells topic, partition and number, of a length that varies and may be 0.
fn payload(topic: &str, partition: u32, i: usize) -> Bytes {
    if i == 13 {
        return Bytes::new();
    }
    let text = format!("{topic} {partition} {i} ");
    text.repeat(i * i % 97 + 1).into()
}

pub(super) async fn records_come_back_equal_and_in_order(s: &Subject) {
    const RECORDS: usize = 100;
    let topics = [s.topic("a", 3).await, s.topic("b", 2).await];
    let partitions: Vec<_> = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
        .map(|(topic, partition)| at(&topics[topic], partition))
        .to_vec();
    let mut deliveries = Vec::new();
    for i in 0..RECORDS {
        for to in &partitions {
            let payload = payload(&to.topic, to.partition.0, i);
            deliveries.push(s.log.enqueue(to, payload).await.unwrap());
        }
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    for of in &partitions {
        let records = take(&mut *s.read(of, 0).await, RECORDS).await;
        assert_contiguous(0, records.iter().map(|r| r.offset));
        for (i, record) in records.iter().enumerate() {
            assert_eq!(record.payload, payload(&of.topic, of.partition.0, i));
        }
    }
}

pub(super) async fn reading_starts_where_it_is_told(s: &Subject) {
    let of = s.partition().await;
    for i in 0..30u8 {
        s.append(&of, vec![i]).await;
    }
    for from in [0u8, 1, 17, 29] {
        let count = usize::from(30 - from);
        let records = take(&mut *s.read(&of, from.into()).await, count).await;
        assert_contiguous(from.into(), records.iter().map(|r| r.offset));
        assert_eq!(records[0].payload[..], [from]);
    }
}

pub(super) async fn a_reader_at_the_end_waits_for_the_next_record(s: &Subject) {
    let of = s.partition().await;
    for count in 0..3 {
        let mut reader = s.read(&of, count).await;
        assert!(
            reader.next().now_or_never().is_none(),
            "nothing is there yet"
        );
        s.append(&of, format!("{count}")).await;
        let records = take(&mut *reader, 1).await;
        assert_eq!(records[0].offset, Offset(count));
        assert_eq!(records[0].payload, format!("{count}"));
        assert!(reader.next().now_or_never().is_none(), "all is read");
    }
}

pub(super) async fn offsets_beyond_the_end_are_refused(s: &Subject) {
    let of = s.partition().await;
    s.append(&of, "x").await;
    let expected = LogRange {
        start: Offset(0),
        end: Offset(1),
    };
    for beyond in [2, 1 << 40, u64::MAX] {
        let refused = s.log.read(&of, Offset(beyond)).await.unwrap_err();
        assert!(
            matches!(
                refused,
                LogError::OffsetOutOfRange { offset, range, .. }
                    if offset == Offset(beyond) && range == expected
            ),
            "{refused}"
        );
    }
}

pub(super) async fn several_readers_see_the_same(s: &Subject) {
    let of = s.partition().await;
    let mut early = s.read(&of, 0).await;
    for i in 0..40u8 {
        s.append(&of, vec![i]).await;
    }
    let mut late = s.read(&of, 0).await;
    let records = take(&mut *early, 40).await;
    assert_eq!(records, take(&mut *late, 40).await);
}

pub(super) async fn dropping_next_loses_nothing(s: &Subject) {
    const RECORDS: u32 = 200;
    let of = s.partition().await;
    let mut reader = s.read(&of, 0).await;
    assert!(
        reader.next().now_or_never().is_none(),
        "nothing is there yet"
    );
    let appending = tokio::spawn({
        let (log, to) = (Arc::clone(&s.log), of.clone());
        async move {
            for i in 0..RECORDS {
                let delivery = log.enqueue(&to, i.to_be_bytes().to_vec().into()).await;
                delivery.unwrap().await.unwrap();
            }
        }
    });
    let mut records = Vec::new();
    let mut dropped = 1;
    while records.len() < RECORDS as usize {
        // from "polled once" to "waits for a while"
        let patience = Duration::from_millis(dropped % 5);
        tokio::select! {
            batch = reader.next() => records.extend(batch.unwrap()),
            () = tokio::time::sleep(patience) => dropped += 1,
        }
    }
    appending.await.unwrap();
    assert_contiguous(0, records.iter().map(|r| r.offset));
    for (i, record) in (0..RECORDS).zip(&records) {
        assert_eq!(record.payload[..], i.to_be_bytes());
    }
}

pub(super) async fn reads_are_bounded(s: &Subject) {
    const RECORD_BYTES: usize = 300 << 10;
    let of = s.partition().await;
    let total_bytes = (MAX_READ_BYTES * 2).min(s.held_bytes * 3 / 4);
    let count = total_bytes / RECORD_BYTES;
    let payload = noise(RECORD_BYTES);
    let mut deliveries = Vec::new();
    for _ in 0..count {
        deliveries.push(s.log.enqueue(&of, payload.clone()).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let mut reader = s.read(&of, 0).await;
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let batch = reader.next().await.unwrap();
        let bytes: usize = batch.iter().map(|r| r.payload.len()).sum();
        assert!(bytes <= MAX_READ_BYTES, "{bytes}");
        offsets.extend(batch.iter().map(|r| r.offset));
    }
    assert_contiguous(0, offsets);
}
