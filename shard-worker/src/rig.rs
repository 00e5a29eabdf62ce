//! A log in memory with one stream, for tests. The writers are in [`feed`].

#[path = "rig_feed.rs"]
pub(crate) mod feed;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tourbillon_core::clock::ManualClock;
use tourbillon_core::control::{ColumnSpec, StreamDef};
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_lake::Lake;
use tourbillon_log::control::{ControlTopic, StreamRequest};
use tourbillon_log::{Log, MemoryLog, TopicPartition};

/// First stamp: 2023-11-14T22:13:20Z.
pub(crate) const EPOCH: i64 = 1_700_000_000_000_000_000;

/// Event window of the stream, ns.
pub(crate) const WINDOW: i64 = 100_000_000;

/// The log, the lake and the stream `ticks`.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) log: MemoryLog,
    pub(crate) control: ControlTopic,
    pub(crate) lake: Lake,
    pub(crate) def: Arc<StreamDef>,
}

impl Rig {
    pub(crate) async fn new(lake: Lake, partitions: u32) -> Self {
        Self::keeping(lake, partitions, None, None).await
    }

    /// One whose stream has this span of compaction and this retention, ns.
    pub(crate) async fn keeping(
        lake: Lake,
        partitions: u32,
        compaction_ns: Option<i64>,
        retention_ns: Option<i64>,
    ) -> Self {
        // far ahead, so that no stamp lies too far above its append time
        let clock = Arc::new(ManualClock::new(EPOCH + 1_000_000_000_000_000));
        let log = MemoryLog::new(clock);
        let control = ControlTopic::open(Arc::new(log.clone()), "t")
            .await
            .unwrap();
        let column = |name: &str, ty: &str, nullable| ColumnSpec {
            name: name.into(),
            ty: ty.into(),
            nullable,
        };
        let columns = vec![
            column("symbol", "string", false),
            column("lot", "int64", false),
            column("ts", "timestamp", true),
            column("price", "decimal(18,9)", true),
            column("big", "uint64", true),
            column("ratio", "float64", true),
            column("side", "string", true),
            column("up", "bool", true),
            column("n", "int64", false),
        ];
        let request = StreamRequest {
            name: "ticks".into(),
            columns,
            key: Some(vec!["symbol".into(), "lot".into()]),
            event_time: Some("ts".into()),
            partitions: Some(partitions),
            window_ns: Some(WINDOW),
            compaction_ns,
            retention_ns,
        };
        let def = control.ensure_stream(&request).await.unwrap();
        Self {
            log,
            control,
            lake,
            def,
        }
    }

    /// The same log with another view of the store.
    pub(crate) fn with_lake(&self, lake: Lake) -> Self {
        Self {
            lake,
            ..self.clone()
        }
    }

    /// Adds the column `note` to the stream.
    pub(crate) async fn evolve(&mut self) {
        let note = ColumnSpec {
            name: "note".into(),
            ty: "string".into(),
            nullable: true,
        };
        let request = StreamRequest {
            name: "ticks".into(),
            columns: vec![note],
            ..StreamRequest::default()
        };
        self.def = self.control.ensure_stream(&request).await.unwrap();
    }

    pub(crate) fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    pub(crate) fn at(&self, partition: u32) -> TopicPartition {
        TopicPartition {
            topic: self.control.stream_topic(&self.def.name),
            partition: PartitionId(partition),
        }
    }

    pub(crate) async fn end(&self, partition: u32) -> Offset {
        self.log.range(&self.at(partition)).await.unwrap().end
    }

    pub(crate) async fn append(&self, partition: u32, frame: Bytes) -> Offset {
        let delivery = self.log.enqueue(&self.at(partition), frame).await.unwrap();
        delivery.await.unwrap().offset
    }
}

pub(crate) async fn patient<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(300), future)
        .await
        .expect("must happen in time")
}

/// Polls until it is so.
pub(crate) async fn until<F: Future<Output = bool> + Send>(so: impl Fn() -> F + Send + Sync) {
    patient(async {
        while !so().await {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
