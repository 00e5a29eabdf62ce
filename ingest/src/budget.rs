//! Bytes in flight: what bounds a gateway's memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::IngestError;

/// All that a gateway may hold, bytes.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    limit_bytes: usize,
}

/// A request's share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    held: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(limit_bytes)),
            limit_bytes,
        }
    }

    /// A share of `bytes`; fails at once if that is more than is free.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Reservation, IngestError> {
        Ok(Reservation {
            held: self.take(bytes)?,
            budget: self.clone(),
        })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, IngestError> {
        let full = IngestError::Overloaded {
            limit_bytes: self.limit_bytes,
        };
        let Ok(bytes) = u32::try_from(bytes) else {
            return Err(full);
        };
        Arc::clone(&self.free)
            .try_acquire_many_owned(bytes)
            .map_err(|_| full)
    }
}

impl Reservation {
    /// Grows or shrinks to `bytes`; fails at once, unchanged, if more is needed than is free.
    pub fn resize(&mut self, bytes: usize) -> Result<(), IngestError> {
        let held = self.held.num_permits();
        if bytes > held {
            self.held.merge(self.budget.take(bytes - held)?);
        } else {
            drop(self.held.split(held - bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_shrink_and_come_back() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(60).unwrap();
        assert!(matches!(
            budget.reserve(41),
            Err(IngestError::Overloaded { limit_bytes: 100 })
        ));
        assert!(first.resize(101).is_err());
        first.resize(10).unwrap();
        let second = budget.reserve(90).unwrap();
        assert!(first.resize(11).is_err());
        drop(second);
        first.resize(100).unwrap();
        drop(first);
        assert_eq!(budget.free.available_permits(), 100);
    }
}
