//! What `enqueue` promises.

use std::sync::Arc;

use bytes::Bytes;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::ids::Offset;

use super::{Subject, assert_contiguous, at, noise, take};
use crate::{LogError, MAX_RECORD_BYTES, SystemClock};

/// How far the log's clock may be from the one of this machine, ns.
const CLOCK_TOLERANCE_NS: i64 = 60_000_000_000;

pub(super) async fn offsets_follow_one_another_and_append_times_do_not_go_back(s: &Subject) {
    let to = s.partition().await;
    let mut appended = Vec::new();
    for i in 0..50u8 {
        appended.push(s.append(&to, vec![i]).await);
    }
    assert_contiguous(0, appended.iter().map(|a| a.offset));
    let records = take(&mut *s.read(&to, 0).await, 50).await;
    let times: Vec<i64> = records.iter().map(|r| r.append_time_ns).collect();
    assert!(times.is_sorted(), "{times:?}");
    let now = SystemClock::new().wall_ns();
    let near = |time: &i64| (now - time).abs() < CLOCK_TOLERANCE_NS;
    assert!(times.iter().all(near), "{times:?} and now it is {now}");
    if s.reports_append_time {
        let told: Vec<i64> = appended.iter().map(|a| a.append_time_ns).collect();
        assert_eq!(told, times);
    }
}

pub(super) async fn a_record_too_large_is_refused_and_not_stored(s: &Subject) {
    let to = s.partition().await;
    let payload = Bytes::from(vec![0; MAX_RECORD_BYTES + 1]);
    let refused = s.log.enqueue(&to, payload).await;
    assert!(
        matches!(refused, Err(LogError::RecordTooLarge { bytes, .. }) if bytes > MAX_RECORD_BYTES)
    );
    assert_eq!(s.log.range(&to).await.unwrap().end, Offset(0));
    assert_eq!(s.append(&to, "x").await.offset, Offset(0));
}

pub(super) async fn the_largest_record_comes_back(s: &Subject) {
    let to = s.partition().await;
    let size = MAX_RECORD_BYTES.min(s.held_bytes / 2);
    let payload = noise(size);
    s.append(&to, "before").await;
    s.append(&to, payload.clone()).await;
    s.append(&to, "after").await;
    let records = take(&mut *s.read(&to, 0).await, 3).await;
    assert!(
        records[1].payload == payload,
        "{} bytes",
        records[1].payload.len()
    );
    assert_eq!(records[2].payload, "after");
}

pub(super) async fn every_caller_keeps_its_order(s: &Subject) {
    const CALLERS: usize = 8;
    const RECORDS: u32 = 60;
    let to = s.partition().await;
    let callers = (0..CALLERS).map(|caller| {
        let (log, to) = (Arc::clone(&s.log), to.clone());
        tokio::spawn(async move {
            let mut deliveries = Vec::new();
            for i in 0..RECORDS {
                let payload = format!("{caller} {i}");
                deliveries.push(log.enqueue(&to, payload.into()).await.unwrap());
            }
            let mut offsets = Vec::new();
            for delivery in deliveries {
                offsets.push(delivery.await.unwrap().offset);
            }
            offsets
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut offsets = Vec::new();
    for caller in callers {
        let of_caller = caller.await.unwrap();
        assert!(of_caller.is_sorted(), "{of_caller:?}");
        offsets.extend(of_caller);
    }
    offsets.sort();
    assert_contiguous(0, offsets.iter().copied());
    let mut next = [0; CALLERS];
    for record in take(&mut *s.read(&to, 0).await, offsets.len()).await {
        let text = std::str::from_utf8(&record.payload).unwrap();
        let (caller, i) = text.split_once(' ').unwrap();
        let next = &mut next[caller.parse::<usize>().unwrap()];
        assert_eq!(i, next.to_string(), "caller {caller}");
        *next += 1;
    }
}

pub(super) async fn a_full_queue_waits_and_drops_nothing(s: &Subject) {
    const RECORD_BYTES: usize = 6 << 20;
    const RECORDS: u64 = 16;
    let topic = s.topic("t", 2).await;
    let payload = Bytes::from(vec![7; RECORD_BYTES]);
    let mut deliveries = [Vec::new(), Vec::new()];
    for i in 0..RECORDS {
        let partition = u32::from(i % 2 == 1);
        let delivery = s.log.enqueue(&at(&topic, partition), payload.clone()).await;
        deliveries[partition as usize].push(delivery.unwrap());
    }
    for of_partition in deliveries {
        let mut offsets = Vec::new();
        for delivery in of_partition {
            offsets.push(delivery.await.unwrap().offset);
        }
        assert_contiguous(0, offsets);
    }
}
