//! Rows on their way in.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use tokio::sync::{mpsc, oneshot};
use tourbillon_core::control::StreamDef;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};

use crate::budget::Reservation;
use crate::cut::{Cut, cut, join};
use crate::earlier::Earlier;
use crate::error::IngestError;
use crate::gateway::{REQUEST_BYTES, Source};
use crate::metrics;
use crate::writer::{Done, Message, Queued};

/// Rows on their way in, sorted into partitions.
#[derive(Debug)]
pub struct Submission {
    pub(crate) def: Arc<StreamDef>,
    pub(crate) source: Option<Source>,
    /// Rows of the request.
    pub(crate) rows: u32,
    /// By how many partitions it is cut.
    pub(crate) partitions: u32,
    pub(crate) cuts: Vec<Cut>,
    /// Rows that landed under cuts below this are left out of `cuts`.
    asked: u32,
    /// At or below which offsets those rows lie.
    pub(crate) landed: BTreeMap<PartitionId, Offset>,
    held: Reservation,
}

impl Submission {
    /// Sorts `rows`, in the data form of the newest schema of `def`, into partitions. CPU-bound.
    pub fn new(
        def: Arc<StreamDef>,
        rows: &RecordBatch,
        source: Option<Source>,
        mut held: Reservation,
    ) -> Result<Self, IngestError> {
        held.resize(memory_bytes(rows) + REQUEST_BYTES)?;
        let cuts = cut(def.schema(), rows, def.partitions)?;
        // a parser gives at most 4 Mi rows
        let rows = u32::try_from(rows.num_rows()).unwrap_or(u32::MAX);
        Ok(Self {
            source,
            rows,
            partitions: def.partitions,
            cuts,
            asked: 0,
            landed: BTreeMap::new(),
            held,
            def,
        })
    }

    /// Whether it can be written as it is in a stream of `partitions` partitions.
    pub(crate) fn fits(&self, partitions: u32, earlier: &Earlier, now_ns: i64) -> bool {
        let repeats = |source| self.asked < partitions && earlier.knows(source, now_ns);
        self.partitions == partitions && !self.source.as_ref().is_some_and(repeats)
    }

    /// The request cut by `partitions`, without the rows that landed under an earlier cut.
    /// CPU-bound.
    pub(crate) fn recut(
        mut self,
        partitions: u32,
        earlier: &Earlier,
        now_ns: i64,
    ) -> Result<Self, IngestError> {
        if self.cuts.is_empty() {
            return Ok(self);
        }
        let mut rows = join(&self.cuts).map_err(IngestError::Cut)?;
        if let Some(source) = &self.source {
            let before = rows.num_rows();
            let rest = earlier.rest(self.def.schema(), rows, source, self.asked, now_ns)?;
            rows = rest.rows;
            metrics::repeated_rows(before - rows.num_rows());
            self.landed.extend(rest.landed);
            self.asked = partitions;
        }
        self.cuts = cut(self.def.schema(), &rows, partitions)?;
        self.partitions = partitions;
        Ok(self)
    }

    /// Rows to be written.
    pub(crate) fn left(&self) -> u32 {
        let parts = self.cuts.iter().flat_map(|cut| &cut.parts);
        let rows: usize = parts.map(|part| part.rows.num_rows()).sum();
        u32::try_from(rows).unwrap_or(u32::MAX)
    }

    /// Queues the rows, of which the first has stamp `base`.
    pub(crate) fn place(
        self,
        base: Hlc,
        permits: Vec<mpsc::Permit<'_, Queued>>,
    ) -> Vec<(PartitionId, oneshot::Receiver<Offset>)> {
        let held = Arc::new(self.held);
        let mut waiting = Vec::with_capacity(self.cuts.len());
        for (permit, cut) in permits.into_iter().zip(self.cuts) {
            let (sender, done) = oneshot::channel();
            permit.send(Queued::Rows(Message {
                base,
                version: self.def.version(),
                codec: Arc::clone(self.def.newest()),
                source: self.source.clone(),
                partitions: self.partitions,
                parts: cut.parts,
                done: Done {
                    sender,
                    _held: Arc::clone(&held),
                },
            }));
            waiting.push((cut.partition, done));
        }
        waiting
    }
}

/// What rows hold of memory. Buffers that several columns share, as those of an Arrow body do,
/// count once for the part that each uses.
fn memory_bytes(rows: &RecordBatch) -> usize {
    let column = |column: &ArrayRef| {
        let used = column.to_data().get_slice_memory_size();
        used.unwrap_or_else(|_| column.get_array_memory_size())
    };
    rows.columns().iter().map(column).sum()
}
