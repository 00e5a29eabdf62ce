//! Whose rows a frame holds: the identity by which repeated requests are recognised.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

const FIXED_BYTES: usize = 18;

/// Rows of one client request in one frame.
///
/// A request's rows for a partition are cut into parts of at most 8192, in row order, the same way
/// each time it is sent; `(source, sequence, part)` therefore names the same rows in every repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePart {
    /// Name the client gave itself; empty if it gave none.
    pub source: Arc<str>,
    /// The client's number of the request.
    pub sequence: u64,
    /// Which part of the request's rows for this partition.
    pub part: u32,
    /// Whether it is the last part.
    pub last: bool,
    /// Number of rows.
    pub rows: u32,
}

impl SourcePart {
    /// Rows of a client that gave no name.
    pub fn anonymous(rows: u32) -> Self {
        Self {
            source: "".into(),
            sequence: 0,
            part: 0,
            last: true,
            rows,
        }
    }

    /// Whether the client named itself, so that its rows can be recognised again.
    pub fn is_named(&self) -> bool {
        !self.source.is_empty()
    }

    pub(super) fn encoded_len(&self) -> usize {
        FIXED_BYTES + self.source.len()
    }

    pub(super) fn encode(&self, out: &mut BytesMut) -> Option<()> {
        let len = u8::try_from(self.source.len()).ok()?;
        out.put_u64_le(self.sequence);
        out.put_u32_le(self.part);
        out.put_u32_le(self.rows);
        out.put_u8(u8::from(self.last));
        out.put_u8(len);
        out.put_slice(self.source.as_bytes());
        Some(())
    }

    /// Reads `count` entries, whatever follows them must be padding.
    pub(super) fn decode_all(mut bytes: &[u8], count: u16) -> Option<Vec<Self>> {
        let mut parts = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let (fixed, rest) = bytes.split_first_chunk::<FIXED_BYTES>()?;
            let (name, rest) = rest.split_at_checked(usize::from(fixed[17]))?;
            parts.push(Self {
                source: std::str::from_utf8(name).ok()?.into(),
                sequence: u64::from_le_bytes(*fixed[..8].first_chunk()?),
                part: u32::from_le_bytes(*fixed[8..].first_chunk()?),
                rows: u32::from_le_bytes(*fixed[12..].first_chunk()?),
                last: fixed[16] != 0,
            });
            bytes = rest;
        }
        bytes.iter().all(|b| *b == 0).then_some(parts)
    }
}
