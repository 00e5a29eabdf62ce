//! A node that has not heard of a stream's growth must not call a window complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::time::sleep;
use tourbillon_core::hlc::Hlc;
use tourbillon_log::control::{ControlTopic, StreamRequest};
use tourbillon_log::{
    Delivery, Log, LogError, LogRange, LogReader, LogRecord, MemoryLog, TopicNeed, TopicPartition,
};

use super::*;
use crate::error::QueryError;

/// A log whose control topic is read late.
#[derive(Clone, Debug)]
struct Lagging {
    log: MemoryLog,
    lags: Arc<AtomicBool>,
}

#[derive(Debug)]
struct LaggingReader {
    reader: Box<dyn LogReader>,
    lags: Arc<AtomicBool>,
}

#[async_trait]
impl LogReader for LaggingReader {
    async fn next(&mut self) -> Result<Vec<LogRecord>, LogError> {
        let records = self.reader.next().await;
        while self.lags.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(10)).await;
        }
        records
    }
}

#[async_trait]
impl Log for Lagging {
    async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError> {
        self.log.ensure_topic(need).await
    }

    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.log.partitions(topic).await
    }

    async fn enqueue(&self, to: &TopicPartition, payload: Bytes) -> Result<Delivery, LogError> {
        self.log.enqueue(to, payload).await
    }

    async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError> {
        self.log.range(of).await
    }

    async fn read(
        &self,
        of: &TopicPartition,
        from: Offset,
    ) -> Result<Box<dyn LogReader>, LogError> {
        let reader = self.log.read(of, from).await?;
        if !of.topic.ends_with("_control") {
            return Ok(reader);
        }
        let lags = Arc::clone(&self.lags);
        Ok(Box::new(LaggingReader { reader, lags }))
    }

    fn exclusive(&self) -> bool {
        self.log.exclusive()
    }

    fn has_append_time(&self) -> bool {
        self.log.has_append_time()
    }

    async fn close(&self) -> Result<(), LogError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_growth_that_was_not_heard_of_holds_t_back() {
    let mut rig = Rig::new(memory(), 1).await;
    let mut feed = Feed::new(&rig, 90, 1).await;
    feed.run(50, 2_000_000).await;
    let lags = Arc::new(AtomicBool::new(false));
    let log: Arc<dyn Log> = Arc::new(Lagging {
        log: rig.log.clone(),
        lags: Arc::clone(&lags),
    });
    let control = ControlTopic::open(Arc::clone(&log), "t").await.unwrap();
    let service = QueryService::start(log, rig.lake.clone(), control);
    let old = Arc::clone(&rig.def);
    until(|| async { service.complete_through(&old).is_ok_and(|t| t > Hlc::MIN) }).await;

    lags.store(true, Ordering::SeqCst);
    let grown = StreamRequest {
        name: "ticks".into(),
        partitions: Some(2),
        ..StreamRequest::default()
    };
    rig.def = rig.control.ensure_stream(&grown).await.unwrap();
    feed.close().await;
    feed.rig = rig.clone();
    feed.cut = 2;
    feed.open().await;
    feed.pass(1_000_000_000);
    feed.data(0, 1, 10, None).await;
    let row = feed.rows[feed.rows.len() - 1].hlc;
    feed.pass(1_000_000_000);
    feed.beat().await;
    // all of partition 0 says that time is past the row, which lies in a partition unheard of
    for _ in 0..50 {
        sleep(Duration::from_millis(100)).await;
        let told = service.complete_through(&old);
        assert!(told.as_ref().map_or(true, |t| t.0 < row), "{told:?}");
    }
    lags.store(false, Ordering::SeqCst);
    until(|| async { service.complete_through(&old).is_ok_and(|t| t.0 >= row) }).await;
    let router = crate::http::router(service.clone());
    let request =
        Request::get("/v1/streams/ticks/window?columns=n").header(header::ACCEPT, "text/csv");
    let request = request.body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let lines = std::str::from_utf8(&body).unwrap().lines().count();
    assert_eq!(lines, feed.rows.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_comes_later_takes_no_node_out_of_work() {
    let rig = Rig::new(memory(), 1).await;
    let mut feed = Feed::new(&rig, 91, 1).await;
    feed.run(50, 2_000_000).await;
    let log: Arc<dyn Log> = Arc::new(rig.log.clone());
    let service = QueryService::start(log, rig.lake.clone(), rig.control.clone());
    until(|| async { service.is_ready() }).await;
    let grown = StreamRequest {
        name: "ticks".into(),
        partitions: Some(2),
        ..StreamRequest::default()
    };
    let grown = rig.control.ensure_stream(&grown).await.unwrap();
    // no writer has said anything in it yet
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        let unknown = service.complete_through(&grown);
        assert!(matches!(unknown, Err(QueryError::CatchingUp { .. })));
        assert_eq!(service.hindrance(), None);
    } // but one that had caught up and begins anew is a reason
    let old = service.partitions(&rig.def).unwrap().remove(0);
    old.begin(crate::partition::State::default());
    assert!(service.hindrance().is_some());
}
