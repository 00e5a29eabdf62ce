//! The control topic, followed and written.
//!
//! One task reads it; everyone sees its view through a watch. Appending waits until the own view
//! holds the record, so that a caller always reads its own writes.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::sleep;
use tourbillon_core::control::{
    ColumnSpec, ControlRecord, ControlView, DEFAULT_COMPACTION_NS, StreamDef, StreamError,
    StreamSpec,
};
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::ids::{Offset, PartitionId, StreamName};
use tourbillon_core::schema::{Column, builtin_streams};

use crate::{Appended, Log, LogError, LogReader, TopicNeed, TopicPartition, watch};

/// Partitions of a stream whose creator names no number.
pub const DEFAULT_PARTITIONS: u32 = 4;

/// Event window of a stream whose creator names none, ns.
pub const DEFAULT_WINDOW_NS: i64 = 10_000_000_000;

/// How far a stamp may lie above the append time, ns.
pub const DEFAULT_MAX_DRIFT_NS: i64 = 500_000_000;

/// Pause before the control topic is read again after an outage.
const REOPEN_PAUSE: Duration = Duration::from_millis(250);

/// Rounds of "read, propose, see who won" before a contended change gives up.
const MAX_PROPOSALS: usize = 8;

/// Why the control topic did not do what was asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The log.
    #[error("cannot use the control topic")]
    Log(#[from] LogError),
    /// The stream's definition.
    #[error("stream `{name}` is refused")]
    Refused {
        /// The stream.
        name: String,
        /// Why.
        #[source]
        source: StreamError,
    },
    /// Others kept changing the stream at the same time.
    #[error("stream `{0}` is being changed by others: try again")]
    Contended(String),
}

impl ControlError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Log(error) => error.kind(),
            Self::Refused { .. } => ErrorKind::Invalid,
            Self::Contended(_) => ErrorKind::Unavailable,
        }
    }
}

/// A stream as somebody wants it; what is left out keeps its value or takes the default.
#[derive(Clone, Debug, Default)]
pub struct StreamRequest {
    /// Its name.
    pub name: String,
    /// Columns that must be there; others that already are stay.
    pub columns: Vec<ColumnSpec>,
    /// Key columns.
    pub key: Option<Vec<String>>,
    /// Event-time column.
    pub event_time: Option<String>,
    /// Number of partitions.
    pub partitions: Option<u32>,
    /// Event window, ns.
    pub window_ns: Option<i64>,
    /// Span of compaction, ns; 0 switches it off.
    pub compaction_ns: Option<i64>,
    /// Age at which rows go, ns; 0 keeps them.
    pub retention_ns: Option<i64>,
}

impl StreamRequest {
    /// A stream that exists from the start, as it is made if nobody asks for more.
    pub fn builtin(name: &str) -> Option<Self> {
        let (_, schema) = builtin_streams()
            .into_iter()
            .find(|(own, _)| *own == name)?;
        let column = |c: &Column| ColumnSpec {
            name: c.name.clone(),
            ty: c.ty.to_string(),
            nullable: c.nullable,
        };
        Some(Self {
            name: name.to_owned(),
            columns: schema.columns().iter().map(column).collect(),
            key: Some(schema.key_names().map(str::to_owned).collect()),
            event_time: schema
                .event_time()
                .map(|i| schema.columns()[i].name.clone()),
            ..Self::default()
        })
    }
}

/// A handle on the control topic. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ControlTopic {
    log: Arc<dyn Log>,
    prefix: Arc<str>,
    at: TopicPartition,
    view: watch::Receiver<Arc<ControlView>>,
    partitions: u32,
}

impl ControlTopic {
    /// Makes the topic if it is absent, reads it to its end and follows it from then on, until
    /// the last handle is gone.
    pub async fn open(log: Arc<dyn Log>, prefix: &str) -> Result<Self, LogError> {
        let need = TopicNeed::control(prefix);
        log.ensure_topic(&need).await?;
        let at = TopicPartition {
            topic: need.topic,
            partition: PartitionId(0),
        };
        let (sender, view) = watch::channel(Arc::new(ControlView::default()));
        let reader = log.read(&at, Offset(0)).await?;
        tokio::spawn(follow(Arc::clone(&log), at.clone(), reader, sender));
        let control = Self {
            log,
            prefix: prefix.into(),
            at,
            view,
            partitions: DEFAULT_PARTITIONS,
        };
        control.catch_up().await?;
        Ok(control)
    }

    /// The same, with another number of partitions for new streams whose creator names none.
    #[must_use]
    pub fn with_partitions(self, partitions: u32) -> Self {
        Self { partitions, ..self }
    }

    /// Its own topic.
    pub fn topic(&self) -> &str {
        &self.at.topic
    }

    /// Topic of a stream.
    pub fn stream_topic(&self, stream: &StreamName) -> String {
        stream_topic(&self.prefix, stream)
    }

    /// What is known now.
    pub fn view(&self) -> Arc<ControlView> {
        Arc::clone(&self.view.borrow())
    }

