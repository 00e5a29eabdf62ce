//! Every step that anyone can take.

use super::partition::{Frame, Kind, MAX_DRIFT, Reading, STAMPS};
use super::writer::Ask;
use super::{Break, LEASE, LeaseModel, State, WRITERS, Word};

/// A step; the number is the writer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time passes.
    Tick,
    /// ALIVE is sent.
    AskAlive(u8),
    /// ALIVE lands in the control topic.
    AliveLands(u8),
    /// ALIVE is read back.
    ReadBack(u8),
    /// A data frame is stamped and sent.
    Send(u8),
    /// The oldest frame in flight lands.
    Lands(u8),
    /// The newest landed frame lands again.
    LandsAgain(u8),
    /// The oldest frame in flight is lost.
    Lost(u8),
    /// The writer learns of the loss and ends.
    LearnsOfLoss(u8),
    /// A data frame is acknowledged: writer, number.
    Acknowledge(u8, u8),
    /// The writer finds a stamp too far above its append time and ends: writer, number.
    FindsDrift(u8, u8),
    /// FENCE_INTENT is appended.
    Announce(u8),
    /// FENCE is appended.
    Fence(u8),
}

/// Broker and wall time at a tick, in stamps. Stamp 0 is below every time.
fn wall(now: u8) -> u8 {
    (now + 1) * STAMPS
}

fn local(state: &State, writer: u8) -> u8 {
    state.now * state.clocks.rate(writer)
}

/// The steps possible in `state`.
pub(super) fn possible(model: &LeaseModel, state: &State, steps: &mut Vec<Step>) {
    if state.now < model.bounds.ticks {
        steps.push(Step::Tick);
    }
    for id in 0u8..2 {
        lives(model, state, id, steps);
        sends(model, state, id, steps);
        acknowledges(model, state, id, steps);
        fences(model, state, id, steps);
    }
}

fn lives(model: &LeaseModel, state: &State, id: u8, steps: &mut Vec<Step>) {
    let writer = &state.writers[usize::from(id)];
    match writer.ask {
        Some(ask) if !ask.landed => steps.push(Step::AliveLands(id)),
        Some(_) if !writer.ended => steps.push(Step::ReadBack(id)),
        Some(_) => {}
        None => {
            if !writer.ended && writer.alives < model.bounds.alives[usize::from(id)] {
                steps.push(Step::AskAlive(id));
            }
        }
    }
}

fn sends(model: &LeaseModel, state: &State, id: u8, steps: &mut Vec<Step>) {
    let (at, bounds) = (usize::from(id), &model.bounds);
    let writer = &state.writers[at];
    let opened = state.partition.find(id, 0).is_some();
    if !writer.ended && opened && writer.sent < bounds.frames[at] {
        steps.push(Step::Send(id));
    }
    if !writer.flying.is_empty() {
        steps.push(Step::Lands(id));
        if bounds.losses[at] && !writer.lost {
            steps.push(Step::Lost(id));
        }
    }
    if bounds.repeats[at] && opened && !writer.repeated {
        steps.push(Step::LandsAgain(id));
    }
    if writer.lost && !writer.ended {
        steps.push(Step::LearnsOfLoss(id));
    }
}

fn acknowledges(model: &LeaseModel, state: &State, id: u8, steps: &mut Vec<Step>) {
    let writer = &state.writers[usize::from(id)];
    if writer.ended {
        return;
    }
    for pseq in (1..writer.sent).filter(|pseq| !writer.acked.contains(*pseq)) {
        let landed = state.partition.find(id, pseq);
        let drifts = landed.is_some_and(|e| e.frame.hlc > e.appended + MAX_DRIFT);
        if drifts && !model.breaks(Break::AckWithoutAppendTime) {
            steps.push(Step::FindsDrift(id, pseq));
        } else if may_acknowledge(model, state, id, pseq) {
            steps.push(Step::Acknowledge(id, pseq));
        }
    }
}

fn may_acknowledge(model: &LeaseModel, state: &State, id: u8, pseq: u8) -> bool {
    let writer = &state.writers[usize::from(id)];
    let landed = |pseq| state.partition.find(id, pseq).is_some();
    let delivered = landed(pseq) || model.breaks(Break::AckBeforeDelivery);
    let in_order = (1..pseq).all(landed) || model.breaks(Break::AckOutOfOrder);
    let leased = if model.breaks(Break::AckWithoutLease) {
        true
    } else if model.breaks(Break::LeaseLookedAtWhenSent) {
        writer.leased.contains(pseq)
    } else {
        local(state, id) < writer.lease_end
    };
    delivered && in_order && leased
}

