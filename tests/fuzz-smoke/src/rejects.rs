//! Sidecars of refused frames.

use bytes::Bytes;
use tourbillon_core::ids::PartitionId;
use tourbillon_lake::{decode_rejects, encode_rejects};

/// Any sidecar is answered; what can be read is what would be written.
pub fn run(data: &[u8]) {
    let Ok(frames) = decode_rejects("fuzz", Bytes::copy_from_slice(data)) else {
        return;
    };
    let (meta, bytes) = encode_rejects(PartitionId(0), 0, &frames);
    assert_eq!(bytes, data, "the sidecar changed");
    assert_eq!(meta.frames, frames.len() as u64, "another count");
}
