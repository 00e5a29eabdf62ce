//! A value that one side changes and others wait for, like `tokio::sync::watch`, with one
//! difference: waiters wake in the order in which they began to wait. Tokio's wake in an order
//! drawn at random, which no seed controls, and so could not be simulated.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use thiserror::Error;
use tokio::sync::Notify;

/// Every sender is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("nobody changes the value any more")]
pub struct Closed;

#[derive(Debug, Default)]
struct Shared<T> {
    value: RwLock<T>,
    /// Counts changes; written under the lock of `value`.
    version: AtomicU64,
    changed: Notify,
    vacated: Notify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changing side.
pub struct Sender<T>(Arc<Shared<T>>);

/// The waiting side.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// A value and both its sides.
pub fn channel<T: Send + Sync>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T: Send + Sync> Sender<T> {
    /// A value without receivers.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            value: RwLock::new(value),
            version: AtomicU64::new(0),
            changed: Notify::new(),
            vacated: Notify::new(),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
        }))
    }

    /// The value now.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.0.read()
    }

    /// A receiver that has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, Ordering::AcqRel);
        Receiver {
            shared: Arc::clone(&self.0),
            seen: self.0.version.load(Ordering::Acquire),
        }
    }

    /// Changes the value in place and wakes everyone.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        {
            let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut value);
            self.0.version.fetch_add(1, Ordering::AcqRel);
        }
        self.0.changed.notify_waiters();
    }

    /// Replaces the value and wakes everyone.
    pub fn send_replace(&self, value: T) {
        self.send_modify(|old| *old = value);
    }

    /// Resolves when there is no receiver.
    pub async fn closed(&self) {
        loop {
            let vacated = self.0.vacated.notified();
            if self.0.receivers.load(Ordering::Acquire) == 0 {
                return;
            }
            vacated.await;
        }
    }
}

impl<T: Default + Send + Sync> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T: Send + Sync> Receiver<T> {
    /// The value now; [`Receiver::changed`] still tells of it.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    /// The value now, seen.
    pub fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.version.load(Ordering::Acquire);
        value
    }

    /// Waits for a value not seen yet, and counts it as seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let changed = self.shared.changed.notified();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Err(Closed);
            }
            changed.await;
        }
    }

    /// Waits until the value is as `wanted`.
    pub async fn wait_for(
        &mut self,
        mut wanted: impl FnMut(&T) -> bool + Send,
    ) -> Result<RwLockReadGuard<'_, T>, Closed> {
        loop {
            let changed = self.shared.changed.notified();
            let closed = self.shared.senders.load(Ordering::Acquire) == 0;
            {
                let value = self.shared.read();
                self.seen = self.shared.version.load(Ordering::Acquire);
                if wanted(&value) {
                    return Ok(value);
                }
            }
            if closed {
                return Err(Closed);
            }
            changed.await;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::AcqRel);
        Self {
            shared: Arc::clone(&self.shared),
            seen: self.seen,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.shared.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.vacated.notify_waiters();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.0.value).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.shared.value).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn waiters_wake_in_the_order_in_which_they_wait() {
        let (sender, receiver) = channel(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..20)
            .map(|i| {
                let (mut receiver, order) = (receiver.clone(), Arc::clone(&order));
                tokio::spawn(async move {
                    receiver.changed().await.unwrap();
                    order.lock().unwrap().push(i);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        sender.send_replace(1);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn changes_are_seen_once_and_ends_are_told() {
        let (sender, mut receiver) = channel(1);
        sender.send_replace(2);
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow_and_update(), 2);
        assert_eq!(*receiver.wait_for(|v| *v == 2).await.unwrap(), 2);
        let other = sender.clone();
        drop(sender);
        other.send_modify(|value| *value += 1);
        drop(other);
        receiver.changed().await.unwrap();
        assert_eq!(receiver.changed().await, Err(Closed));
        assert!(receiver.wait_for(|v| *v == 9).await.is_err());
        let (sender, receiver) = channel(());
        drop(receiver);
        sender.closed().await;
    }
}
