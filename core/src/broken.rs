//! Safety rules that can be switched off, to prove that the simulation would notice.
//!
//! Each rule is asked about at its place with [`broken`], which is `false` as a constant unless the
//! cargo feature `breaks` is on. Only the simulation turns that on, one rule and one thread at a time.

/// A rule on which the promises of docs/PROTOCOL.md rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// W is the minimum over the members, not the maximum.
    WatermarkByMin,
    /// A writer that opens counts as closed through W.
    OpenAtWatermark,
    /// Frames of a writer are accepted in the order of their numbers, without a gap.
    FrameNumbers,
    /// Stamps lie above the writer's frame before.
    AboveClosed,
    /// Stamps do not lie far above the append time.
    DriftLimit,
    /// A client's repeat is dropped.
    ClientDuplicates,
    /// A writer that left never opens again.
    DepartedStayOut,
    /// Recovery reads from the lowest offset with an unsealed row.
    RecoverFromScan,
    /// Recovery leaves out what was refused before.
    RecoverySkips,
    /// Recovery leaves out what is sealed already.
    RecoverySealed,
    /// A segment is sealed when W has passed its end, not when the wall clock has.
    SealByWatermark,
    /// Segments are merged by key.
    SegmentOrder,
    /// Data objects stand before the commit that names them.
    DataBeforeCommit,
    /// A commit is put only if absent.
    CommitIfAbsent,
    /// A commit of another worker is adopted only if it says the same.
    AdoptOnlyEqual,
    /// Rows are acknowledged after their delivery.
    AckAfterDelivery,
    /// Rows are acknowledged only under a lease.
    AckUnderLease,
    /// The lease counts from the moment its ALIVE was sent.
    LeaseFromSending,
    /// An ALIVE after a FENCE_INTENT extends nothing.
    IntentEndsLease,
    /// A failed delivery ends the writer.
    FailureEndsWriter,
    /// Rows that the partition will refuse as ahead of time are not acknowledged.
    AckWithinDrift,
    /// A fence waits for twice the lease.
    FenceWaits,
    /// A writer raises its clock above W when it opens.
    RaiseAboveWatermark,
    /// A stamp and its place in the queues are taken at once.
    StampAndQueue,
    /// A repeat keeps the client's sequence.
    SourcesTravel,
    /// Rows leave the tail in the step in which their segment appears.
    TailLeaves,
    /// Only windows through T are called final.
    FinalThroughT,
    /// A compacted file holds every row of the segments that it replaces.
    CompactsAll,
    /// Segments go only after the compaction that replaces them stands.
    SwapBeforeRemoval,
    /// A partition's cut is the minimum over the members, not the maximum.
    CutByMin,
    /// Requests with a source are cut by a new count only once no partition takes them by an
    /// older one any more.
    CutsAgree,
    /// What landed under an earlier cut is left out of a repeat.
    EarlierAsked,
}

impl Rule {
    /// Every rule with the name that `--break` takes.
    pub const ALL: [(Self, &'static str); 32] = [
        (Self::WatermarkByMin, "watermark-by-max"),
        (Self::OpenAtWatermark, "open-below-watermark"),
        (Self::FrameNumbers, "no-pseq-check"),
        (Self::AboveClosed, "closed-check-off"),
        (Self::DriftLimit, "drift-check-off"),
        (Self::ClientDuplicates, "dedup-off"),
        (Self::DepartedStayOut, "departed-reopen"),
        (Self::RecoverFromScan, "recover-from-next-offset"),
        (Self::RecoverySkips, "recovery-ignores-skips"),
        (Self::RecoverySealed, "recovery-repeats-sealed"),
        (Self::SealByWatermark, "seal-by-wall-clock"),
        (Self::SegmentOrder, "unsorted-segment"),
        (Self::DataBeforeCommit, "commit-before-data"),
        (Self::CommitIfAbsent, "commit-overwrites"),
        (Self::AdoptOnlyEqual, "adopt-forked"),
        (Self::AckAfterDelivery, "ack-before-delivery"),
        (Self::AckUnderLease, "ack-after-lease"),
        (Self::LeaseFromSending, "lease-from-readback"),
        (Self::IntentEndsLease, "intent-ignored"),
        (Self::FailureEndsWriter, "failure-ignored"),
        (Self::AckWithinDrift, "ack-ahead-of-append"),
        (Self::FenceWaits, "fence-without-wait"),
        (Self::RaiseAboveWatermark, "no-raise"),
        (Self::StampAndQueue, "stamp-then-queue"),
        (Self::SourcesTravel, "source-forgotten"),
        (Self::TailLeaves, "tail-stays"),
        (Self::FinalThroughT, "final-above-t"),
        (Self::CompactsAll, "compaction-drops-rows"),
        (Self::SwapBeforeRemoval, "removal-before-swap"),
        (Self::CutByMin, "cut-by-max"),
        (Self::CutsAgree, "old-cut-accepted"),
        (Self::EarlierAsked, "earlier-not-asked"),
    ];

    /// The rule that `--break NAME` switches off.
    pub fn from_name(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(_, own)| *own == name);
        found.map(|(rule, _)| rule)
    }

    /// Its name for `--break`.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(rule, _)| *rule == self);
        found.map_or("", |(_, name)| name)
    }
}

/// Whether `rule` is switched off.
#[cfg(not(feature = "breaks"))]
#[inline]
pub const fn broken(_rule: Rule) -> bool {
    false
}

#[cfg(feature = "breaks")]
mod switch {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Whether `rule` is switched off in this thread.
    pub fn broken(rule: Rule) -> bool {
        BROKEN.get() == Some(rule)
    }

    /// Switches a rule off in this thread, or all on again.
    pub fn switch_off(rule: Option<Rule>) {
        BROKEN.set(rule);
    }
}

#[cfg(feature = "breaks")]
pub use switch::{broken, switch_off};