    /// What is known, and a notice of every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ControlView>> {
        self.view.clone()
    }

    /// Waits until the view holds all that the topic holds now.
    pub async fn catch_up(&self) -> Result<(), LogError> {
        let end = self.log.range(&self.at).await?.end;
        self.wait_for(end).await
    }

    async fn wait_for(&self, end: Offset) -> Result<(), LogError> {
        let mut view = self.view.clone();
        let reached = view.wait_for(|view| view.next_offset >= end).await;
        reached.map(|_| ()).map_err(|_| LogError::Closed)
    }

    /// Appends a record and waits until the view holds it.
    pub async fn append(&self, record: &ControlRecord) -> Result<Appended, LogError> {
        let bytes = record.encode().map_err(|error| LogError::Append {
            topic: self.at.topic.clone(),
            partition: self.at.partition,
            source: Arc::new(error),
        })?;
        let appended = self.log.enqueue(&self.at, bytes.into()).await?.await?;
        self.wait_for(appended.offset.next()).await?;
        Ok(appended)
    }

    /// Makes the streams that exist from the start.
    pub async fn ensure_builtin_streams(&self) -> Result<(), ControlError> {
        for (name, _) in builtin_streams() {
            let view = self.view();
            let known = view.streams.keys().any(|known| known.as_str() == name);
            if let Some(request) = StreamRequest::builtin(name).filter(|_| !known) {
                self.ensure_stream(&request).await?;
            }
        }
        Ok(())
    }

    /// Makes or grows a stream until it has what `request` names. Safe to race.
    pub async fn ensure_stream(
        &self,
        request: &StreamRequest,
    ) -> Result<Arc<StreamDef>, ControlError> {
        for _ in 0..MAX_PROPOSALS {
            self.catch_up().await?;
            let refused = |source| ControlError::Refused {
                name: request.name.clone(),
                source,
            };
            let name = StreamName::new(request.name.clone()).map_err(|e| refused(e.into()))?;
            let view = self.view();
            let current = view.streams.get(&name);
            let spec = self.propose(request, current.map(AsRef::as_ref));
            let next = match (current, &spec) {
                (Some(current), None) => return Ok(Arc::clone(current)),
                (Some(current), Some(spec)) => current.evolve(spec).map_err(refused)?,
                (None, Some(spec)) => StreamDef::create(spec).map_err(refused)?,
                (None, None) => return Err(ControlError::Contended(request.name.clone())),
            };
            let need = TopicNeed::stream(&self.prefix, &next);
            self.log.ensure_topic(&need).await?;
            if let Some(spec) = spec {
                self.append(&ControlRecord::Stream(spec)).await?;
            }
        }
        Err(ControlError::Contended(request.name.clone()))
    }

    /// The next version of a stream, or none if it already is as requested.
    fn propose(&self, request: &StreamRequest, current: Option<&StreamDef>) -> Option<StreamSpec> {
        let Some(current) = current else {
            return Some(StreamSpec {
                name: request.name.clone(),
                version: 1,
                columns: request.columns.clone(),
                key: request.key.clone().unwrap_or_default(),
                event_time: request.event_time.clone(),
                partitions: request.partitions.unwrap_or(self.partitions),
                window_ns: request.window_ns.unwrap_or(DEFAULT_WINDOW_NS),
                compaction_ns: request.compaction_ns.unwrap_or(DEFAULT_COMPACTION_NS),
                retention_ns: request.retention_ns.unwrap_or(0),
                max_drift_ns: self.log.has_append_time().then_some(DEFAULT_MAX_DRIFT_NS),
            });
        };
        let old = current.spec();
        let mut spec = old.clone();
        for column in &request.columns {
            match spec
                .columns
                .iter_mut()
                .find(|known| known.name == column.name)
            {
                Some(known) => *known = column.clone(),
                None => spec.columns.push(column.clone()),
            }
        }
        spec.key = request.key.clone().unwrap_or(spec.key);
        spec.event_time = request.event_time.clone().or(spec.event_time);
        spec.partitions = request.partitions.unwrap_or(spec.partitions);
        spec.window_ns = request.window_ns.unwrap_or(spec.window_ns);
        spec.compaction_ns = request.compaction_ns.unwrap_or(spec.compaction_ns);
        spec.retention_ns = request.retention_ns.unwrap_or(spec.retention_ns);
        if spec == old {
            return None;
        }
        spec.version += 1;
        Some(spec)
    }
}

/// Name of the control topic.
pub(crate) fn control_topic(prefix: &str) -> String {
    format!("{prefix}._control")
}

/// Name of a stream's topic.
pub(crate) fn stream_topic(prefix: &str, stream: &StreamName) -> String {
    format!("{prefix}.{stream}")
}

/// Feeds the view until nobody looks any more. An outage of the log only delays it.
async fn follow(
    log: Arc<dyn Log>,
    at: TopicPartition,
    mut reader: Box<dyn LogReader>,
    sender: watch::Sender<Arc<ControlView>>,
) {
    loop {
        let read = tokio::select! {
            biased;
            () = sender.closed() => return,
            records = reader.next() => records,
        };
        match read {
            Ok(records) => {
                let mut next = ControlView::clone(&sender.borrow());
                for record in &records {
                    next.apply(record.offset, record.append_time_ns, &record.payload);
                }
                sender.send_replace(Arc::new(next));
                continue;
            }
            Err(LogError::Closed) => return,
            Err(error) if error.kind() != ErrorKind::Unavailable => {
                tracing::error!(error = error_chain(&error), "control topic lost");
                return;
            }
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "control topic out of reach");
            }
        }
        tokio::select! {
            biased;
            () = sender.closed() => return,
            () = sleep(REOPEN_PAUSE) => {}
        }
        let next = sender.borrow().next_offset;
        if let Ok(again) = log.read(&at, next).await {
            reader = again;
        }
    }
}

#[cfg(test)]
mod tests;
