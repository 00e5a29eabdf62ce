//! Rows in a partition that their key does not belong to. Windows of given keys read only the
//! partitions that can hold them, so they would not show such rows.

use std::sync::Arc;

use tourbillon_core::control::StreamDef;
use tourbillon_core::open_rows::{key_at, offsets};
use tourbillon_core::partitioner::first_stray;
use tourbillon_core::sealer::SegmentRows;
use tourbillon_lake::off_thread;
use tourbillon_log::follow::FollowError;

use super::Verifier;
use crate::error::WorkerError;

impl Verifier {
    /// What is wrong with the first row of a segment that lies in the wrong partition, if one does.
    pub(super) async fn stray(
        &self,
        def: &Arc<StreamDef>,
        rows: &SegmentRows,
    ) -> Result<Option<String>, WorkerError> {
        if self.first(def, rows).await?.is_none() {
            return Ok(None);
        }
        // the stream may have grown since the verification began
        let known = self.control.catch_up().await;
        known.map_err(|e| self.failed("read the control topic", FollowError::Control(e)))?;
        let view = self.control.view();
        let newest = view.streams.get(&self.def.name).unwrap_or(def);
        self.first(newest, rows).await
    }

    async fn first(
        &self,
        def: &Arc<StreamDef>,
        rows: &SegmentRows,
    ) -> Result<Option<String>, WorkerError> {
        let (def, batches, partition) = (Arc::clone(def), rows.batches.clone(), self.partition);
        let look = off_thread(move || {
            for batch in batches {
                let (key, offset) = match first_stray(def.schema(), &batch, def.cuts(), partition) {
                    Ok(None) => continue,
                    Ok(Some(row)) => (key_at(&batch, row), offsets(&batch)[row]),
                    Err(error) => return Some(format!("the keys of rows cannot be read: {error}")),
                };
                return Some(format!(
                    "the row {key} at offset {offset} does not belong into partition {partition} by its \
                     key: windows of that key may leave it out"
                ));
            }
            None
        });
        look.await
            .map_err(|e| self.failed("look at the keys of rows", e))
    }
}
