//! Requests that meet a growth of their stream.

use futures::FutureExt;
use tourbillon_core::control::ControlRecord;
use tourbillon_core::frame::{FrameHeader, FrameKind, SourcePart};
use tourbillon_core::machine::Reason;
use tourbillon_log::Log;

use super::*;
use crate::cut::cut;
use crate::rig::{PARTITIONS, Rig, eventually, patient, settings};

/// A writer whose frames a test makes itself, in partition 0.
struct Ghost<'a> {
    rig: &'a Rig,
    id: WriterId,
    pseq: u64,
}

impl<'a> Ghost<'a> {
    async fn open(rig: &'a Rig, cut: u32) -> Self {
        let join = ControlRecord::Join {
            gateway: "ghost".into(),
            nonce: "ghost".into(),
            lease_ns: 1,
        };
        let joined = rig.gateway.control().append(&join).await.unwrap();
        let id = WriterId(u32::try_from(joined.offset.0).unwrap());
        let mut ghost = Self { rig, id, pseq: 0 };
        let open = ghost.header(FrameKind::Open, cut);
        ghost.send(&open, &[]).await;
        ghost
    }

    fn header(&mut self, kind: FrameKind, cut: u32) -> FrameHeader {
        let hlc = Hlc::from_wall_ns(self.rig.gateway.wall_ns());
        self.pseq += 1;
        FrameHeader::bare(kind, self.id, self.pseq - 1, hlc).cut_by(cut)
    }

    async fn send(&self, header: &FrameHeader, body: &[u8]) {
        let frame = header.encode(body).unwrap();
        let delivery = self.rig.log.enqueue(&self.rig.at(0), frame).await.unwrap();
        delivery.await.unwrap();
    }

    /// Writes the first `parts` parts that a request has in partition 0.
    async fn write(&mut self, rows: usize, sequence: u64, parts: usize) -> usize {
        let (def, mut written) = (&self.rig.def, 0);
        let cuts = cut(def.schema(), &self.rig.batch(rows), def.partitions).unwrap();
        let cut = cuts.into_iter().find(|cut| cut.partition.0 == 0).unwrap();
        let all = cut.parts.len();
        assert!(parts < all, "{all} parts");
        for (number, part) in (0u32..).zip(cut.parts).take(parts) {
            let mut header = self.header(FrameKind::Data, def.partitions);
            header.rows = u32::try_from(part.rows.num_rows()).unwrap();
            header.hlc_last = header.hlc_first.plus(i64::from(header.rows) - 1);
            header.schema_version = def.version();
            header.sources = vec![SourcePart {
                source: "feed".into(),
                sequence,
                part: number,
                last: false,
                rows: header.rows,
            }];
            let body = def.newest().encode(&part.rows, None).unwrap();
            self.send(&header, &body).await;
            written += part.rows.num_rows();
        }
        written
    }

    async fn die(self) {
        let fence = FrameHeader::bare(FrameKind::Fence, self.id, 0, Hlc::MIN);
        self.send(&fence, &[]).await;
    }
}