fn fences(model: &LeaseModel, state: &State, id: u8, steps: &mut Vec<Step>) {
    let at = usize::from(id);
    if !model.bounds.fences[at] || state.fenced[at] {
        return;
    }
    let wait = match model.broken {
        Some(Break::FenceWithoutWait) => 0,
        Some(Break::FenceAfterOneLease) => LEASE,
        _ => 2 * LEASE,
    };
    match state.announced[at] {
        None => steps.push(Step::Announce(id)),
        Some(when) if (state.now - when) * state.clocks.fencer_rate >= wait => {
            steps.push(Step::Fence(id));
        }
        Some(_) => {}
    }
    // a gateway fences its own earlier writer at once
    let waited = steps.last() == Some(&Step::Fence(id));
    if state.writers[at].ended && !waited {
        steps.push(Step::Fence(id));
    }
}

/// Takes a step that is possible.
pub(super) fn take(model: &LeaseModel, state: &mut State, step: Step) {
    match step {
        Step::Tick => state.now += 1,
        Step::AskAlive(id) => ask_alive(state, id),
        Step::AliveLands(id) => alive_lands(state, id),
        Step::ReadBack(id) => read_back(model, state, id),
        Step::Send(id) => send(model, state, id),
        Step::Lands(id) => {
            let frame = state.writers[usize::from(id)].flying.remove(0);
            append(model, state, id, frame);
        }
        Step::LandsAgain(id) => lands_again(model, state, id),
        Step::Lost(id) => {
            let writer = &mut state.writers[usize::from(id)];
            writer.flying.remove(0);
            writer.lost = true;
        }
        Step::LearnsOfLoss(id) | Step::FindsDrift(id, _) => {
            state.writers[usize::from(id)].ended = true;
        }
        Step::Acknowledge(id, pseq) => state.writers[usize::from(id)].acked.insert(pseq),
        Step::Announce(id) => {
            state.control.push(Word::Intent { writer: id });
            state.announced[usize::from(id)] = Some(state.now);
        }
        Step::Fence(id) => {
            append(model, state, id, Frame::fence());
            state.fenced[usize::from(id)] = true;
        }
    }
}

fn ask_alive(state: &mut State, id: u8) {
    let sent = local(state, id);
    let writer = &mut state.writers[usize::from(id)];
    let number = writer.alives;
    writer.alives += 1;
    writer.ask = Some(Ask {
        number,
        sent,
        landed: false,
    });
}

fn alive_lands(state: &mut State, id: u8) {
    if let Some(ask) = &mut state.writers[usize::from(id)].ask {
        ask.landed = true;
        let (writer, number) = (id, ask.number);
        state.control.push(Word::Alive { writer, number });
    }
}

fn read_back(model: &LeaseModel, state: &mut State, id: u8) {
    let now = local(state, id);
    let writer = &mut state.writers[usize::from(id)];
    let Some(ask) = writer.ask.take() else { return };
    let place = |wanted: Word| state.control.iter().position(|word| *word == wanted);
    let alive = place(Word::Alive {
        writer: id,
        number: ask.number,
    });
    let preceded = place(Word::Intent { writer: id }).is_some_and(|intent| Some(intent) < alive);
    if preceded && !model.breaks(Break::RenewAfterIntent) {
        writer.ended = true;
        return;
    }
    let from = if model.breaks(Break::LeaseFromReadBack) {
        now
    } else {
        ask.sent
    };
    writer.lease_end = from + LEASE;
}

fn send(model: &LeaseModel, state: &mut State, id: u8) {
    let at = usize::from(id);
    let ahead = if id == 0 { state.clocks.ahead } else { 0 };
    let leased = local(state, id) < state.writers[at].lease_end;
    let opened = state.partition.find(id, 0).map_or(0, |e| e.watermark.1);
    let writer = &mut state.writers[at];
    if !model.breaks(Break::StampBelowWatermark) {
        writer.last = writer.last.max(opened);
    }
    writer.last = (writer.last + 1).max(wall(state.now) + ahead);
    let pseq = writer.sent;
    if leased && model.breaks(Break::LeaseLookedAtWhenSent) {
        writer.leased.insert(pseq);
    }
    writer.sent += 1;
    writer.flying.push(Frame {
        kind: Kind::Data,
        pseq,
        hlc: writer.last,
    });
}

fn lands_again(model: &LeaseModel, state: &mut State, id: u8) {
    let mut entries = state.partition.entries.iter().rev();
    let newest = entries.find(|e| e.writer == id && e.frame.kind != Kind::Fence);
    let Some(frame) = newest.map(|e| e.frame) else {
        return;
    };
    state.writers[usize::from(id)].repeated = true;
    append(model, state, id, frame);
}

fn append(model: &LeaseModel, state: &mut State, id: u8, frame: Frame) {
    debug_assert!(usize::from(id) < WRITERS, "writers are numbered from 0");
    let reading = Reading {
        by_max: model.breaks(Break::WatermarkByMax),
        fence_is_advice: model.breaks(Break::AcceptAfterFence),
        anonymous: model.breaks(Break::ForgetSources),
    };
    state.partition.append(id, frame, wall(state.now), reading);
}
