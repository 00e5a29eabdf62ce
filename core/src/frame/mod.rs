//! Frames: the records of a partition topic.
//!
//! A frame is a little-endian header, padded to 64 bytes, and for DATA a body of Arrow IPC messages
//! without the schema message, which the header's schema version names. A CRC32C covers it all.
//!
//! ```text
//!  0 magic "TBF"  3 version  4 kind  5 flags  6 source count u16
//!  8 crc32c u32   12 body start u32
//! 16 writer u32   20 schema version u32
//! 24 pseq u64     32 hlc first i64   40 hlc last i64
//! 48 rows u32     52 cut u32
//! 56 sources: sequence u64, part u32, rows u32, last u8, name length u8, name
//! ```

mod body;
mod source;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

pub use body::BodyCodec;
pub use source::SourcePart;

use crate::control::MAX_PARTITIONS;
use crate::error::ErrorKind;
use crate::hlc::Hlc;
use crate::ids::WriterId;

/// Version of the frame format that this build writes and reads.
pub const FRAME_VERSION: u8 = 1;

/// Most rows in one frame.
pub const MAX_FRAME_ROWS: u32 = 8192;

const MAGIC: &[u8; 3] = b"TBF";
const FIXED_BYTES: usize = 56;
const CRC_AT: usize = 8;
const ALIGN: usize = 64;
const FLAG_CONTIGUOUS: u8 = 1;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// The writer begins in this partition.
    Open,
    /// Events.
    Data,
    /// No events, but time has passed.
    Beat,
    /// The writer ends in this partition.
    Close,
    /// Somebody else ended the writer in this partition.
    Fence,
}

impl FrameKind {
    const ALL: [Self; 5] = [Self::Open, Self::Data, Self::Beat, Self::Close, Self::Fence];

    fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Data => 2,
            Self::Beat => 3,
            Self::Close => 4,
            Self::Fence => 5,
        }
    }
}

/// Everything the partition machine needs to know of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it says.
    pub kind: FrameKind,
    /// Who wrote it; for FENCE, who is fenced.
    pub writer: WriterId,
    /// Number of the frame among this writer's in this partition, from 0. 0 for FENCE.
    pub pseq: u64,
    /// Stamp of the first row, or of the frame itself.
    pub hlc_first: Hlc,
    /// Stamp of the last row, or of the frame itself.
    pub hlc_last: Hlc,
    /// Number of rows.
    pub rows: u32,
    /// Version of the stream's schema that the body has.
    pub schema_version: u32,
    /// Whether row `i` has stamp `hlc_first + i`; otherwise the body starts with the distances.
    pub contiguous: bool,
    /// The partition count by which the writer cuts requests from here on; 0 in FENCE and in
    /// frames of builds that did not say it.
    pub cut: u32,
    /// Whose rows these are, in row order. Empty if no client named itself.
    pub sources: Vec<SourcePart>,
}

/// A record that is no frame.
#[derive(Debug, Error)]
pub enum FrameError {
    /// Too short, or the magic is missing.
    #[error("the record is not a frame")]
    NotAFrame,
    /// Written by another release.
    #[error("the frame has format version {found}, this build reads {FRAME_VERSION}")]
    Version {
        /// Version found.
        found: u8,
    },
    /// The checksum does not match.
    #[error("the frame's checksum does not match its bytes")]
    Checksum,
    /// A field that contradicts another.
    #[error("the frame's {field} is wrong")]
    Field {
        /// Which field.
        field: &'static str,
    },
    /// A body that is not the batch its header promises.
    #[error("the frame's body cannot be read")]
    Body(#[source] arrow::error::ArrowError),
}

impl FrameError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Data
    }
}

impl FrameHeader {
    /// A frame without rows, stamped `hlc`.
    pub fn bare(kind: FrameKind, writer: WriterId, pseq: u64, hlc: Hlc) -> Self {
        Self {
            kind,
            writer,
            pseq,
            hlc_first: hlc,
            hlc_last: hlc,
            rows: 0,
            schema_version: 0,
            contiguous: true,
            cut: 0,
            sources: Vec::new(),
        }
    }

    /// The same, of a writer that cuts by `cut` partitions.
    #[must_use]
    pub fn cut_by(self, cut: u32) -> Self {
        Self { cut, ..self }
    }

    /// The frame of this header and `body`. Names longer than 255 bytes or more than 65,535
    /// sources are refused.
    pub fn encode(&self, body: &[u8]) -> Result<Bytes, FrameError> {
        let field = |field| FrameError::Field { field };
        let count = u16::try_from(self.sources.len()).map_err(|_| field("source count"))?;
        let sources: usize = self.sources.iter().map(SourcePart::encoded_len).sum();
        let start = (FIXED_BYTES + sources).next_multiple_of(ALIGN);
        let mut out = BytesMut::with_capacity(start + body.len());
        out.put_slice(MAGIC);
        out.put_u8(FRAME_VERSION);
        out.put_u8(self.kind.code());
        out.put_u8(if self.contiguous { FLAG_CONTIGUOUS } else { 0 });
        out.put_u16_le(count);
        out.put_u32_le(0);
        out.put_u32_le(u32::try_from(start).map_err(|_| field("header length"))?);
        out.put_u32_le(self.writer.0);
        out.put_u32_le(self.schema_version);
        out.put_u64_le(self.pseq);
        out.put_i64_le(self.hlc_first.0);
        out.put_i64_le(self.hlc_last.0);
        out.put_u32_le(self.rows);
        out.put_u32_le(self.cut);
        for source in &self.sources {
            source
                .encode(&mut out)
                .ok_or_else(|| field("source name"))?;
        }
        out.resize(start, 0);
        out.put_slice(body);
        let crc = checksum(&out);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        Ok(out.freeze())
    }