/// Repeats a request until it is acknowledged.
async fn stored(rig: &Rig, rows: usize, sequence: u64) -> Receipt {
    patient(async {
        loop {
            let submission = rig.submission(rows, Some(sequence));
            match rig.gateway.submit(submission).await {
                Err(IngestError::Indeterminate | IngestError::NotReady) => {}
                other => return other.unwrap(),
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// Every row of a request of `rows`, once.
async fn whole(rig: &Rig, rows: usize) {
    let mut numbers: Vec<i64> = rig.rows().await.iter().map(|row| row.1).collect();
    numbers.sort_unstable();
    let wanted: Vec<i64> = (0..).take(rows).collect();
    assert!(numbers == wanted, "{} rows of {rows}", numbers.len());
    for partition in 0..rig.def.partitions {
        let (_, machine) = rig.replay(partition).await;
        assert_eq!(machine.counts().rejected, 0);
    }
}

#[tokio::test]
async fn a_repeat_is_known_after_the_stream_grew_by_any_gateway() {
    let mut rig = Rig::new().await;
    let stored = patient(rig.gateway.submit(rig.submission(40, Some(7))));
    let stored = stored.await.unwrap();
    let old = rig.submission(40, Some(7));
    rig.grow(8).await;
    let other = rig.beside("other").await;
    let mut receipts = Vec::new();
    receipts.push(patient(other.gateway.submit(other.submission(40, Some(7)))).await);
    receipts.push(patient(rig.gateway.submit(rig.submission(40, Some(7)))).await);
    // cut before the growth, submitted after it
    receipts.push(patient(rig.gateway.submit(old)).await);
    for receipt in receipts {
        let receipt = receipt.unwrap();
        assert_eq!((receipt.rows, receipt.stamps), (40, None));
        let reaches =
            |(partition, offset): (&PartitionId, &Offset)| receipt.positions[partition] >= *offset;
        assert!(stored.positions.iter().all(reaches));
    }
    whole(&rig, 40).await;
    // what comes next is cut by the new count
    let fresh = patient(rig.gateway.submit(rig.submission(40, Some(8))));
    let positions = fresh.await.unwrap().positions;
    assert!(positions.keys().any(|partition| partition.0 >= PARTITIONS));
    assert_eq!(rig.rows().await.len(), 80);
}

#[tokio::test]
async fn parts_that_landed_before_the_stream_grew_are_left_out() {
    const ROWS: usize = 30_000;
    let mut settings = settings("a");
    // so many rows keep the only thread from renewing a short one
    settings.lease = Duration::from_secs(3);
    let mut rig = Rig::with(settings).await;
    let mut ghost = Ghost::open(&rig, PARTITIONS).await;
    let landed = ghost.write(ROWS, 7, 1).await;
    ghost.die().await;
    assert!(landed > 0);
    rig.grow(5).await;
    assert_eq!(stored(&rig, ROWS, 7).await.rows, ROWS as u64);
    whole(&rig, ROWS).await;
    rig.grow(8).await;
    let other = rig.beside("other").await;
    assert_eq!(stored(&other, ROWS, 7).await.stamps, None);
    whole(&rig, ROWS).await;
}

#[tokio::test]
async fn rows_with_a_source_wait_for_writers_that_cut_by_less_and_others_do_not() {
    let mut rig = Rig::new().await;
    let mut late = stream_of(&rig).await;
    rig.grow(5).await;
    let plain = patient(rig.gateway.submit(rig.submission(40, None)));
    assert_eq!(plain.await.unwrap().rows, 40);
    let gateway = rig.gateway.clone();
    let submission = rig.submission(40, Some(1));
    let mut sourced = tokio::spawn(async move { gateway.submit(submission).await });
    sleep(Duration::from_millis(100)).await;
    assert!((&mut sourced).now_or_never().is_none());
    assert_eq!(rig.replay(0).await.1.cut(), PARTITIONS);
    let fence = FrameHeader::bare(FrameKind::Fence, late, 0, Hlc::MIN).encode(&[]);
    let fenced = rig.log.enqueue(&rig.at(0), fence.unwrap()).await.unwrap();
    fenced.await.unwrap();
    assert_eq!(patient(sourced).await.unwrap().unwrap().rows, 40);
    late = rig.gateway.writer_id().unwrap();
    for partition in 0..5 {
        eventually(async || {
            let (_, machine) = rig.replay(partition).await;
            machine.cut() == 5 && machine.is_open(late) && machine.counts().rejected == 0
        })
        .await;
    }
}

/// A writer that opened partition 0 and has nothing to say.
async fn stream_of(rig: &Rig) -> WriterId {
    Ghost::open(rig, PARTITIONS).await.id
}

#[tokio::test]
async fn a_sequence_too_old_to_tell_is_refused_after_a_growth() {
    let mut rig = Rig::new().await;
    patient(rig.gateway.submit(rig.submission(40, Some(5000))))
        .await
        .unwrap();
    rig.grow(5).await;
    let old = patient(rig.gateway.submit(rig.submission(40, Some(3)))).await;
    let error = old.unwrap_err();
    assert!(matches!(error, IngestError::SequenceForgotten { .. }));
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_writer_that_lags_behind_a_growth_is_not_let_in() {
    let mut rig = Rig::new().await;
    rig.grow(5).await;
    patient(rig.gateway.submit(rig.submission(40, Some(1))))
        .await
        .unwrap();
    let ghost = Ghost::open(&rig, PARTITIONS).await;
    let (_, machine) = rig.replay(0).await;
    assert!(!machine.is_open(ghost.id));
    assert_eq!(Reason::from_name("other_cut"), Some(Reason::OtherCut));
}
