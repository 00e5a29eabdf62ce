use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tourbillon_core::control::WriterPhase;
use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::ids::StreamName;
use tourbillon_log::memory::Fault;
use tourbillon_log::{Log, MemoryLog, SystemClock};

use super::*;
use crate::rig::{PARTITIONS, Rig, Stalling, eventually, patient, settings, stream};

#[tokio::test]
async fn rows_reach_the_log_in_request_order_across_partitions() {
    let rig = Rig::new().await;
    let mut expected = Vec::new();
    for rows in [1usize, 40_000, 3] {
        let receipt = patient(rig.gateway.submit(rig.submission(rows, None)))
            .await
            .unwrap();
        let (first, last) = receipt.stamps.unwrap();
        assert_eq!(
            (receipt.rows, last.0 - first.0 + 1),
            (rows as u64, rows as i64)
        );
        expected.extend((0..rows as i64).map(|n| (first.0 + n, n, format!("s{}", n % 17))));
        for (partition, offset) in receipt.positions {
            let records = rig.records(partition.0).await;
            let (header, _) =
                FrameHeader::decode(&records[usize::try_from(offset.0).unwrap()].payload).unwrap();
            assert_eq!(header.kind, FrameKind::Data);
        }
    }
    assert_eq!(rig.rows().await, expected);
}

#[tokio::test]
async fn concurrent_requests_are_framed_together_and_each_keeps_its_rows() {
    let mut settings = settings("a");
    settings.linger = Duration::from_millis(20);
    let rig = Rig::with(settings).await;
    let requests = (0..200).map(|i| rig.submission(5, (i % 2 == 0).then_some(i)));
    let requests: Vec<_> = requests
        .map(|request| rig.gateway.submit(request))
        .collect();
    let receipts = patient(futures::future::try_join_all(requests))
        .await
        .unwrap();
    let rows = rig.rows().await;
    assert_eq!(rows.len(), 1000);
    for receipt in receipts {
        let (first, _) = receipt.stamps.unwrap();
        let from = rows.partition_point(|row| row.0 < first.0);
        let own: Vec<i64> = rows[from..from + 5].iter().map(|row| row.1).collect();
        assert_eq!(own, [0, 1, 2, 3, 4]);
    }
    let mut frames = 0;
    for partition in 0..PARTITIONS {
        for record in rig.records(partition).await {
            let (header, _) = FrameHeader::decode(&record.payload).unwrap();
            frames += usize::from(header.kind == FrameKind::Data);
        }
    }
    assert!(frames < 100, "{frames} frames for 200 requests");
}

#[tokio::test]
async fn a_repeated_request_is_a_duplicate_in_every_part() {
    let rig = Rig::new().await;
    for _ in 0..2 {
        patient(rig.gateway.submit(rig.submission(30_000, Some(7))))
            .await
            .unwrap();
    }
    assert_eq!(rig.rows().await.len(), 30_000);
    let mut duplicates = 0;
    for partition in 0..PARTITIONS {
        let counts = rig.replay(partition).await.1.counts();
        assert_eq!(counts.rejected, 0);
        duplicates += counts.duplicate;
    }
    assert_eq!(duplicates, 30_000);
}

#[tokio::test]
async fn beats_move_the_watermark_of_idle_partitions() {
    let rig = Rig::new().await;
    let receipt = patient(rig.gateway.submit(rig.submission(1, None)))
        .await
        .unwrap();
    let (_, stamp) = receipt.stamps.unwrap();
    for partition in 0..PARTITIONS {
        eventually(async || rig.replay(partition).await.1.watermark() > stamp).await;
    }
}

#[tokio::test]
async fn shutdown_acknowledges_what_was_taken_closes_and_leaves() {
    let rig = Rig::new().await;
    let writer = rig.gateway.writer_id().unwrap();
    let taken = rig.gateway.submit(rig.submission(20_000, None));
    let (receipt, ()) = tokio::join!(taken, rig.gateway.shutdown());
    assert_eq!(receipt.unwrap().rows, 20_000);
    assert_eq!(rig.rows().await.len(), 20_000);
    for partition in 0..PARTITIONS {
        let last = rig.records(partition).await.pop().unwrap();
        assert_eq!(
            FrameHeader::decode(&last.payload).unwrap().0.kind,
            FrameKind::Close
        );
        assert!(!rig.replay(partition).await.1.is_open(writer));
    }
    let view = rig.gateway.control().view();
    assert_eq!(view.writers[&writer].phase, WriterPhase::Left);
    let refused = rig.gateway.submit(rig.submission(1, None)).await;
    assert!(matches!(refused, Err(IngestError::NotReady)));
}

