//! Every step that anyone can take.

use super::partition::{Frame, Kind, Reading, STAMPS};
use super::writer::Ask;
use super::{Break, Fence, LEASE, LeaseModel, State};

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
    /// The writer learns of a loss, or of a stamp too far above its append time, and ends.
    Ends(u8),
    /// FENCE_INTENT is appended.
    Announce(u8),
    /// FENCE is appended.
    Fence(u8),
}

/// Broker and wall time at a tick, in stamps. Stamp 0 is below every time.
fn wall(now: u8) -> u8 {
    (now + 1) * STAMPS
}

/// The steps possible in `state`.
pub(super) fn possible(model: &LeaseModel, state: &State, steps: &mut Vec<Step>) {
    if state.now < model.bounds.ticks {
        steps.push(Step::Tick);
    }
    for id in [0, 1] {
        lives(state, id, steps);
        sends(model, state, id, steps);
        fences(model, state, id, steps);
    }
}

fn lives(state: &State, id: u8, steps: &mut Vec<Step>) {
    let writer = &state.writers[usize::from(id)];
    match writer.ask {
        Some(Ask::Flying { .. }) => steps.push(Step::AliveLands(id)),
        Some(Ask::Landed { .. }) if !writer.ended => steps.push(Step::ReadBack(id)),
        None if !writer.ended && writer.alives > 0 => steps.push(Step::AskAlive(id)),
        _ => {}
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
        if bounds.losses[at] && !writer.lost && opened {
            steps.push(Step::Lost(id));
        }
    }
    if writer.repeatable.is_some() {
        steps.push(Step::LandsAgain(id));
    }
    if !writer.ended && (writer.lost || finds_drift(state, id)) {
        steps.push(Step::Ends(id));
    }
}

fn finds_drift(state: &State, id: u8) -> bool {
    let mut frames = 1..state.writers[usize::from(id)].sent;
    frames.any(|pseq| state.partition.find(id, pseq).is_some_and(|l| l.drifts))
}

fn fences(model: &LeaseModel, state: &State, id: u8, steps: &mut Vec<Step>) {
    let at = usize::from(id);
    if !model.bounds.fences[at] || state.partition.fenced[at] {
        return;
    }
    // a gateway fences its own earlier writer at once
    let ended = state.writers[at].ended;
    match state.fences[at] {
        Fence::None => steps.push(Step::Announce(id)),
        Fence::Due => steps.push(Step::Fence(id)),
        Fence::Announced { .. } => {}
    }
    if ended && state.fences[at] != Fence::Due {
        steps.push(Step::Fence(id));
    }
}

/// How long a fence waits, local time of whoever fences.
fn patience(model: &LeaseModel) -> u8 {
    match model.broken {
        Some(Break::FenceWithoutWait) => 0,
        Some(Break::FenceAfterOneLease) => LEASE,
        _ => 2 * LEASE,
    }
}

/// Takes a step that is possible.
pub(super) fn take(model: &LeaseModel, state: &mut State, step: Step) {
    match step {
        Step::Tick => state.now += 1,
        Step::AskAlive(id) => {
            let sent = state.local(id);
            let writer = &mut state.writers[usize::from(id)];
            writer.alives -= 1;
            writer.ask = Some(Ask::Flying { sent });
        }
        Step::AliveLands(id) => alive_lands(state, id),
        Step::ReadBack(id) => read_back(model, state, id),
        Step::Send(id) => send(model, state, id),
        Step::Lands(id) => lands(model, state, id),
        Step::LandsAgain(id) => {
            if let Some(frame) = state.writers[usize::from(id)].repeatable.take() {
                append(model, state, id, frame);
            }
        }
        Step::Lost(id) => {
            let writer = &mut state.writers[usize::from(id)];
            writer.flying.remove(0);
            writer.lost = true;
        }
        Step::Ends(id) => state.writers[usize::from(id)].ended = true,
        Step::Announce(id) => {
            state.fences[usize::from(id)] = Fence::Announced { when: state.now };
        }
        Step::Fence(id) => append(model, state, id, Frame::fence()),
    }
    expire(model, state);
}

/// Forgets what no longer matters, so that states alike in all that may come are one.
fn expire(model: &LeaseModel, state: &mut State) {
    for id in [0, 1] {
        let local = state.local(id);
        let at = usize::from(id);
        if let Fence::Announced { when } = state.fences[at] {
            let waited = (state.now - when) * state.clocks.fencer_rate;
            if waited >= patience(model) {
                state.fences[at] = Fence::Due;
            }
        }
        let from_sent = !model.breaks(Break::LeaseFromReadBack);
        let writer = &mut state.writers[at];
        let too_old = writer.ask.is_some_and(|ask| ask.sent() + LEASE <= local);
        if writer.ended || too_old && from_sent {
            writer.ask = None;
        }
        if writer.ended || writer.lease_end <= local {
            writer.lease_end = 0;
        }
        if writer.ended {
            (writer.alives, writer.lost) = (0, false);
        }
    }
}

fn alive_lands(state: &mut State, id: u8) {
    let at = usize::from(id);
    let preceded = state.fences[at] != Fence::None;
    if let Some(Ask::Flying { sent }) = state.writers[at].ask {
        state.writers[at].ask = Some(Ask::Landed { sent, preceded });
    }
}

fn read_back(model: &LeaseModel, state: &mut State, id: u8) {
    let now = state.local(id);
    let writer = &mut state.writers[usize::from(id)];
    let Some(Ask::Landed { sent, preceded }) = writer.ask.take() else {
        return;
    };
    if preceded && !model.breaks(Break::RenewAfterIntent) {
        writer.ended = true;
        return;
    }
    let from = if model.breaks(Break::LeaseFromReadBack) {
        now
    } else {
        sent
    };
    writer.lease_end = from + LEASE;
}

fn send(model: &LeaseModel, state: &mut State, id: u8) {
    let ahead = if id == 0 { state.clocks.ahead } else { 0 };
    let leased = state.local(id) < state.writers[usize::from(id)].lease_end;
    let writer = &mut state.writers[usize::from(id)];
    writer.last = (writer.last + 1).max(wall(state.now) + ahead);
    let pseq = writer.sent;
    if leased && model.breaks(Break::LeaseLookedAtWhenSent) {
        writer.leased |= 1 << pseq;
    }
    writer.sent += 1;
    writer.flying.push(Frame {
        kind: Kind::Data,
        pseq,
        hlc: writer.last,
    });
}

fn lands(model: &LeaseModel, state: &mut State, id: u8) {
    let at = usize::from(id);
    let frame = state.writers[at].flying.remove(0);
    append(model, state, id, frame);
    let writer = &mut state.writers[at];
    if model.bounds.repeats[at] {
        writer.repeatable = Some(frame);
    }
    if frame.kind == Kind::Open && !model.breaks(Break::StampBelowWatermark) {
        writer.last = writer.last.max(state.partition.watermark);
    }
}

fn append(model: &LeaseModel, state: &mut State, id: u8, frame: Frame) {
    let reading = Reading {
        by_max: model.breaks(Break::WatermarkByMax),
        fence_is_advice: model.breaks(Break::AcceptAfterFence),
        anonymous: model.breaks(Break::ForgetSources),
    };
    state.partition.append(id, frame, wall(state.now), reading);
}