    /// Splits a record into header and body, checking the checksum and every field.
    pub fn decode(record: &Bytes) -> Result<(Self, Bytes), FrameError> {
        let fixed: &[u8; FIXED_BYTES] = record.first_chunk().ok_or(FrameError::NotAFrame)?;
        if &fixed[..3] != MAGIC {
            return Err(FrameError::NotAFrame);
        }
        if fixed[3] != FRAME_VERSION {
            return Err(FrameError::Version { found: fixed[3] });
        }
        if u32_at(fixed, CRC_AT) != checksum(record) {
            return Err(FrameError::Checksum);
        }
        let field = |field| FrameError::Field { field };
        let kind = FrameKind::ALL.into_iter().find(|k| k.code() == fixed[4]);
        let start = usize::try_from(u32_at(fixed, 12)).map_err(|_| field("body start"))?;
        let encoded = record
            .get(FIXED_BYTES..start)
            .ok_or_else(|| field("body start"))?;
        let count = u16::from_le_bytes([fixed[6], fixed[7]]);
        let header = Self {
            kind: kind.ok_or_else(|| field("kind"))?,
            writer: WriterId(u32_at(fixed, 16)),
            schema_version: u32_at(fixed, 20),
            pseq: u64_at(fixed, 24),
            hlc_first: Hlc(u64_at(fixed, 32).cast_signed()),
            hlc_last: Hlc(u64_at(fixed, 40).cast_signed()),
            rows: u32_at(fixed, 48),
            contiguous: fixed[5] & FLAG_CONTIGUOUS != 0,
            cut: u32_at(fixed, 52),
            sources: SourcePart::decode_all(encoded, count).ok_or_else(|| field("source list"))?,
        };
        header.check()?;
        Ok((header, record.slice(start..)))
    }

    fn check(&self) -> Result<(), FrameError> {
        let field = |field| Err(FrameError::Field { field });
        if (self.kind == FrameKind::Data) != (self.rows > 0) || self.rows > MAX_FRAME_ROWS {
            return field("row count");
        }
        if self.cut > MAX_PARTITIONS {
            return field("cut");
        }
        let span = self.hlc_last.0.checked_sub(self.hlc_first.0);
        let least = i64::from(self.rows.saturating_sub(1));
        match span {
            Some(span) if span == least => {}
            Some(span) if span > least && !self.contiguous && span <= i64::from(u32::MAX) => {}
            _ => return field("stamp range"),
        }
        let sourced: u64 = self.sources.iter().map(|s| u64::from(s.rows)).sum();
        let empty = self.sources.iter().any(|s| s.rows == 0);
        if empty || (!self.sources.is_empty() && sourced != u64::from(self.rows)) {
            return field("source rows");
        }
        Ok(())
    }
}

fn checksum(frame: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&frame[..CRC_AT]);
    crc32c::crc32c_append(crc, &frame[CRC_AT + 4..])
}

fn u32_at(bytes: &[u8; FIXED_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; FIXED_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> FrameHeader {
        let part = |source: &str, part, last, rows| SourcePart {
            source: source.into(),
            sequence: 9,
            part,
            last,
            rows,
        };
        FrameHeader {
            kind: FrameKind::Data,
            writer: WriterId(7),
            pseq: 1 << 40,
            hlc_first: Hlc(1000),
            hlc_last: Hlc(1004),
            rows: 5,
            schema_version: 2,
            contiguous: true,
            cut: 5,
            sources: vec![part("feed-a", 3, true, 2), part("", 0, true, 3)],
        }
    }

    #[test]
    fn frames_round_trip_with_an_aligned_body() {
        let frame = header().encode(b"body").unwrap();
        let (decoded, body) = FrameHeader::decode(&frame).unwrap();
        assert_eq!(decoded, header());
        assert_eq!(&body[..], b"body");
        assert_eq!((frame.len() - body.len()) % 64, 0);
    }

    #[test]
    fn contradicting_fields_are_refused() {
        let spoil: [fn(&mut FrameHeader); 6] = [
            |h| h.cut = MAX_PARTITIONS + 1,
            |h| h.rows = 0,
            |h| h.kind = FrameKind::Beat,
            |h| h.hlc_last = Hlc(2000),
            |h| h.hlc_last = Hlc(999),
            |h| h.sources[0].rows = 1,
        ];
        for change in spoil {
            let mut header = header();
            change(&mut header);
            let frame = header.encode(b"").unwrap();
            assert!(matches!(
                FrameHeader::decode(&frame),
                Err(FrameError::Field { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in 0usize..132, bit in 0u8..8) {
            let mut frame = header().encode(b"body").unwrap().to_vec();
            let at = at % frame.len();
            frame[at] ^= 1 << bit;
            prop_assert!(FrameHeader::decode(&frame.into()).is_err());
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(FrameHeader::decode(&bytes.into()).is_err());
        }
    }
}
