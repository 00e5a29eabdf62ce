//! What happened, as a digest that two runs of a seed must share, and as text on request.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use tourbillon_core::digest::Digest;

struct State {
    hasher: blake3::Hasher,
    lines: Vec<String>,
}

/// The events of a run.
pub(crate) struct Trace {
    start: Instant,
    verbose: bool,
    state: Mutex<State>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

impl Trace {
    pub(crate) fn new(start: Instant, verbose: bool) -> Self {
        let state = State {
            hasher: blake3::Hasher::new(),
            lines: Vec::new(),
        };
        Self {
            start,
            verbose,
            state: Mutex::new(state),
        }
    }

    /// Something happened.
    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        let micros = self.start.elapsed().as_micros();
        let line = format!("{micros:>11} us  {event}");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.hasher.update(line.as_bytes());
        if self.verbose {
            state.lines.push(line);
        }
    }

    /// Digest of everything so far, and the text if it was kept.
    pub(crate) fn finish(&self) -> (Digest, Vec<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = Digest(*state.hasher.finalize().as_bytes());
        (digest, std::mem::take(&mut state.lines))
    }
}
