//! Every step that a worker or the store can take.

use super::worker::{Phase, Tip, Worker};
use super::{Break, ChainModel, Commit, Put, State};

/// A step; `usize` is the worker's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A worker lists the chain and sees this many commits; a listing may lag.
    List(usize, u8),
    /// A worker looks whether there is a commit after its tip.
    Walk(usize),
    /// A worker seals its rows and puts the segment, as often as it takes.
    Upload(usize),
    /// A worker puts the commit.
    PutCommit(usize),
    /// The store carries out a put.
    Lands(Put),
    /// A worker is told that its put succeeded.
    Succeeds(usize),
    /// A worker gets an error: before or after the effect, or because there is a commit.
    Fails(usize),
    /// A worker in doubt reads the chain.
    Look(usize),
    /// A worker gives up on the store and starts again.
    Restart(usize),
    /// A worker's process dies and another takes its place.
    Crash(usize),
}

/// The steps possible in `state`.
pub(super) fn possible(model: &ChainModel, state: &State, steps: &mut Vec<Step>) {
    steps.extend(state.flying.iter().copied().map(Step::Lands));
    for (id, worker) in state.workers.iter().enumerate() {
        works(model, state, (id, worker), steps);
        if worker.phase != Phase::Starting && worker.crashes < model.bounds.crashes {
            steps.push(Step::Crash(id));
        }
    }
}

fn works(model: &ChainModel, state: &State, (id, worker): (usize, &Worker), steps: &mut Vec<Step>) {
    match worker.phase {
        Phase::Starting => {
            let there = state.chain.iter().take_while(|c| c.is_some());
            steps.extend((0u8..).zip(there).map(|(seq, _)| Step::List(id, seq + 1)));
            steps.push(Step::List(id, 0));
        }
        Phase::Walking => steps.push(Step::Walk(id)),
        Phase::Working if worker.tip.seq < model.bounds.commits => {
            steps.push(Step::Upload(id));
            if model.breaks(Break::CommitBeforeData) {
                steps.push(Step::PutCommit(id));
            }
        }
        Phase::Uploaded => steps.push(Step::PutCommit(id)),
        Phase::Putting { commit, .. } => {
            if was_carried_out(model, state, worker.tip.seq, commit) {
                steps.push(Step::Succeeds(id));
            }
            steps.push(Step::Fails(id));
        }
        Phase::Doubting { .. } => steps.extend([Step::Look(id), Step::Restart(id)]),
        Phase::Working | Phase::Halted => {}
    }
}

fn was_carried_out(model: &ChainModel, state: &State, seq: u8, commit: Commit) -> bool {
    let landed = !state.flying.contains(&Put { seq, commit });
    landed && (model.breaks(Break::Overwrite) || state.commit(seq) == Some(commit))
}

/// Takes a step that is possible.
pub(super) fn take(model: &ChainModel, state: &mut State, step: Step) {
    match step {
        Step::List(id, count) => {
            let tip = Tip::read(state, count);
            state.workers[id].tip = tip;
            state.workers[id].phase = Phase::Walking;
        }
        Step::Walk(id) => walk(model, state, id),
        Step::Upload(id) => upload(model, state, id),
        Step::PutCommit(id) => put_commit(model, state, id),
        Step::Lands(put) => lands(model, state, put),
        Step::Succeeds(id) => {
            if let Phase::Putting { commit, .. } = state.workers[id].phase {
                state.workers[id].go_on(&commit);
            }
        }
        Step::Fails(id) => fails(model, &mut state.workers[id]),
        Step::Look(id) => look(model, state, id),
        Step::Restart(id) => state.workers[id].recover(),
        Step::Crash(id) => state.workers[id].crash(),
    }
}

fn walk(model: &ChainModel, state: &mut State, id: usize) {
    let tip = state.workers[id].tip;
    let next = state.commit(tip.seq);
    let worker = &mut state.workers[id];
    match next {
        Some(commit) => worker.tip = tip.after(&commit),
        None => {
            worker.phase = Phase::Working;
            // the first commit has nothing before it to leave unread
            let rescanned = !model.breaks(Break::RecoverFromNextOffset) || tip.seq == 0;
            worker.holds_open_row = rescanned;
        }
    }
}

/// The rows that the log seals after `tip`, as this worker has them.
fn plan(model: &ChainModel, id: usize, worker: &Worker) -> u8 {
    let width = if model.breaks(Break::CutByPoll) && id == 1 {
        2
    } else {
        1
    };
    let rows: u8 = ((1 << width) - 1) << worker.tip.sealed;
    if worker.holds_open_row {
        rows
    } else {
        rows & !(1 << worker.tip.sealed)
    }
}

fn upload(model: &ChainModel, state: &mut State, id: usize) {
    let rows = plan(model, id, &state.workers[id]);
    state.segments.insert(rows);
    state.workers[id].phase = Phase::Uploaded;
}

fn put_commit(model: &ChainModel, state: &mut State, id: usize) {
    let rows = plan(model, id, &state.workers[id]);
    let worker = &mut state.workers[id];
    let commit = Commit {
        nonce: worker.nonce,
        prev: worker.tip.hash,
        rows,
        sealed: worker.tip.sealed + u8::try_from(rows.count_ones().max(1)).unwrap_or(1),
    };
    worker.phase = Phase::Putting { commit, puts: 1 };
    let seq = worker.tip.seq;
    send(model, state, Put { seq, commit });
}

/// Sends a put on its way. One that will find its place taken is as good as answered.
fn send(model: &ChainModel, state: &mut State, put: Put) {
    if state.commit(put.seq).is_none() || model.breaks(Break::Overwrite) {
        state.flying.insert(put);
    }
}

fn lands(model: &ChainModel, state: &mut State, put: Put) {
    state.flying.remove(&put);
    let at = usize::from(put.seq);
    let (Some(object), Some(first)) = (state.chain.get_mut(at), state.first.get_mut(at)) else {
        return;
    };
    *object = Some(put.commit);
    first.get_or_insert(put.commit);
    if !model.breaks(Break::Overwrite) {
        // the others find the place taken
        state.flying.retain(|other| other.seq != put.seq);
    }
}

fn fails(model: &ChainModel, worker: &mut Worker) {
    let Phase::Putting { commit, puts } = worker.phase else {
        return;
    };
    worker.phase = Phase::Doubting { commit, puts };
    if model.breaks(Break::ErrorMeansMine) {
        worker.go_on(&commit);
    }
    if model.breaks(Break::ErrorMeansNothing) {
        worker.tip.seq += 1;
        worker.phase = Phase::Working;
    }
}

fn look(model: &ChainModel, state: &mut State, id: usize) {
    let Phase::Doubting { commit, puts } = state.workers[id].phase else {
        return;
    };
    let seq = state.workers[id].tip.seq;
    let found = state.commit(seq);
    let worker = &mut state.workers[id];
    match found {
        Some(found) if found == commit => worker.go_on(&found),
        Some(found) if found.is_adopted_for(&commit) => worker.go_on(&found),
        Some(_) => worker.phase = Phase::Halted,
        None if puts < model.bounds.puts => {
            let puts = puts + 1;
            worker.phase = Phase::Putting { commit, puts };
            send(model, state, Put { seq, commit });
        }
        None => worker.recover(),
    }
}
