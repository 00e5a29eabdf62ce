//! What may happen, and which rule does not hold.

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Number of workers.
    pub workers: u8,
    /// Number of commits.
    pub commits: u8,
    /// Crashes of each worker, after each of which it has a new nonce.
    pub crashes: u8,
    /// Puts of one commit before a worker gives up and recovers.
    pub puts: u8,
}

impl Bounds {
    /// Two workers that may each crash twice, a chain of three.
    pub fn two_workers() -> Self {
        Self {
            workers: 2,
            commits: 3,
            crashes: 2,
            puts: 2,
        }
    }

    /// Three workers, a chain of three.
    pub fn three_workers() -> Self {
        Self {
            workers: 3,
            commits: 3,
            crashes: 0,
            puts: 2,
        }
    }
}

/// Rules of the protocol that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The commit is put whether or not there is one.
    Overwrite,
    /// The commit is put before its segment is known to be there.
    CommitBeforeData,
    /// Any error of a put is taken for "my commit is there".
    ErrorMeansMine,
    /// Any error of a put is taken for "nothing happened": the rows get the next number.
    ErrorMeansNothing,
    /// Recovery reads on from `next_offset`, not from `scan_from`.
    RecoverFromNextOffset,
    /// One worker cuts segments as it polls, not as the log says.
    CutByPoll,
}
