//! What may happen, and which rule does not hold.

/// Clocks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clocks {
    /// Local units a tick of the suspect writer 0; writer 1 counts 2.
    pub suspect_rate: u8,
    /// Local units a tick of whoever fences.
    pub fencer_rate: u8,
    /// How far the suspect's wall clock runs ahead, in stamps.
    pub ahead: u8,
}

impl Clocks {
    /// Local units a tick of a writer.
    pub fn rate(&self, writer: u8) -> u8 {
        if writer == 0 { self.suspect_rate } else { 2 }
    }
}

/// How much may happen.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Clocks to start from.
    pub clocks: Vec<Clocks>,
    /// Last tick.
    pub ticks: u8,
    /// Frames of each writer, OPEN among them.
    pub frames: [u8; 2],
    /// ALIVEs of each writer.
    pub alives: [u8; 2],
    /// Whether each writer may be fenced.
    pub fences: [bool; 2],
    /// Whether frames of each writer may get lost.
    pub losses: [bool; 2],
    /// Whether the producer of each writer may deliver a frame twice.
    pub repeats: [bool; 2],
}

impl Bounds {
    /// Clock rates within the protocol's limit, and a wall clock that is right or far ahead.
    pub fn lawful_clocks() -> Vec<Clocks> {
        let rates = [(2, 3), (3, 2)];
        let every = rates.into_iter().flat_map(|(suspect_rate, fencer_rate)| {
            [0, 8].map(|ahead| Clocks {
                suspect_rate,
                fencer_rate,
                ahead,
            })
        });
        every.collect()
    }

    /// The suspect may do much and be fenced; the other writer only keeps the partition moving.
    pub fn one_suspect() -> Self {
        Self {
            clocks: Self::lawful_clocks(),
            ticks: 5,
            frames: [3, 2],
            alives: [2, 1],
            fences: [true, false],
            losses: [true, false],
            repeats: [false, false],
        }
    }

    /// Both writers may be fenced, and producers repeat frames.
    pub fn two_suspects() -> Self {
        Self {
            clocks: Self::lawful_clocks(),
            ticks: 4,
            frames: [2, 2],
            alives: [1, 1],
            fences: [true, true],
            losses: [false, false],
            repeats: [true, false],
        }
    }
}

/// Rules of the protocol that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// FENCE right after FENCE_INTENT.
    FenceWithoutWait,
    /// FENCE one lease after FENCE_INTENT.
    FenceAfterOneLease,
    /// Acknowledging without a look at the lease.
    AckWithoutLease,
    /// Looking at the lease as the frame is sent, and not again.
    LeaseLookedAtWhenSent,
    /// The lease runs from reading ALIVE back, not from sending it.
    LeaseFromReadBack,
    /// ALIVE renews the lease though a FENCE_INTENT precedes it.
    RenewAfterIntent,
    /// Acknowledging what is still in flight.
    AckBeforeDelivery,
    /// Acknowledging a frame though an earlier one is not delivered.
    AckOutOfOrder,
    /// Acknowledging without comparing stamp and append time.
    AckWithoutAppendTime,
    /// Stamping before having read up to the own OPEN.
    StampBelowWatermark,
    /// The watermark is the highest closed stamp, not the lowest.
    WatermarkByMax,
    /// Frames behind a FENCE count though the watermark went on.
    AcceptAfterFence,
    /// Requests are not recognised when they are repeated.
    ForgetSources,
}
