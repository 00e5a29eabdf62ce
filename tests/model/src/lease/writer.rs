//! A writer: what it has sent, and what it may promise.

use super::partition::Frame;

/// An ALIVE that was sent and not read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// It is on its way.
    Flying {
        /// When it was sent, local time.
        sent: u8,
    },
    /// It is in the control topic.
    Landed {
        /// When it was sent, local time.
        sent: u8,
        /// Whether a FENCE_INTENT for the writer precedes it.
        preceded: bool,
    },
}

impl Ask {
    /// When it was sent, local time.
    pub fn sent(self) -> u8 {
        match self {
            Self::Flying { sent } | Self::Landed { sent, .. } => sent,
        }
    }
}

/// One writer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    /// Frames handed to the producer.
    pub sent: u8,
    /// Of those, frames that neither landed nor got lost, oldest first.
    pub flying: Vec<Frame>,
    /// Whether a frame got lost; the writer learns it later.
    pub lost: bool,
    /// The newest landed frame, as long as it may land again.
    pub repeatable: Option<Frame>,
    /// Highest stamp given or seen.
    pub last: u8,
    /// ALIVEs that it may still send.
    pub alives: u8,
    /// The newest of them, until it is read back.
    pub ask: Option<Ask>,
    /// Until when it may acknowledge, local time; 0 once that is over.
    pub lease_end: u8,
    /// Frames sent under a lease, as bits; kept only where that is what counts.
    pub leased: u8,
    /// Whether it knows that it is over.
    pub ended: bool,
}

impl Writer {
    /// A writer whose OPEN is on its way.
    pub fn opening(alives: u8) -> Self {
        Self {
            sent: 1,
            flying: vec![Frame::open()],
            lost: false,
            repeatable: None,
            last: 0,
            alives,
            ask: None,
            lease_end: 0,
            leased: 0,
            ended: false,
        }
    }
}
