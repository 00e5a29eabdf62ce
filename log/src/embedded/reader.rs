//! Reading: from memory where the records are recent, else from disk.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tourbillon_core::ids::Offset;

use super::store::{PartitionState, Store};
use crate::{LogError, LogReader, LogRecord};

#[derive(Debug)]
pub(super) struct EmbeddedReader {
    store: Arc<Store>,
    partition: Arc<PartitionState>,
    position: Offset,
    end: watch::Receiver<Offset>,
    closed: watch::Receiver<bool>,
}

impl EmbeddedReader {
    pub(super) fn new(
        store: Arc<Store>,
        partition: Arc<PartitionState>,
        position: Offset,
        closed: watch::Receiver<bool>,
    ) -> Self {
        let end = partition.subscribe();
        Self {
            store,
            partition,
            position,
            end,
            closed,
        }
    }
}

#[async_trait]
impl LogReader for EmbeddedReader {
    async fn next(&mut self) -> Result<Vec<LogRecord>, LogError> {
        let position = self.position;
        let end = tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => return Err(LogError::Closed),
            end = self.end.wait_for(|end| *end > position) => *end.map_err(|_| LogError::Closed)?,
        };
        let records = match self.partition.recent_from(position) {
            Some(records) => records,
            None => {
                let store = Arc::clone(&self.store);
                let partition = Arc::clone(&self.partition);
                let scan = move || store.scan(&partition, position, end);
                let scanned = tokio::task::spawn_blocking(scan).await;
                scanned.map_err(|error| {
                    LogError::read(&self.partition.at, position, Arc::new(error))
                })??
            }
        };
        if let Some(last) = records.last() {
            self.position = last.offset.next();
        }
        self.partition.metrics.read(&records);
        Ok(records)
    }
}
