//! Reading a partition's frame headers from its newest commit on, to learn its watermark and its cut.

use tourbillon_core::control::StreamDef;
use tourbillon_core::frame::FrameHeader;
use tourbillon_core::ids::Offset;
use tourbillon_core::machine::PartitionMachine;
use tourbillon_log::{LogReader, TopicPartition};

use crate::error::IngestError;
use crate::settings::Environment;

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
        let (stream, partition) = (def.name.clone(), at.partition);
        let newest = env.commits.newest(&stream, partition).await;
        let newest = newest.map_err(|source| IngestError::Commits {
            stream,
            partition,
            source: Box::new(source),
        })?;
        let machine = newest.map_or_else(
            || PartitionMachine::new(def.rules),
            |body| PartitionMachine::restore(def.rules, &body.state, body.next_offset),
        );
        let failed = |source| IngestError::Log {
            step: "read",
            at: at.clone(),
            source: Box::new(source),
        };
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
            let failed = |source| IngestError::Log {
                step: "read",
                at: self.at.clone(),
                source: Box::new(source),
            };
            for record in records.map_err(failed)? {
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
