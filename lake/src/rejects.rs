//! The sidecar of refused frames: length-prefixed, little-endian, in log order.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tourbillon_core::digest::Digest;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::machine::Reason;
use tourbillon_core::manifest::RejectsMeta;
use tourbillon_core::sealer::RejectedFrame;

use crate::error::LakeError;

/// Bytes before a frame's reason and payload.
const FIXED_BYTES: usize = 8 + 8 + 1 + 4;

/// The sidecar of commit `seq` of a partition.
pub fn encode_rejects(
    partition: PartitionId,
    seq: u64,
    frames: &[RejectedFrame],
) -> (RejectsMeta, Bytes) {
    let mut out = BytesMut::new();
    for frame in frames {
        let reason = frame.reason.as_str();
        out.put_u64_le(frame.offset.0);
        out.put_i64_le(frame.append_time_ns);
        out.put_u8(u8::try_from(reason.len()).unwrap_or(0));
        out.put_u32_le(u32::try_from(frame.payload.len()).unwrap_or(u32::MAX));
        out.put_slice(reason.as_bytes());
        out.put_slice(&frame.payload);
    }
    let bytes = out.freeze();
    let file_hash = Digest::of(&bytes);
    (
        RejectsMeta {
            name: format!("rejects/p{partition}/{seq:020}"),
            frames: frames.len() as u64,
            file_hash,
        },
        bytes,
    )
}

/// Reads a sidecar back; `path` names it in errors.
pub fn decode_rejects(path: &str, mut bytes: Bytes) -> Result<Vec<RejectedFrame>, LakeError> {
    let damaged = |reason: &str| LakeError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let mut frames = Vec::new();
    while bytes.has_remaining() {
        if bytes.remaining() < FIXED_BYTES {
            return Err(damaged("it ends within a header"));
        }
        let offset = Offset(bytes.get_u64_le());
        let append_time_ns = bytes.get_i64_le();
        let (name, payload) = (usize::from(bytes.get_u8()), bytes.get_u32_le() as usize);
        if bytes.remaining() < name + payload {
            return Err(damaged("it ends within a frame"));
        }
        let name = bytes.split_to(name);
        let reason = std::str::from_utf8(&name).ok().and_then(Reason::from_name);
        let reason = reason.ok_or_else(|| damaged("unknown reason"))?;
        let payload = bytes.split_to(payload);
        frames.push(RejectedFrame {
            offset,
            append_time_ns,
            reason,
            payload,
        });
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_round_trip_and_notice_truncation() {
        let frame = |offset, reason| RejectedFrame {
            offset: Offset(offset),
            append_time_ns: -5,
            reason,
            payload: Bytes::from_static(b"frame"),
        };
        let frames = vec![frame(3, Reason::Malformed), frame(9, Reason::WriterNotOpen)];
        let (meta, bytes) = encode_rejects(PartitionId(1), 2, &frames);
        assert_eq!(meta.frames, 2);
        assert_eq!(decode_rejects("x", bytes.clone()).unwrap(), frames);
        assert!(decode_rejects("x", bytes.slice(..bytes.len() - 1)).is_err());
    }
}
