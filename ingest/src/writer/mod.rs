//! One incarnation of a gateway: joined, holding a lease, open in every partition.
//!
//! Its tasks (lease keeper, stream opener, fencer, one lane a partition) report the first error
//! through [`Writer::end`], which stops them all; a writer never comes back. [`Writer::leave`]
//! drains instead: CLOSE in every partition, then LEAVE.

mod draft;
mod fence;
mod follow;
mod lane;
mod lease;
mod stamps;
mod streams;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tourbillon_core::control::ControlRecord;
use tourbillon_core::error::error_chain;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{StreamName, WriterId};
use tourbillon_log::{LogError, TopicPartition, watch};

pub(crate) use draft::{Done, Message, Queued};
pub(crate) use lease::Lease;
pub(crate) use stamps::Stamps;
pub(crate) use streams::OpenStream;

use crate::error::IngestError;
use crate::metrics;
use crate::settings::{Environment, GatewaySettings};

/// How long a leaving writer waits for the log to take what is queued.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);

/// A writer.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) id: WriterId,
    pub(crate) stamps: Stamps,
    pub(crate) lease: Lease,
    env: Environment,
    settings: Arc<GatewaySettings>,
    streams: watch::Sender<BTreeMap<StreamName, OpenStream>>,
    closing: CancellationToken,
    ended: CancellationToken,
    /// The lanes.
    drained: TaskTracker,
}

impl Writer {
    /// Joins as incarnation `number` of this process, with stamps above `floor`, and opens every
    /// stream there is.
    pub(crate) async fn join(
        env: Environment,
        settings: Arc<GatewaySettings>,
        number: u64,
        floor: Hlc,
    ) -> Result<Arc<Self>, IngestError> {
        follow::check_log(&env).await?;
        let nonce = format!("{}-{number}", settings.nonce);
        let join = ControlRecord::Join {
            gateway: settings.name.clone(),
            nonce,
            lease_ns: i64::try_from(settings.lease.as_nanos()).unwrap_or(i64::MAX),
        };
        let joined = env
            .control
            .append(&join)
            .await
            .map_err(IngestError::ControlTopic)?;
        let id =
            u32::try_from(joined.offset.0).map_err(|_| IngestError::WriterIds(joined.offset))?;
        let writer = Arc::new(Self {
            id: WriterId(id),
            stamps: Stamps::new(Arc::clone(&env.clock), settings.clock, floor),
            lease: Lease::new(Arc::clone(&env.clock), settings.lease),
            env,
            settings,
            streams: watch::Sender::default(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            drained: TaskTracker::new(),
        });
        // whether joining fails or is given up, its tasks stop
        let unfinished = writer.ended.clone().drop_guard();
        writer.begin().await?;
        unfinished.disarm();
        Ok(writer)
    }

    async fn begin(self: &Arc<Self>) -> Result<(), IngestError> {
        lease::renew(self, 0).await?;
        tokio::spawn(self.attend(lease::keep(Arc::clone(self))));
        let mut views = self.env.control.subscribe();
        let view = Arc::clone(&views.borrow_and_update());
        fence::fence_own(self).await?;
        self.open_streams(&view).await?;
        tokio::spawn(self.attend(fence::fence_others(Arc::clone(self))));
        let writer = Arc::clone(self);
        tokio::spawn(self.attend(async move {
            while views.changed().await.is_ok() {
                let view = Arc::clone(&views.borrow_and_update());
                writer.open_streams(&view).await?;
            }
            Ok(())
        }));
        Ok(())
    }

    /// A task that stops with the writer, and whose error ends it.
    fn attend<T>(self: &Arc<Self>, task: T) -> impl Future<Output = ()> + use<T>
    where
        T: Future<Output = Result<(), IngestError>>,
    {
        let writer = Arc::clone(self);
        async move {
            let outcome = tokio::select! {
                biased;
                () = writer.ended.cancelled() => return,
                outcome = task => outcome,
            };
            if let Err(error) = outcome {
                writer.end(&error);
            }
        }
    }

    /// Ends the writer.
    pub(crate) fn end(&self, error: &IngestError) {
        if !self.ended.is_cancelled() {
            tracing::error!(
                writer = self.id.0,
                error = error_chain(error),
                "writer ended"
            );
            metrics::writer_ended();
        }
        self.ended.cancel();
    }

    /// Resolves when the writer has ended.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Drains every lane, closes every partition and leaves. Takes nothing new from then on. If
    /// the log does not take what is queued, it gives up, and the next writer fences this one.
    pub(crate) async fn leave(&self) {
        self.closing.cancel();
        self.drained.close();
        if timeout(DRAIN_PATIENCE, self.drained.wait()).await.is_err() {
            self.end(&IngestError::Indeterminate);
        }
        if self.ended.is_cancelled() {
            return;
        }
        let left = self
            .env
            .control
            .append(&ControlRecord::Leave { writer: self.id })
            .await;
        if let Err(error) = left {
            tracing::warn!(
                error = error_chain(&error),
                "could not leave; the next writer fences"
            );
        }
        self.ended.cancel();
    }

    fn log_failed(&self, step: &'static str, at: &TopicPartition, source: LogError) -> IngestError {
        IngestError::Log {
            step,
            at: at.clone(),
            source: Box::new(source),
        }
    }
}
