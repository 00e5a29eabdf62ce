//! The gateway: always one writer, or none while it joins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::hlc::{Hlc, HlcError};
use tourbillon_core::ids::{Offset, PartitionId, WriterId};
use tourbillon_lake::off_thread;
use tourbillon_log::control::ControlTopic;
use tourbillon_log::watch;

use crate::budget::{Budget, Reservation};
use crate::error::IngestError;
use crate::metrics;
use crate::settings::{Environment, GatewaySettings};
use crate::submission::Submission;
use crate::writer::{OpenStream, Writer};

/// Pause before joining again: first, and at most.
const JOIN_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What a request costs beside its rows, bytes.
pub(crate) const REQUEST_BYTES: usize = 1024;

/// A client's name for itself and its number for the request: makes a repeat recognisable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// 1 to 128 bytes.
    pub name: Arc<str>,
    /// Counts the client's requests.
    pub sequence: u64,
}

/// Proof that rows are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// How many.
    pub rows: u64,
    /// Lowest and highest stamp; none without rows.
    pub stamps: Option<(Hlc, Hlc)>,
    /// Offset of the last frame in each partition.
    pub positions: BTreeMap<PartitionId, Offset>,
}

/// What became of a submission.
enum Written {
    Done(Receipt),
    /// The stream grew before the rows were queued.
    Outdated(Box<Submission>),
}

/// A running gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Arc<GatewaySettings>,
    env: Environment,
    budget: Budget,
    writer: watch::Sender<Option<Arc<Writer>>>,
    stop: CancellationToken,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    /// Bodies that may be parsed at once: parsing needs memory beyond what is reserved.
    parsers: Arc<Semaphore>,
    /// Why it could not join, last time it tried.
    trouble: Mutex<Option<String>>,
}

impl Gateway {
    /// Starts joining; [`Gateway::until_ready`] tells when that is done.
    pub fn start(settings: GatewaySettings, env: Environment) -> Self {
        metrics::started();
        let gateway = Self(Arc::new(Shared {
            budget: Budget::new(settings.limits.in_flight_bytes),
            settings: Arc::new(settings),
            env,
            writer: watch::Sender::new(None),
            stop: CancellationToken::new(),
            supervisor: Mutex::default(),
            parsers: Arc::new(Semaphore::new(parallelism())),
            trouble: Mutex::default(),
        }));
        let supervisor = tokio::spawn(supervise(Arc::clone(&gateway.0)));
        *gateway.supervisor() = Some(supervisor);
        gateway
    }

    /// Its settings.
    pub fn settings(&self) -> &GatewaySettings {
        &self.0.settings
    }

    /// The control topic.
    pub fn control(&self) -> &ControlTopic {
        &self.0.env.control
    }

    /// Whether it takes rows, and can acknowledge them.
    pub fn is_ready(&self) -> bool {
        let writer = self.0.writer.borrow();
        writer.as_ref().is_some_and(|writer| writer.lease.holds())
    }

    /// Why it takes no rows now, or could acknowledge none.
    pub fn hindrance(&self) -> Option<String> {
        if self.is_ready() {
            return None;
        }
        let joined = self.0.writer.borrow().is_some();
        Some(match (joined, self.0.trouble().clone()) {
            (true, _) => "the gateway's lease has run out: the log does not answer in time".into(),
            (false, Some(reason)) => format!("the gateway cannot join: {reason}"),
            (false, None) => "the gateway is joining".into(),
        })
    }

    /// Resolves when it takes rows.
    pub async fn until_ready(&self) {
        // the sender lives as long as this handle
        drop(self.0.writer.subscribe().wait_for(Option::is_some).await);
    }

    /// The writer it is now.
    pub fn writer_id(&self) -> Option<WriterId> {
        self.0.writer.borrow().as_ref().map(|writer| writer.id)
    }

    /// Wall time, ns since the epoch.
    pub fn wall_ns(&self) -> i64 {
        self.0.env.clock.wall_ns()
    }

