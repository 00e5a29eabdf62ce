//! A log whose reads return fewer records at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tourbillon_core::ids::Offset;
use tourbillon_log::{
    Delivery, Log, LogError, LogRange, LogReader, LogRecord, TopicNeed, TopicPartition,
};

#[derive(Debug)]
pub(crate) struct Cut {
    inner: Arc<dyn Log>,
    records: usize,
}

impl Cut {
    pub(crate) fn new(inner: Arc<dyn Log>, records: usize) -> Self {
        Self { inner, records }
    }
}

#[async_trait]
impl Log for Cut {
    async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError> {
        self.inner.ensure_topic(need).await
    }

    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.inner.partitions(topic).await
    }

    async fn enqueue(&self, to: &TopicPartition, payload: Bytes) -> Result<Delivery, LogError> {
        self.inner.enqueue(to, payload).await
    }

    async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError> {
        self.inner.range(of).await
    }

    async fn read(
        &self,
        of: &TopicPartition,
        from: Offset,
    ) -> Result<Box<dyn LogReader>, LogError> {
        let inner = self.inner.read(of, from).await?;
        Ok(Box::new(CutReader {
            inner,
            records: self.records,
            at_hand: VecDeque::new(),
        }))
    }

    fn exclusive(&self) -> bool {
        self.inner.exclusive()
    }

    fn has_append_time(&self) -> bool {
        self.inner.has_append_time()
    }

    async fn close(&self) -> Result<(), LogError> {
        self.inner.close().await
    }
}

#[derive(Debug)]
struct CutReader {
    inner: Box<dyn LogReader>,
    records: usize,
    at_hand: VecDeque<LogRecord>,
}

#[async_trait]
impl LogReader for CutReader {
    async fn next(&mut self) -> Result<Vec<LogRecord>, LogError> {
        if self.at_hand.is_empty() {
            self.at_hand = self.inner.next().await?.into();
        }
        let count = self.records.min(self.at_hand.len());
        Ok(self.at_hand.drain(..count).collect())
    }
}
