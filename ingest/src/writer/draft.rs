//! Frames in the making: rows of one or more requests for one partition.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::concat_batches;
use bytes::Bytes;
use tokio::sync::oneshot;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::frame::{
    BodyCodec, FrameError, FrameHeader, FrameKind, MAX_FRAME_ROWS, SourcePart,
};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, WriterId};

use crate::budget::Reservation;
use crate::cut::{MAX_PART_BYTES, Part};
use crate::gateway::Source;

/// Told where the rows lie once they are acknowledged; dropped if that will never be known. Holds
/// the request's share of the budget until then.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) sender: oneshot::Sender<Offset>,
    pub(crate) _held: Arc<Reservation>,
}

/// What waits for a lane.
#[derive(Debug)]
pub(crate) enum Queued {
    /// Rows.
    Rows(Message),
    /// From here on requests are cut by more partitions.
    Cut {
        /// Stamp of the frame that says so.
        hlc: Hlc,
        /// How many.
        partitions: u32,
    },
}

/// A request's rows for one partition.
#[derive(Debug)]
pub(crate) struct Message {
    /// Stamp of the request's row 0.
    pub(crate) base: Hlc,
    /// Schema version of the rows.
    pub(crate) version: u32,
    /// Codec of that version.
    pub(crate) codec: Arc<BodyCodec>,
    /// Who sent them.
    pub(crate) source: Option<Source>,
    /// By how many partitions the request is cut.
    pub(crate) partitions: u32,
    /// The rows.
    pub(crate) parts: Vec<Part>,
    /// Whom to tell.
    pub(crate) done: Done,
}

/// One part of a message.
#[derive(Debug)]
pub(crate) struct Piece {
    base: Hlc,
    version: u32,
    codec: Arc<BodyCodec>,
    source: SourcePart,
    part: Part,
    /// With the last part.
    done: Option<Done>,
}

impl Message {
    /// The message part by part.
    pub(crate) fn into_pieces(self) -> impl Iterator<Item = Piece> {
        let (base, version, codec, source) = (self.base, self.version, self.codec, self.source);
        let parts = self.parts.len();
        let source = source.filter(|_| !broken(Rule::SourcesTravel));
        let mut done = Some(self.done);
        (1..)
            .zip(self.parts)
            .map(move |(number, part): (u32, Part)| {
                let last = number as usize == parts;
                let rows = count(part.rows.num_rows());
                let source = match &source {
                    None => SourcePart::anonymous(rows),
                    Some(Source { name, sequence }) => SourcePart {
                        source: Arc::clone(name),
                        sequence: *sequence,
                        part: number - 1,
                        last,
                        rows,
                    },
                };
                let done = if last { done.take() } else { None };
                Piece {
                    base,
                    version,
                    codec: Arc::clone(&codec),
                    source,
                    part,
                    done,
                }
            })
    }
}

impl Piece {
    fn stamp(&self, row: usize) -> Hlc {
        self.base.plus(i64::from(self.part.places.value(row)))
    }

    fn last(&self) -> Hlc {
        self.stamp(self.part.places.len() - 1)
    }
}

/// Pieces that become one frame; never empty.
#[derive(Debug)]
pub(crate) struct Draft {
    pieces: Vec<Piece>,
    rows: u32,
    bytes: usize,
}

/// A frame, ready for the log.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) frame: Bytes,
    pub(crate) hlc_last: Hlc,
    pub(crate) rows: u32,
    pub(crate) done: Vec<Done>,
}

impl Draft {
    fn begin(piece: Piece) -> Self {
        let (rows, bytes) = (piece.source.rows, piece.part.bytes);
        Self {
            pieces: vec![piece],
            rows,
            bytes,
        }
    }

    /// Adds a piece, stamped above all others. Returns the draft before it if they do not fit
    /// into one frame.
    pub(crate) fn add(draft: &mut Option<Self>, piece: Piece) -> Option<Self> {
        match draft {
            Some(open) if open.fits(&piece) => {
                open.rows += piece.source.rows;
                open.bytes += piece.part.bytes;
                open.pieces.push(piece);
                None
            }
            _ => draft.replace(Self::begin(piece)),
        }
    }

    fn fits(&self, piece: &Piece) -> bool {
        let first = &self.pieces[0];
        first.version == piece.version
            && self.rows + piece.source.rows <= MAX_FRAME_ROWS
            && self.bytes + piece.part.bytes <= MAX_PART_BYTES
            && piece.last().0 - first.stamp(0).0 <= i64::from(u32::MAX)
    }

    /// Whether no further row fits.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= MAX_FRAME_ROWS
    }

    /// The frame, number `pseq` of `writer`, who cuts by `cut` partitions.
    pub(crate) fn build(self, writer: WriterId, pseq: u64, cut: u32) -> Result<Ready, FrameError> {
        // a draft begins with a piece, and a piece has a row
        let (first, last) = (&self.pieces[0], &self.pieces[self.pieces.len() - 1]);
        let (hlc_first, hlc_last) = (first.stamp(0), last.last());
        let contiguous = hlc_last.0 - hlc_first.0 + 1 == i64::from(self.rows);
        let deltas = (!contiguous).then(|| self.deltas(hlc_first));
        let codec = Arc::clone(&first.codec);
        let header = FrameHeader {
            kind: FrameKind::Data,
            writer,
            pseq,
            hlc_first,
            hlc_last,
            rows: self.rows,
            schema_version: first.version,
            contiguous,
            cut,
            sources: self.sources(),
        };
        let batch = self.batch(&codec)?;
        let frame = header.encode(&codec.encode(&batch, deltas)?)?;
        let done = self
            .pieces
            .into_iter()
            .filter_map(|piece| piece.done)
            .collect();
        Ok(Ready {
            frame,
            hlc_last,
            rows: self.rows,
            done,
        })
    }

    /// Each row's distance from the first stamp; `fits` keeps it within 32 bits.
    fn deltas(&self, first: Hlc) -> UInt32Array {
        let of_piece = |piece: &Piece| {
            let offset = count(piece.base.0 - first.0 + i64::from(piece.part.places.value(0)));
            let start = piece.part.places.value(0);
            let places = piece.part.places.values().iter();
            places
                .map(move |place| offset + (place - start))
                .collect::<Vec<_>>()
        };
        self.pieces
            .iter()
            .flat_map(of_piece)
            .collect::<Vec<u32>>()
            .into()
    }

    fn sources(&self) -> Vec<SourcePart> {
        if !self.pieces.iter().any(|piece| piece.source.is_named()) {
            return Vec::new();
        }
        let mut sources: Vec<SourcePart> = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            match sources.last_mut() {
                Some(last) if !last.is_named() && !piece.source.is_named() => {
                    last.rows += piece.source.rows;
                }
                _ => sources.push(piece.source.clone()),
            }
        }
        sources
    }

    fn batch(&self, codec: &BodyCodec) -> Result<RecordBatch, FrameError> {
        if let [only] = &*self.pieces {
            return Ok(only.part.rows.clone());
        }
        let batches = self.pieces.iter().map(|piece| &piece.part.rows);
        concat_batches(codec.schema().data(), batches).map_err(FrameError::Body)
    }
}

/// A number that a frame's limits keep within 32 bits.
fn count<N: TryInto<u32>>(n: N) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}
