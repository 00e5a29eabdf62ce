//! What may happen, and which rule does not hold.

/// Clocks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clocks {
    /// Local units a tick of writer 0; writer 1 counts 2.
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
    /// The worst clock rates that the protocol allows for, a slow writer and a fast fencer, with a
    /// wall clock that is right or far ahead.
    fn worst_clocks() -> Vec<Clocks> {
        let clocks = |ahead| Clocks {
            suspect_rate: 2,
            fencer_rate: 3,
            ahead,
        };
        [0, 8].map(clocks).to_vec()
    }

    /// The suspect may do much and be fenced; the other writer only keeps the partition moving.
    pub fn one_suspect() -> Self {
        Self {
            clocks: Self::worst_clocks(),
            ticks: 3,
            frames: [3, 2],
            alives: [2, 0],
            fences: [true, false],
            losses: [true, false],
            repeats: [false, false],
        }
    }

    /// Both writers may be fenced; all clocks are right.
    pub fn two_suspects() -> Self {
        let mut clocks = Self::worst_clocks();
        clocks.truncate(1);
        Self {
            clocks,
            frames: [2, 2],
            alives: [1, 1],
            fences: [true, true],
            losses: [false, false],
            ..Self::one_suspect()
        }
    }

    /// The suspect's producer delivers a frame twice.
    pub fn repeating_producer() -> Self {
        Self {
            frames: [2, 2],
            losses: [false, false],
            repeats: [true, false],
            ..Self::one_suspect()
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
