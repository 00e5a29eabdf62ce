//! Reading a partition's frame headers from its newest commit on, to learn its watermark and its cut.

use futures::stream::{self, StreamExt, TryStreamExt};
use tourbillon_core::control::StreamDef;
use tourbillon_core::frame::FrameHeader;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::machine::PartitionMachine;
use tourbillon_core::manifest::CommitBody;
use tourbillon_log::{LogError, LogReader, TopicPartition};

use crate::error::IngestError;
use crate::settings::Environment;

/// Partitions whose newest commit is looked for at the same time.
pub(super) const PARALLEL_LOOKS: usize = 16;

/// Refuses a log that ends before the records that its commits were made from: it was restored from
/// an older copy, or the store is another log's. To be called before anything is written, for each
/// try to join appends a little, until the log seems long enough and nobody notices any more.
pub(super) async fn check_log(env: &Environment) -> Result<(), IngestError> {
    let view = env.control.view();
    let partitions = view.streams.values().flat_map(|def| {
        let numbers = (0..def.partitions).map(PartitionId);
        numbers.map(move |partition| check_partition(env, def, partition))
    });
    let checks = stream::iter(partitions.collect::<Vec<_>>());
    checks.buffer_unordered(PARALLEL_LOOKS).try_collect().await
}

async fn check_partition(
    env: &Environment,
    def: &StreamDef,
    partition: PartitionId,
) -> Result<(), IngestError> {
    let Some(commit) = newest(env, def, partition).await? else {
        return Ok(());
    };
    let topic = env.control.stream_topic(&def.name);
    let at = TopicPartition { topic, partition };
    let range = env.log.range(&at).await;
    let end = range.map_err(|source| failed("read", &at, source))?.end;
    if end < commit.next_offset {
        let wanted = commit.next_offset;
        return Err(IngestError::Truncated { at, wanted, end });
    }
    Ok(())
}

async fn newest(
    env: &Environment,
    def: &StreamDef,
    partition: PartitionId,
) -> Result<Option<CommitBody>, IngestError> {
    let newest = env.commits.newest(&def.name, partition).await;
    newest.map_err(|source| IngestError::Commits {
        stream: def.name.clone(),
        partition,
        source: Box::new(source),
    })
}

fn failed(step: &'static str, at: &TopicPartition, source: LogError) -> IngestError {
    IngestError::Log {
        step,
        at: at.clone(),
        source: Box::new(source),
    }
}

/// The partition's state, as far as it was read.
#[derive(Debug)]
pub(super) struct HeaderFollower {
    at: TopicPartition,
    machine: PartitionMachine,
    reader: Box<dyn LogReader>,
}

impl HeaderFollower {
    /// Stands at the newest commit of the partition.
    pub(super) async fn start(
        env: &Environment,
        def: &StreamDef,
        at: TopicPartition,
    ) -> Result<Self, IngestError> {
        let machine = newest(env, def, at.partition).await?.map_or_else(
            || PartitionMachine::new(def.rules),
            |body| PartitionMachine::restore(def.rules, &body.state, body.next_offset),
        );
        let failed = |source| failed("read", &at, source);
        let (start, wanted) = (
            env.log.range(&at).await.map_err(failed)?.start,
            machine.next_offset(),
        );
        if start > wanted {
            return Err(IngestError::Lost { at, wanted, start });
        }
        let reader = env.log.read(&at, wanted).await.map_err(failed)?;
        Ok(Self {
            at,
            machine,
            reader,
        })
    }

    /// The partition.
    pub(super) fn at(&self) -> &TopicPartition {
        &self.at
    }

    /// The state.
    pub(super) fn machine(&self) -> &PartitionMachine {
        &self.machine
    }

    /// The state, for good.
    pub(super) fn into_machine(self) -> PartitionMachine {
        self.machine
    }

    /// Reads on until everything below `end` is taken in.
    pub(super) async fn through(&mut self, end: Offset) -> Result<(), IngestError> {
        self.until(|machine| machine.next_offset() >= end).await
    }

    /// Reads on until the state is as wanted, or a little further.
    pub(super) async fn until(
        &mut self,
        wanted: impl Fn(&PartitionMachine) -> bool,
    ) -> Result<(), IngestError> {
        while !wanted(&self.machine) {
            let records = self.reader.next().await;
            let records = records.map_err(|source| failed("read", &self.at, source));
            for record in records? {
                let header = FrameHeader::decode(&record.payload)
                    .map(|(header, _)| header)
                    .ok();
                self.machine
                    .apply(record.offset, record.append_time_ns, header.as_ref());
            }
        }
        Ok(())
    }
}
