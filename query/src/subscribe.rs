//! Subscriptions: history and then live, through one cursor.
//!
//! An ordered subscription is a sequence of final windows, each from where the last one ended; an
//! eager one is a sequence of what each partition has gained. Both are what a window over files and
//! tails gives, so there is no hand-over that could lose or repeat a row: the cursor alone says
//! where a subscriber stands. At the live edge those windows are the same for all, and a hub reads
//! them once; who is further behind reads its own. A task reads ahead of the client as far as a
//! short queue allows. A client that does not read for [`STALL`] is told where to go on and ended.

mod answer;
mod eager;
mod hub;
mod ordered;
mod pace;
mod params;
mod place;
mod reader;
mod ring;
mod source;
mod stretch;
mod work;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::PartitionId;
use tourbillon_log::watch;

pub(crate) use answer::{__path_answer, answer};
pub(crate) use hub::Hubs;
pub use params::{Begin, SubscribeParams};
pub use place::{Gained, Place};
pub use work::WorkDone;

use crate::error::QueryError;
use crate::service::QueryService;
use eager::Eager;
use ordered::Ordered;
use source::Source;
use stretch::Cut;

/// Subscribers that a node takes.
pub(crate) const MAX_SUBSCRIBERS: usize = 1024;

/// Events, of up to [`eager::SETTLED_ROWS`] rows, that wait for a client.
const QUEUE: usize = 4;

/// How long a client may leave the queue full.
const STALL: Duration = Duration::from_secs(30);

/// Longest silence: then the watermark is told, moved or not.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a store or a partition may be away before its subscribers are told to come again.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client is sent.
#[derive(Debug)]
pub(crate) enum Event {
    /// Rows: final ones in the order of the stream, or what a partition has gained.
    Rows {
        rows: Arc<Cut>,
        partition: Option<PartitionId>,
        place: Place,
    },
    /// How far the stream is complete; everything up to `place` has been sent.
    Watermark { complete: Hlc, place: Place },
    /// Nothing more comes. From `place` on, another subscription goes on.
    End { reason: String, place: Place },
}

/// Why a subscription ends.
#[derive(Debug)]
enum Stop {
    /// The client went away.
    Gone,
    /// The client does not read.
    Slow,
    /// The service is told to stop.
    Service,
    /// The rows cannot be read.
    Query(Arc<QueryError>),
}

impl From<QueryError> for Stop {
    fn from(error: QueryError) -> Self {
        Self::Query(Arc::new(error))
    }
}

impl From<arrow::error::ArrowError> for Stop {
    fn from(error: arrow::error::ArrowError) -> Self {
        QueryError::from(error).into()
    }
}

/// The way to the client.
#[derive(Debug)]
struct Outlet {
    queue: mpsc::Sender<Event>,
    /// When the watermark must be told again.
    due: Instant,
}

impl Outlet {
    async fn send(&mut self, event: Event) -> Result<(), Stop> {
        match timeout(STALL, self.queue.send(event)).await {
            Ok(Ok(())) => {
                self.due = Instant::now() + HEARTBEAT;
                Ok(())
            }
            Ok(Err(_)) => Err(Stop::Gone),
            Err(_) => Err(Stop::Slow),
        }
    }

    fn is_due(&self) -> bool {
        self.due <= Instant::now()
    }
}

/// The two ways to follow a stream.
#[derive(Debug)]
enum Feed {
    Ordered(Ordered),
    Eager(Eager),
}

impl Feed {
    fn place(&self) -> Place {
        match self {
            Self::Ordered(feed) => feed.place(),
            Self::Eager(feed) => feed.place(),
        }
    }

    fn source(&self) -> &Source {
        match self {
            Self::Ordered(feed) => &feed.source,
            Self::Eager(feed) => &feed.source,
        }
    }

    /// Waits for something new: at the live edge, or of any partition. False if that cannot come.
    async fn wait(&mut self, bell: &mut watch::Receiver<()>, wake: Instant) -> bool {
        let source = match self {
            Self::Ordered(feed) => &mut feed.source,
            Self::Eager(feed) => &mut feed.source,
        };
        let bell = source.seat.as_mut().map_or(bell, |seat| &mut seat.bell);
        !matches!(timeout_at(wake, bell.changed()).await, Ok(Err(_)))
    }

    /// Sends what there is. Whatever interrupts it, its place is that of the last event sent.
    async fn round(&mut self, outlet: &mut Outlet) -> Result<(), Stop> {
        match self {
            Self::Ordered(feed) => feed.round(outlet).boxed().await,
            Self::Eager(feed) => feed.round(outlet).boxed().await,
        }
    }

    async fn run(&mut self, mut bell: watch::Receiver<()>, outlet: &mut Outlet) -> Stop {
        let mut well = Instant::now();
        loop {
            let before = self.place();
            let round = self.round(outlet).await;
            if round.is_ok() || self.place() != before {
                well = Instant::now();
            }
            let wake = match round {
                Ok(()) => outlet.due,
                // what is away for a while is asked for again
                Err(Stop::Query(error))
                    if error.kind() == ErrorKind::Unavailable && well.elapsed() < PATIENCE =>
                {
                    Instant::now() + HEARTBEAT / 4
                }
                Err(stop) => return stop,
            };
            if !self.wait(&mut bell, wake).await {
                return Stop::Service;
            }
        }
    }
}

impl QueryService {
    /// What all subscriptions of this node have cost so far.
    pub fn subscription_work(&self) -> WorkDone {
        self.hubs.done()
    }

    /// Begins to read for a subscriber; ends when the receiver is dropped.
    fn begin(&self, mut feed: Feed) -> Result<mpsc::Receiver<Event>, QueryError> {
        let seat = Arc::clone(&self.seats).try_acquire_owned();
        let seat = seat.map_err(|_| QueryError::TooManySubscribers(MAX_SUBSCRIBERS))?;
        let (queue, events) = mpsc::channel(QUEUE + 1);
        // the end must find room in a queue that is full
        let last = queue.clone().try_reserve_owned();
        let last = last.map_err(|_| QueryError::TooManySubscribers(MAX_SUBSCRIBERS))?;
        let (farewell, bell) = (self.farewell.clone(), self.bell());
        self.tasks.spawn(async move {
            let left = queue.clone();
            let due = Instant::now();
            let mut outlet = Outlet { queue, due };
            let why = tokio::select! {
                biased;
                () = left.closed() => Stop::Gone,
                () = farewell.cancelled() => Stop::Service,
                why = feed.run(bell, &mut outlet) => why,
            };
            let reason = match why {
                Stop::Gone => "the client has gone".to_owned(),
                Stop::Slow => format!("nothing was read for {} s", STALL.as_secs()),
                Stop::Service => "the service stops".to_owned(),
                Stop::Query(error) => error_chain(&*error),
            };
            let place = feed.place();
            last.send(Event::End { reason, place });
            drop(seat);
        });
        Ok(events)
    }
}
