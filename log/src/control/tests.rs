//! Streams are made once, changed by racing callers, and followed through outages.

use async_trait::async_trait;
use bytes::Bytes;
use tourbillon_core::clock::ManualClock;

use super::*;
use crate::{Delivery, LogRange, LogRecord, MemoryLog};

async fn control() -> ControlTopic {
    let log = MemoryLog::new(Arc::new(ManualClock::new(1)));
    ControlTopic::open(Arc::new(log), "t").await.unwrap()
}

fn request(columns: &[&str]) -> StreamRequest {
    let column = |name: &&str| ColumnSpec {
        name: (*name).into(),
        ty: "string".into(),
        nullable: true,
    };
    let columns = columns.iter().map(column).collect();
    StreamRequest {
        name: "ticks".into(),
        columns,
        ..StreamRequest::default()
    }
}

#[tokio::test]
async fn streams_are_made_once_and_grown_by_what_is_new() {
    let control = control().await;
    let first = control.ensure_stream(&request(&["a"])).await.unwrap();
    assert_eq!((first.version(), first.partitions), (1, DEFAULT_PARTITIONS));
    assert_eq!(
        control
            .ensure_stream(&request(&["a"]))
            .await
            .unwrap()
            .version(),
        1
    );
    let grown = control.ensure_stream(&request(&["b"])).await.unwrap();
    assert_eq!((grown.version(), grown.schema().columns().len()), (2, 2));
    let topic = control.stream_topic(&first.name);
    assert_eq!(
        control.log.partitions(&topic).await.unwrap(),
        Some(DEFAULT_PARTITIONS)
    );
}

#[tokio::test]
async fn new_streams_have_the_default_partitions_and_old_ones_keep_theirs() {
    let control = control().await;
    let old = control.ensure_stream(&request(&["a"])).await.unwrap();
    let more = control.clone().with_partitions(7);
    let again = more.ensure_stream(&request(&["a"])).await.unwrap();
    assert_eq!(again.partitions, old.partitions);
    let mut other = request(&["a"]);
    other.name = "other".into();
    assert_eq!(more.ensure_stream(&other).await.unwrap().partitions, 7);
}

#[tokio::test]
async fn racing_changes_all_take_effect() {
    let control = control().await;
    control.ensure_stream(&request(&["a"])).await.unwrap();
    let names = ["b", "c", "d"];
    let race = names.map(|name| {
        let control = control.clone();
        async move { control.ensure_stream(&request(&[name])).await }
    });
    for result in futures::future::join_all(race).await {
        result.unwrap();
    }
    let view = control.view();
    assert_eq!(
        view.streams
            .values()
            .next()
            .unwrap()
            .schema()
            .columns()
            .len(),
        4
    );
}

#[tokio::test]
async fn refusals_name_the_stream_and_leave_nothing_behind() {
    let control = control().await;
    let mut bad = request(&["a"]);
    bad.key = Some(vec!["nope".into()]);
    let error = control.ensure_stream(&bad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(control.view().streams.is_empty());
    control.ensure_builtin_streams().await.unwrap();
    control.ensure_builtin_streams().await.unwrap();
    assert_eq!(control.view().streams.len(), 2);
    assert_eq!(control.view().ignored, 0);
}

/// A log whose readers fail after each read.
#[derive(Debug)]
struct Flaky(MemoryLog);

#[derive(Debug)]
struct FlakyReader(Box<dyn LogReader>, bool);

#[async_trait]
impl LogReader for FlakyReader {
    async fn next(&mut self) -> Result<Vec<LogRecord>, LogError> {
        if self.1 {
            return Err(LogError::Unreachable {
                brokers: "b".into(),
                source: Arc::new(std::io::Error::other("outage")),
            });
        }
        let records = self.0.next().await;
        self.1 = true;
        records
    }
}

#[async_trait]
impl Log for Flaky {
    async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError> {
        self.0.ensure_topic(need).await
    }
    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.0.partitions(topic).await
    }
    async fn enqueue(&self, to: &TopicPartition, bytes: Bytes) -> Result<Delivery, LogError> {
        self.0.enqueue(to, bytes).await
    }
    async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError> {
        self.0.range(of).await
    }
    async fn read(
        &self,
        of: &TopicPartition,
        from: Offset,
    ) -> Result<Box<dyn LogReader>, LogError> {
        let reader = self.0.read(of, from).await?;
        Ok(Box::new(FlakyReader(reader, false)))
    }
    fn exclusive(&self) -> bool {
        self.0.exclusive()
    }
    fn has_append_time(&self) -> bool {
        self.0.has_append_time()
    }
    async fn close(&self) -> Result<(), LogError> {
        self.0.close().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_log_only_delays_the_view() {
    let log = Flaky(MemoryLog::new(Arc::new(ManualClock::new(1))));
    let control = ControlTopic::open(Arc::new(log), "t").await.unwrap();
    for column in ["a", "b", "c"] {
        control.ensure_stream(&request(&[column])).await.unwrap();
    }
    let view = control.view();
    let columns = view.streams.values().next().unwrap().schema().columns();
    assert_eq!(columns.len(), 3);
}
