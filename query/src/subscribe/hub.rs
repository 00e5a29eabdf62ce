//! One reader of the live edge for all who follow a stream in the same mode.
//!
//! The reader puts what it reads into a ring and never waits for anybody. A subscriber that stands
//! within the ring has a seat: it takes from the ring at its own pace. One that falls out of it
//! reads windows of its own until it is within it again. Its place means the same either way, so
//! nothing is lost or repeated at a crossing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::StreamName;
use tourbillon_log::watch;

use super::place::Place;
use super::ring::{Next, Ring};
use super::work::{Work, WorkDone};

/// Rows of the live edge that a node keeps, bytes. Tests need not be large to see it.
const RING_BYTES: usize = if cfg!(test) { 1 << 18 } else { 64 << 20 };

/// What was made of them for subscribers that look alike: filtered rows, JSON, Arrow; bytes.
const SHARED_BYTES: usize = if cfg!(test) { 1 << 18 } else { 64 << 20 };

/// How long rows are kept.
const RING_AGE: Duration = Duration::from_secs(60);

/// Most stretches of a ring: each costs some hundred bytes beside its rows.
const RING_STRETCHES: usize = 32_768;

/// The reader, its ring and its subscribers. Ends when nobody has a seat.
#[derive(Debug)]
pub(super) struct Hub {
    ring: Mutex<Ring>,
    /// Rung when there is something new.
    bell: watch::Sender<()>,
    seats: AtomicU32,
    _reader: DropGuard,
}

impl Hub {
    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ring_bell(&self) {
        self.bell.send_replace(());
    }

    /// How many follow it.
    pub(super) fn seats(&self) -> u32 {
        self.seats.load(Ordering::Relaxed)
    }
}

/// A subscriber's seat at the live edge.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    pub(super) bell: watch::Receiver<()>,
    /// Number of the stretch that it has not looked at.
    at: u64,
}

impl Seat {
    fn new(hub: Arc<Hub>) -> Self {
        let bell = hub.bell.subscribe();
        hub.seats.fetch_add(1, Ordering::Relaxed);
        Self { hub, bell, at: 0 }
    }

    /// What comes after `place`.
    pub(super) fn next(&mut self, place: &Place) -> Next {
        self.hub.ring().next(&mut self.at, place)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.seats.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream, and whether it is followed eagerly.
pub(super) type HubName = (StreamName, bool);

/// All hubs of a node.
#[derive(Debug, Default)]
pub(crate) struct Hubs {
    hubs: Mutex<BTreeMap<HubName, Weak<Hub>>>,
    pub(super) work: Arc<Work>,
}

/// A hub without a reader yet.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) hub: Weak<Hub>,
    /// Cancelled when nobody has a seat.
    pub(super) deserted: CancellationToken,
}

impl Hubs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<HubName, Weak<Hub>>> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat, if there is a ring that has all that comes after `place`.
    pub(super) fn seat(&self, name: &HubName, place: &Place) -> Option<Seat> {
        let hub = self.lock().get(name).and_then(Weak::upgrade)?;
        let covers = hub.ring().covers(place);
        covers.then(|| Seat::new(hub))
    }

    /// The first seat of a new hub whose reader goes on from `from`, unless there is one that works.
    pub(super) fn begin(
        &self,
        name: &HubName,
        from: Place,
        complete: Hlc,
    ) -> Option<(Seat, Begun)> {
        let mut hubs = self.lock();
        let works = |hub: Arc<Hub>| !hub.ring().is_closed();
        if hubs.get(name).and_then(Weak::upgrade).is_some_and(works) {
            return None;
        }
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let deserted = CancellationToken::new();
        let hub = Arc::new(Hub {
            ring: Mutex::new(Ring::new(from, complete)),
            bell: watch::Sender::new(()),
            seats: AtomicU32::new(0),
            _reader: deserted.clone().drop_guard(),
        });
        hubs.insert(name.clone(), Arc::downgrade(&hub));
        let begun = Begun {
            hub: Arc::downgrade(&hub),
            deserted,
        };
        Some((Seat::new(hub), begun))
    }

    /// Lets go of the oldest rows, until all hubs together keep no more than they may.
    pub(super) fn trim(&self) {
        let hubs: Vec<Arc<Hub>> = self.lock().values().filter_map(Weak::upgrade).collect();
        for hub in &hubs {
            let mut ring = hub.ring();
            while ring.len() > RING_STRETCHES
                || ring.oldest().is_some_and(|made| made.elapsed() > RING_AGE)
            {
                ring.pop();
            }
        }
        let bytes = || hubs.iter().map(|hub| hub.ring().bytes()).sum::<usize>();
        while bytes() > RING_BYTES
            && let Some(hub) = oldest(&hubs, Ring::oldest)
        {
            hub.ring().pop();
        }
        while self.work.kept_bytes() > SHARED_BYTES
            && let Some(hub) = oldest(&hubs, Ring::oldest_cuts)
        {
            hub.ring().forget_cuts();
        }
    }

    /// Work done for subscriptions so far.
    pub(crate) fn done(&self) -> WorkDone {
        self.work.done()
    }
}

fn oldest(hubs: &[Arc<Hub>], age: impl Fn(&Ring) -> Option<Instant>) -> Option<&Arc<Hub>> {
    let dated = hubs.iter().filter_map(|hub| Some((age(&hub.ring())?, hub)));
    dated.min_by_key(|(made, _)| *made).map(|(_, hub)| hub)
}
