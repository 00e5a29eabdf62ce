//! A writer: what it has sent, and what it may promise.

use super::partition::Frame;

/// Frame numbers, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Numbers(u8);

impl Numbers {
    /// Adds one.
    pub fn insert(&mut self, number: u8) {
        self.0 |= 1 << number;
    }

    /// Whether it is there.
    pub fn contains(self, number: u8) -> bool {
        self.0 & 1 << number != 0
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |number| self.contains(*number))
    }
}

/// An ALIVE that was sent and not read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Which of the writer's ALIVEs.
    pub number: u8,
    /// When it was sent, local time.
    pub sent: u8,
    /// Whether it is in the control topic.
    pub landed: bool,
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
    /// Whether a frame has landed twice.
    pub repeated: bool,
    /// Highest stamp given or seen.
    pub last: u8,
    /// ALIVEs sent.
    pub alives: u8,
    /// The newest of them, until it is read back.
    pub ask: Option<Ask>,
    /// Until when it may acknowledge, local time.
    pub lease_end: u8,
    /// Frames sent under a lease; kept only where that is what counts.
    pub leased: Numbers,
    /// Data frames acknowledged.
    pub acked: Numbers,
    /// Whether it knows that it is over.
    pub ended: bool,
}

impl Writer {
    /// A writer whose OPEN is on its way.
    pub fn opening() -> Self {
        Self {
            sent: 1,
            flying: vec![Frame::open()],
            lost: false,
            repeated: false,
            last: 0,
            alives: 0,
            ask: None,
            lease_end: 0,
            leased: Numbers::default(),
            acked: Numbers::default(),
            ended: false,
        }
    }
}
