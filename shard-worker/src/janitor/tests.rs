use tourbillon_core::clock::ManualClock;
use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_log::control::StreamRequest;
use tourbillon_log::{MemoryLog, TopicPartition};

use super::*;

const LEASE: Duration = Duration::from_secs(2);

struct Rig {
    log: Arc<dyn Log>,
    control: ControlTopic,
    stop: CancellationToken,
}

impl Rig {
    async fn new() -> Self {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(Arc::new(ManualClock::new(1))));
        let control = ControlTopic::open(Arc::clone(&log), "t").await.unwrap();
        let trades = StreamRequest::builtin("trades").unwrap();
        control.ensure_stream(&trades).await.unwrap();
        let stop = CancellationToken::new();
        Self { log, control, stop }
    }

    /// The janitor of a worker with one of two shares.
    fn janitor(&self, share: u32) {
        self.janitor_of(Assignment::Share { share, shares: 2 });
    }

    fn janitor_of(&self, assignment: Assignment) {
        let janitor = Janitor {
            log: Arc::clone(&self.log),
            control: self.control.clone(),
            assigned: watch::Sender::new(assignment).subscribe(),
            stop: self.stop.clone(),
        };
        tokio::spawn(janitor.run());
    }

    async fn join(&self) -> WriterId {
        let join = ControlRecord::Join {
            gateway: "g".into(),
            nonce: "n".into(),
            lease_ns: i64::try_from(LEASE.as_nanos()).unwrap(),
        };
        let offset = self.control.append(&join).await.unwrap().offset;
        WriterId(u32::try_from(offset.0).unwrap())
    }

    fn phase(&self, writer: WriterId) -> WriterPhase {
        self.control.view().writers[&writer].phase
    }

    /// FENCE frames in every partition of the stream.
    async fn fences(&self) -> Vec<usize> {
        let view = self.control.view();
        let def = view.streams.values().next().unwrap();
        let mut counts = Vec::new();
        for partition in (0..def.partitions).map(PartitionId) {
            let topic = self.control.stream_topic(&def.name);
            let at = TopicPartition { topic, partition };
            let end = self.log.range(&at).await.unwrap().end;
            let mut count = 0;
            if end > Offset(0) {
                let mut reader = self.log.read(&at, Offset(0)).await.unwrap();
                for record in reader.next().await.unwrap() {
                    let (header, _) = FrameHeader::decode(&record.payload).unwrap();
                    count += usize::from(header.kind == FrameKind::Fence);
                }
            }
            counts.push(count);
        }
        counts
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_writer_is_fenced_after_four_leases_and_not_before() {
    let rig = Rig::new().await;
    let writer = rig.join().await;
    rig.janitor(0);
    sleep(2 * LEASE - LOOK).await;
    assert_eq!(rig.phase(writer), WriterPhase::Joined);
    sleep(4 * LOOK).await;
    assert_eq!(rig.phase(writer), WriterPhase::FenceIntended);
    sleep(2 * LEASE - 5 * LOOK).await;
    assert_eq!(rig.phase(writer), WriterPhase::FenceIntended);
    assert_eq!(rig.fences().await, [0; 4]);
    sleep(8 * LOOK).await;
    assert_eq!(rig.phase(writer), WriterPhase::Fenced);
    assert_eq!(rig.fences().await, [1; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_speaks_is_left_alone() {
    let rig = Rig::new().await;
    let writer = rig.join().await;
    rig.janitor(0);
    for number in 0..60 {
        let (nonce, hlc) = (number.to_string(), Hlc(number));
        let alive = ControlRecord::Alive { writer, nonce, hlc };
        rig.control.append(&alive).await.unwrap();
        sleep(LEASE / 3).await;
    }
    assert_eq!(rig.phase(writer), WriterPhase::Joined);
}

#[tokio::test(start_paused = true)]
async fn a_higher_share_leaves_the_work_to_the_lower() {
    let rig = Rig::new().await;
    let writer = rig.join().await;
    rig.janitor(1);
    rig.janitor(0);
    sleep(5 * LEASE).await;
    assert_eq!(rig.phase(writer), WriterPhase::Fenced);
    assert_eq!(rig.fences().await, [1; 4]);
    let second = rig.join().await;
    rig.stop.cancel();
    sleep(10 * LEASE).await;
    assert_eq!(rig.phase(second), WriterPhase::Joined);
}

#[tokio::test(start_paused = true)]
async fn the_worker_of_the_first_partition_acts_first() {
    let rig = Rig::new().await;
    let listed = |partitions: &[u32]| {
        let topic = "t.trades";
        let at = |p: &u32| TopicPartition {
            topic: topic.into(),
            partition: PartitionId(*p),
        };
        Assignment::Listed(partitions.iter().map(at).collect())
    };
    let rank = |partitions: &[u32]| listed(partitions).rank(&rig.control);
    assert_eq!([rank(&[3, 0]), rank(&[1]), rank(&[2, 3])], [0, 1, 2]);
    assert_eq!([rank(&[]), rank(&[4])], [u32::MAX; 2]);
    let writer = rig.join().await;
    rig.janitor_of(listed(&[2]));
    sleep(4 * LEASE - LOOK).await;
    assert_eq!(rig.phase(writer), WriterPhase::Joined);
    sleep(4 * LOOK).await;
    assert_eq!(rig.phase(writer), WriterPhase::FenceIntended);
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_somebody_announced_is_finished() {
    let rig = Rig::new().await;
    let writer = rig.join().await;
    let intent = ControlRecord::FenceIntent { writer };
    rig.control.append(&intent).await.unwrap();
    rig.janitor(0);
    sleep(2 * LEASE - LOOK).await;
    assert_eq!(rig.phase(writer), WriterPhase::FenceIntended);
    sleep(4 * LOOK).await;
    assert_eq!(rig.phase(writer), WriterPhase::Fenced);
}