#[tokio::test]
async fn a_failed_delivery_is_indeterminate_and_a_new_writer_takes_the_repeat() {
    let rig = Rig::new().await;
    let first = rig.gateway.writer_id().unwrap();
    for partition in 0..PARTITIONS {
        rig.log
            .faults()
            .inject(&rig.at(partition), Fault::LostAck, 1)
            .unwrap();
    }
    let failed = patient(rig.gateway.submit(rig.submission(100, Some(1)))).await;
    let error = failed.unwrap_err();
    assert!(
        matches!(error, IngestError::Indeterminate | IngestError::NotReady),
        "{error}"
    );
    let successor = async || rig.gateway.writer_id().is_some_and(|id| id != first);
    eventually(successor).await;
    patient(rig.gateway.submit(rig.submission(100, Some(1))))
        .await
        .unwrap();
    assert_eq!(rig.rows().await.len(), 100);
    for partition in 0..PARTITIONS {
        eventually(async || !rig.replay(partition).await.1.is_open(first)).await;
    }
}

#[tokio::test]
async fn a_writer_of_the_same_gateway_that_never_left_is_fenced() {
    let rig = Rig::new().await;
    let first = rig.gateway.writer_id().unwrap();
    let mut restarted = settings("process-b");
    restarted.lease = Duration::from_millis(60);
    let second = Rig::on(rig.log.clone(), restarted).await;
    let fenced = async || {
        let view = second.gateway.control().view();
        view.writers[&first].phase == WriterPhase::Fenced
    };
    eventually(fenced).await;
    for partition in 0..PARTITIONS {
        let (_, machine) = second.replay(partition).await;
        assert!(!machine.is_open(first));
    }
    // the first process is alive and comes back as a newer writer
    let back = async || rig.gateway.writer_id().is_some_and(|id| id > first);
    eventually(back).await;
}

#[tokio::test]
async fn a_grown_stream_takes_rows_in_its_new_partitions() {
    let mut rig = Rig::new().await;
    patient(rig.gateway.submit(rig.submission(50, None)))
        .await
        .unwrap();
    rig.def = stream(rig.gateway.control(), 8).await;
    let receipt = patient(rig.gateway.submit(rig.submission(50, None)))
        .await
        .unwrap();
    assert!(
        receipt
            .positions
            .keys()
            .any(|partition| partition.0 >= PARTITIONS)
    );
    let (_, machine) = rig.replay(7).await;
    assert!(machine.is_open(rig.gateway.writer_id().unwrap()));
}

#[tokio::test]
async fn more_bytes_than_the_budget_are_refused_unstamped() {
    let mut settings = settings("a");
    settings.limits.in_flight_bytes = 10_000;
    let rig = Rig::with(settings).await;
    let held = rig.gateway.reserve(9_000).unwrap();
    assert!(matches!(
        rig.gateway.reserve(2_000),
        Err(IngestError::Overloaded { .. })
    ));
    drop(held);
    let rows = rig.submission(1, None);
    assert_eq!(rig.gateway.submit(rows).await.unwrap().rows, 1);
    eventually(async || rig.gateway.reserve(10_000).is_ok()).await;
}

#[tokio::test]
async fn stamps_from_the_future_are_not_believed() {
    let rig = Rig::new().await;
    let far = Hlc(rig.gateway.wall_ns() + 10_000_000_000);
    let error = rig.gateway.observe(far).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let near = Hlc(rig.gateway.wall_ns() + 100_000_000);
    rig.gateway.observe(near).unwrap();
    let receipt = patient(rig.gateway.submit(rig.submission(1, None)))
        .await
        .unwrap();
    assert!(receipt.stamps.unwrap().0 > near);
    assert!(
        rig.gateway
            .control()
            .view()
            .streams
            .contains_key(&StreamName::new("ticks").unwrap())
    );
}

#[tokio::test]
async fn a_log_that_stops_answering_is_told_within_a_lease() {
    let log = MemoryLog::new(Arc::new(SystemClock::new()));
    let stalling = Arc::new(Stalling {
        log: log.clone(),
        stalled: AtomicBool::new(false),
    });
    let client: Arc<dyn Log> = Arc::<Stalling>::clone(&stalling);
    let rig = Rig::through(client, log, settings("process-a")).await;
    assert!(rig.gateway.is_ready());
    stalling.stalled.store(true, Ordering::Relaxed);
    let answer = patient(rig.gateway.submit(rig.submission(40, Some(1)))).await;
    assert!(
        matches!(answer, Err(IngestError::Indeterminate)),
        "{answer:?}"
    );
    assert!(!rig.gateway.is_ready());
    stalling.stalled.store(false, Ordering::Relaxed);
    eventually(|| async { rig.gateway.is_ready() }).await;
    let repeat = patient(async {
        loop {
            match rig.gateway.submit(rig.submission(40, Some(1))).await {
                Err(IngestError::Indeterminate | IngestError::NotReady) => {}
                other => return other,
            }
        }
    });
    assert_eq!(repeat.await.unwrap().rows, 40);
    assert_eq!(rig.rows().await.len(), 40);
}
