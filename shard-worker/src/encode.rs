//! Rows to segments, off the async threads.

use std::sync::Arc;

use tourbillon_core::control::StreamDef;
use tourbillon_core::ids::PartitionId;
use tourbillon_core::replica::Codecs;
use tourbillon_core::sealer::SegmentRows;
use tourbillon_lake::{EncodedSegment, SegmentSpec, encode_segment, off_thread};

use crate::error::Cause;

/// Encodes the rows of one segment with the schema version that they have.
pub(crate) async fn encode(
    def: Arc<StreamDef>,
    partition: PartitionId,
    rows: SegmentRows,
) -> Result<EncodedSegment, Cause> {
    let encoded = off_thread(move || {
        let schema_version = rows.schema_version;
        let codec = def.codec(schema_version);
        let schema = codec.as_ref().map_or(def.schema(), |codec| codec.schema());
        encode_segment(
            &SegmentSpec {
                partition,
                schema,
                schema_version,
            },
            &rows.batches,
        )
    });
    Ok(encoded.await??)
}
