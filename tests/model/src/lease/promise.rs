//! What a writer would acknowledge, if it looked now.
//!
//! An acknowledgement changes nothing but what the client knows, and what is in the log stays
//! there. So it is enough to ask in every state what could be acknowledged in it: a writer that
//! freezes between its look at the lease and the answer has already looked.

use super::{Break, LeaseModel, State};

impl LeaseModel {
    /// Data frames that writer `id` may acknowledge.
    pub(super) fn promised(&self, state: &State, id: u8) -> impl Iterator<Item = u8> {
        let sent = state.writers[usize::from(id)].sent;
        (1..sent).filter(move |pseq| self.promises(state, id, *pseq))
    }

    fn promises(&self, state: &State, id: u8, pseq: u8) -> bool {
        let writer = &state.writers[usize::from(id)];
        let landed = |pseq| state.partition.find(id, pseq);
        let drifts = |pseq| landed(pseq).is_some_and(|l| l.drifts);
        let leased = if self.breaks(Break::AckWithoutLease) {
            true
        } else if self.breaks(Break::LeaseLookedAtWhenSent) {
            writer.leased & 1 << pseq != 0
        } else {
            // who is never fenced renews in time
            state.local(id) < writer.lease_end || !self.bounds.fences[usize::from(id)]
        };
        !writer.ended
            && leased
            && (landed(pseq).is_some() || self.breaks(Break::AckBeforeDelivery))
            && ((1..pseq).all(|p| landed(p).is_some()) || self.breaks(Break::AckOutOfOrder))
            && (!(1..=pseq).any(drifts) || self.breaks(Break::AckWithoutAppendTime))
    }

    /// Nothing acknowledged lies behind a FENCE, was refused, or never landed.
    pub(super) fn keeps_its_promises(&self, state: &State) -> bool {
        [0, 1].into_iter().all(|id| {
            let mut promised = self.promised(state, id);
            promised.all(|pseq| state.partition.stores(id, pseq))
        })
    }
}
