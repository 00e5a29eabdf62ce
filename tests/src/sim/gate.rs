//! What a process must pass to touch the world: shut for a while when it is frozen, for ever when
//! it is dead. Production tasks of a dead process hang at their next call and never come back.

use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Running,
    Frozen,
    Dead,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Calls until the process dies.
    fuse: Option<u64>,
    /// Until when it hears nothing of the control topic.
    deaf_until: Option<Instant>,
}

/// The gate of one process.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let state = State {
            mode: Mode::Running,
            fuse: None,
            deaf_until: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, mode: Mode) {
        {
            let mut state = self.state();
            if state.mode == Mode::Dead {
                return;
            }
            state.mode = mode;
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn kill(&self) {
        self.set(Mode::Dead);
    }

    pub(crate) fn freeze(&self) {
        self.set(Mode::Frozen);
    }

    pub(crate) fn thaw(&self) {
        self.set(Mode::Running);
        let mut state = self.state();
        (state.fuse, state.deaf_until) = (None, None);
    }

    /// The process dies at its `calls`-th call from now.
    pub(crate) fn light(&self, calls: u64) {
        self.state().fuse = Some(calls);
    }

    /// The process hears nothing of the control topic for a while.
    pub(crate) fn deafen(&self, duration: Duration) {
        self.state().deaf_until = Some(Instant::now() + duration);
    }

    /// Waits while deaf, and tells whether it was.
    pub(crate) async fn hear(&self) -> bool {
        let until = self.state().deaf_until.take();
        if let Some(until) = until {
            sleep_until(until).await;
        }
        until.is_some()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().mode == Mode::Dead
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state().mode == Mode::Running
    }

    /// Waits while frozen, for ever once dead.
    pub(crate) async fn pass(&self) {
        loop {
            let changed = self.changed.notified();
            let mode = self.burn();
            match mode {
                Mode::Running => return,
                Mode::Frozen => changed.await,
                Mode::Dead => pending().await,
            }
        }
    }

    fn burn(&self) -> Mode {
        let mut state = self.state();
        if state.mode == Mode::Running
            && let Some(left) = state.fuse
        {
            state.fuse = left.checked_sub(1);
            if state.fuse.is_none() {
                state.mode = Mode::Dead;
                drop(state);
                self.changed.notify_waiters();
                return Mode::Dead;
            }
        }
        state.mode
    }

    /// Resolves when the process is dead.
    pub(crate) async fn dead(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_dead() {
                return;
            }
            changed.await;
        }
    }
}
