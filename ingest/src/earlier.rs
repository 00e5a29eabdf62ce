//! What landed of a request before its stream grew.
//!
//! A partition knows a request by its source, sequence and part, and parts are the same only while
//! the request is cut by the same number of partitions. Before a repeat is cut by the new number,
//! the rows that landed under an earlier one are left out. What is asked for this no longer
//! changes ([`EarlierSources`]), so every gateway leaves out the same rows, and cuts the rest
//! alike. Earlier cuts are asked in their order, since each cut what those before it left.

use std::collections::BTreeMap;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::machine::{EarlierSources, Landed, PartitionMachine};
use tourbillon_core::schema::StreamSchema;

use crate::cut::{Share, shares};
use crate::error::IngestError;
use crate::gateway::Source;

/// What a stream's partitions remember of requests cut by fewer partitions than there are.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    cuts: BTreeMap<u32, BTreeMap<PartitionId, EarlierSources>>,
    /// All of it lies at or below these.
    through: BTreeMap<PartitionId, Offset>,
}

/// What is left of a request.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Rows that did not land, in their order.
    pub(crate) rows: RecordBatch,
    /// At or below which offsets the others lie.
    pub(crate) landed: BTreeMap<PartitionId, Offset>,
}

impl Earlier {
    /// Adds what a partition knows.
    pub(crate) fn learn(&mut self, partition: PartitionId, machine: &PartitionMachine) {
        for (cut, sources) in machine.earlier() {
            self.cuts.entry(cut).or_default().insert(partition, sources);
            let last = machine.next_offset().0.saturating_sub(1);
            self.through.insert(partition, Offset(last));
        }
    }

    /// Whether there is nothing to ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.cuts.is_empty() || broken(Rule::EarlierAsked)
    }

    /// Whether any row of a request may have landed.
    pub(crate) fn knows(&self, source: &Source, now_ns: i64) -> bool {
        let of_cut = |partitions| knows(partitions, source, now_ns);
        !self.is_empty() && self.cuts.values().any(of_cut)
    }

    /// Leaves out the rows of a request that landed, if those that did so under cuts below `asked`
    /// are left out already. CPU-bound.
    pub(crate) fn rest(
        &self,
        schema: &StreamSchema,
        rows: RecordBatch,
        source: &Source,
        asked: u32,
        now_ns: i64,
    ) -> Result<Rest, IngestError> {
        let mut rest = Rest {
            rows,
            landed: BTreeMap::new(),
        };
        for (cut, partitions) in self.cuts.range(asked..) {
            if rest.rows.num_rows() == 0 || !knows(partitions, source, now_ns) {
                continue;
            }
            let mut open = Vec::new();
            for share in shares(schema, &rest.rows, *cut)? {
                let known = partitions.get(&share.partition);
                let landed = known.map_or(Landed::Nothing, |known| {
                    known.landed(&source.name, source.sequence, now_ns)
                });
                let parts = landed_parts(landed, &share, source)?;
                if let Some(through) = self.through.get(&share.partition).filter(|_| parts > 0) {
                    rest.landed.insert(share.partition, *through);
                }
                let left = share.parts.iter().skip(parts);
                open.extend(left.flat_map(|(places, _)| places.values().iter().copied()));
            }
            open.sort_unstable();
            let open = UInt32Array::from(open);
            rest.rows = take_record_batch(&rest.rows, &open).map_err(IngestError::Cut)?;
        }
        Ok(rest)
    }
}

fn knows(partitions: &BTreeMap<PartitionId, EarlierSources>, source: &Source, now_ns: i64) -> bool {
    partitions
        .values()
        .any(|known| known.landed(&source.name, source.sequence, now_ns) != Landed::Nothing)
}

/// How many of a share's parts landed.
fn landed_parts(landed: Landed, share: &Share, source: &Source) -> Result<usize, IngestError> {
    match landed {
        Landed::Nothing => Ok(0),
        Landed::Parts(next) => Ok(usize::try_from(next).unwrap_or(usize::MAX)),
        Landed::Whole => Ok(share.parts.len()),
        Landed::Forgotten => Err(IngestError::SequenceForgotten {
            name: source.name.to_string(),
            sequence: source.sequence,
        }),
    }
}

#[cfg(test)]
#[path = "earlier_tests.rs"]
mod tests;
