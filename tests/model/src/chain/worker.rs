//! A worker: what it believes of the chain, and what it is about.

use super::{Commit, State};

/// Nonces that one worker may use.
const NONCES: u8 = 4;

/// The end of the chain as a worker believes it to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tip {
    /// Number of the next commit.
    pub seq: u8,
    /// Digest of the newest commit.
    pub hash: u16,
    /// Rows sealed.
    pub sealed: u8,
}

impl Tip {
    /// The tip after `commit` stands at this one.
    pub fn after(self, commit: &Commit) -> Self {
        Self {
            seq: self.seq + 1,
            hash: commit.hash(),
            sealed: commit.sealed,
        }
    }

    /// The tip before commit `seq`, read from the store.
    pub fn read(state: &State, seq: u8) -> Self {
        let before = seq.checked_sub(1).and_then(|seq| state.commit(seq));
        before.map_or_else(Self::default, |commit| Self {
            seq,
            hash: commit.hash(),
            sealed: commit.sealed,
        })
    }
}

/// What a worker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It knows nothing yet.
    Starting,
    /// It looks for commits after the newest that a listing showed.
    Walking,
    /// It holds the rows of the next segment.
    Working,
    /// The segment is in the store.
    Uploaded,
    /// It has put the commit.
    Putting {
        /// The commit.
        commit: Commit,
        /// How often.
        puts: u8,
    },
    /// It does not know whether its commit is there.
    Doubting {
        /// The commit.
        commit: Commit,
        /// How often it was put.
        puts: u8,
    },
    /// Two workers made different commits of one log: it waits for an operator.
    Halted,
}

/// One worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Nonce of this life.
    pub nonce: u8,
    /// Crashes so far.
    pub crashes: u8,
    /// What it is about.
    pub phase: Phase,
    /// Where it believes the chain to end.
    pub tip: Tip,
    /// Whether it holds the first unsealed row; it is older than `next_offset` of the tip.
    pub holds_open_row: bool,
}

impl Worker {
    /// A worker in its first life.
    pub fn starting(id: u8) -> Self {
        Self {
            nonce: id * NONCES,
            crashes: 0,
            phase: Phase::Starting,
            tip: Tip::default(),
            holds_open_row: false,
        }
    }

    /// Which worker used a nonce.
    pub fn of(nonce: u8) -> u8 {
        nonce / NONCES
    }

    /// Loses everything but its place in the world.
    pub fn crash(&mut self) {
        self.nonce += 1;
        self.crashes += 1;
        self.recover();
    }

    /// Starts again from the chain, in the same process.
    pub fn recover(&mut self) {
        self.phase = Phase::Starting;
        self.tip = Tip::default();
        self.holds_open_row = false;
    }

    /// Goes on after `commit`.
    pub fn go_on(&mut self, commit: &Commit) {
        self.tip = self.tip.after(commit);
        self.phase = Phase::Working;
        // it has read the next open row on the way
        self.holds_open_row = true;
    }
}
