use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use tourbillon_core::ids::{Offset, PartitionId, StreamName};
use tourbillon_core::manifest::{CommitBody, MachineState};
use tourbillon_lake::LakeError;
use tourbillon_log::{Log, MemoryLog, SystemClock, TopicPartition};

use super::*;
use crate::commits::CommitSource;
use crate::rig::{PARTITIONS, environment, eventually, settings, stream};

/// Commits of the last partition, made from so many records.
#[derive(Debug)]
struct Below(Offset);

#[async_trait]
impl CommitSource for Below {
    async fn newest(
        &self,
        stream: &StreamName,
        partition: PartitionId,
    ) -> Result<Option<CommitBody>, LakeError> {
        let body = CommitBody {
            stream: stream.to_string(),
            partition,
            seq: 0,
            segments: vec![],
            sealed_key: None,
            sealed_rows: 0,
            next_offset: self.0,
            scan_from: self.0,
            skips: vec![],
            state: MachineState::default(),
            rejects: None,
        };
        Ok((partition.0 == PARTITIONS - 1).then_some(body))
    }
}

#[tokio::test]
async fn nothing_is_written_to_a_log_that_ends_before_its_commits() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(Arc::new(SystemClock::new())));
    let mut env = environment(Arc::clone(&log)).await;
    stream(&env.control, PARTITIONS).await;
    env.commits = Arc::new(Below(Offset(3)));
    let topic = env.control.stream_topic(&StreamName::new("ticks").unwrap());
    let gateway = Gateway::start(settings("process-a"), env);
    eventually(async || {
        let told = gateway.hindrance().unwrap_or_default();
        told.contains("the log was truncated")
    })
    .await;
    // it tries again, and would have filled the gap by now
    sleep(Duration::from_millis(500)).await;
    assert!(!gateway.is_ready());
    for partition in (0..PARTITIONS).map(PartitionId) {
        let topic = topic.clone();
        let range = log.range(&TopicPartition { topic, partition }).await;
        assert_eq!(range.unwrap().end, Offset(0));
    }
    gateway.shutdown().await;
}