    /// Does CPU-bound work off the async threads, as many at once as there are cores. The turn is
    /// given back before anyone waits for the log.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, IngestError> + Send + 'static,
    ) -> Result<T, IngestError> {
        let parsers = Arc::clone(&self.0.parsers);
        let turn = parsers.acquire_owned().await;
        let turn = turn.map_err(|_| IngestError::NotReady)?;
        let worked = off_thread(move || {
            let _turn = turn;
            work()
        });
        worked.await?
    }

    /// A share of the bytes that may be in flight.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, IngestError> {
        self.0.budget.reserve(bytes)
    }

    /// Raises the clock above a stamp that a client has seen.
    pub fn observe(&self, stamp: Hlc) -> Result<(), IngestError> {
        let observed = self.writer()?.stamps.clock().observe(stamp);
        observed.inspect_err(|_| metrics::drift_refused())?;
        Ok(())
    }

    fn writer(&self) -> Result<Arc<Writer>, IngestError> {
        self.0
            .writer
            .borrow()
            .as_ref()
            .map(Arc::clone)
            .ok_or_else(|| match self.0.trouble().clone() {
                Some(reason) => IngestError::CannotJoin(reason),
                None => IngestError::NotReady,
            })
    }

    fn supervisor(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.0
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes rows and waits until they are durable. [`IngestError::Indeterminate`] means that
    /// they may or may not become part of the stream. Dropping the future does not undo it.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, IngestError> {
        if submission.rows == 0 {
            return Ok(Receipt::default());
        }
        let writer = self.writer()?;
        tokio::select! {
            biased;
            submitted = self.submit_to(&writer, submission) => submitted,
            // what comes now can be acknowledged by nobody
            () = writer.lease.lapsed() => Err(IngestError::Indeterminate),
        }
    }

    async fn submit_to(
        &self,
        writer: &Writer,
        mut submission: Submission,
    ) -> Result<Receipt, IngestError> {
        loop {
            let (stream, partitions) = (&submission.def.name, submission.def.partitions);
            let open = if submission.source.is_some() {
                let open = writer.settled(stream, partitions).await?;
                submission = self.cut_for(&open, submission).await?;
                open
            } else {
                writer.open(stream, partitions).await?
            };
            match Self::write(writer, &open, submission).await? {
                Written::Done(receipt) => return Ok(receipt),
                Written::Outdated(again) => submission = *again,
            }
        }
    }

    /// Cuts a request by as many partitions as the writer declared last, and leaves out what
    /// landed under fewer. Nearly always it is cut so already.
    async fn cut_for(
        &self,
        open: &OpenStream,
        submission: Submission,
    ) -> Result<Submission, IngestError> {
        let (partitions, now_ns) = (open.partitions(), self.wall_ns());
        let earlier = Arc::clone(&open.earlier);
        if submission.fits(partitions, &earlier, now_ns) {
            return Ok(submission);
        }
        self.in_turn(move || submission.recut(partitions, &earlier, now_ns))
            .await
    }

    async fn write(
        writer: &Writer,
        open: &OpenStream,
        submission: Submission,
    ) -> Result<Written, IngestError> {
        let (rows, left) = (u64::from(submission.rows), submission.left());
        let mut receipt = Receipt {
            rows,
            stamps: None,
            positions: submission.landed.clone(),
        };
        if left == 0 {
            return Ok(Written::Done(receipt));
        }
        let mut permits = Vec::with_capacity(submission.cuts.len());
        for cut in &submission.cuts {
            // `cut` knows no partition beyond those waited for
            let lane = &open.lanes[cut.partition.0 as usize];
            permits.push(lane.reserve().await.map_err(|_| IngestError::NotReady)?);
        }
        let early = if broken(Rule::StampAndQueue) {
            let early = writer.stamps.take(left, |base| base)?;
            sleep(Duration::from_millis(2)).await;
            Some(early)
        } else {
            None
        };
        let placed = writer.stamps.take(left, |base| {
            if submission.source.is_some() && open.is_outdated() {
                return Err(Box::new(submission));
            }
            let base = early.unwrap_or(base);
            Ok((base, submission.place(base, permits)))
        });
        if let Err(error @ HlcError::Jumped { .. }) = placed {
            writer.end(&error.into());
        }
        let (base, waiting) = match placed? {
            Ok(placed) => placed,
            Err(submission) => return Ok(Written::Outdated(submission)),
        };
        for (partition, done) in waiting {
            let offset = done.await.map_err(|_| IngestError::Indeterminate)?;
            receipt.positions.insert(partition, offset);
        }
        receipt.stamps = Some((base, base.plus(i64::from(left) - 1)));
        Ok(Written::Done(receipt))
    }

    /// Takes nothing new, drains, closes every partition and leaves.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        let supervisor = self.supervisor().take();
        if let Some(supervisor) = supervisor
            && let Err(error) = supervisor.await
        {
            tracing::error!(%error, "the gateway's supervisor died");
        }
    }
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Joins, and joins again whenever the writer ends, until told to stop.
async fn supervise(shared: Arc<Shared>) {
    let mut pause = JOIN_PAUSE.0;
    let mut floor = Hlc::MIN;
    for number in 0u64.. {
        let (env, settings) = (shared.env.clone(), Arc::clone(&shared.settings));
        let joined = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            joined = Writer::join(env, settings, number, floor) => joined,
        };
        match joined {
            Ok(writer) => {
                pause = JOIN_PAUSE.0;
                *shared.trouble() = None;
                tracing::info!(writer = writer.id.0, "gateway joined");
                shared.writer.send_replace(Some(Arc::clone(&writer)));
                let stopped = tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => true,
                    () = writer.ended() => false,
                };
                shared.writer.send_replace(None);
                if stopped {
                    return writer.leave().await;
                }
                floor = writer.stamps.clock().last();
            }
            Err(error) => {
                let text = error_chain(&error);
                *shared.trouble() = Some(text.clone());
                if error.kind() == ErrorKind::Unavailable {
                    tracing::warn!(error = text, "cannot join yet");
                } else {
                    tracing::error!(error = text, "cannot join");
                }
            }
        }
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = sleep(pause) => pause = (pause * 2).min(JOIN_PAUSE.1),
        }
    }
}

#[cfg(test)]
mod growth_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truncated_tests;
