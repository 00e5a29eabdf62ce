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

use crate::{Appended, Log, LogError, LogReader, TopicPartition, watch};

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
}

impl ControlTopic {
    /// Makes the topic if it is absent, reads it to its end and follows it from then on, until
    /// the last handle is gone.
    pub async fn open(log: Arc<dyn Log>, prefix: &str) -> Result<Self, LogError> {
        let topic = format!("{prefix}._control");
        log.ensure_topic(&topic, 1, true).await?;
        let at = TopicPartition {
            topic,
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
        };
        control.catch_up().await?;
        Ok(control)
    }

    /// Its own topic.
    pub fn topic(&self) -> &str {
        &self.at.topic
    }

    /// Topic of a stream.
    pub fn stream_topic(&self, stream: &StreamName) -> String {
        format!("{}.{stream}", self.prefix)
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
            let topic = self.stream_topic(&name);
            self.log
                .ensure_topic(&topic, next.partitions, false)
                .await?;
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
                partitions: request.partitions.unwrap_or(DEFAULT_PARTITIONS),
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
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use tourbillon_core::clock::ManualClock;

    use super::*;
    use crate::{Delivery, LogRange, LogRecord, MemoryLog};

    async fn control() -> ControlTopic {
        let log = MemoryLog::new(Arc::new(ManualClock::new(1)));
        ControlTopic::open(Arc::new(log), "t").await.unwrap()
    }

    fn request(columns: &[&str]) -> StreamRequest {
        let column = |name: &&str| ColumnSpec {
            name: (*name).into(),
            ty: "string".into(),
            nullable: true,
        };
        let columns = columns.iter().map(column).collect();
        StreamRequest {
            name: "ticks".into(),
            columns,
            ..StreamRequest::default()
        }
    }

    #[tokio::test]
    async fn streams_are_made_once_and_grown_by_what_is_new() {
        let control = control().await;
        let first = control.ensure_stream(&request(&["a"])).await.unwrap();
        assert_eq!((first.version(), first.partitions), (1, DEFAULT_PARTITIONS));
        assert_eq!(
            control
                .ensure_stream(&request(&["a"]))
                .await
                .unwrap()
                .version(),
            1
        );
        let grown = control.ensure_stream(&request(&["b"])).await.unwrap();
        assert_eq!((grown.version(), grown.schema().columns().len()), (2, 2));
        let topic = control.stream_topic(&first.name);
        assert_eq!(
            control.log.partitions(&topic).await.unwrap(),
            Some(DEFAULT_PARTITIONS)
        );
    }

    #[tokio::test]
    async fn racing_changes_all_take_effect() {
        let control = control().await;
        control.ensure_stream(&request(&["a"])).await.unwrap();
        let names = ["b", "c", "d"];
        let race = names.map(|name| {
            let control = control.clone();
            async move { control.ensure_stream(&request(&[name])).await }
        });
        for result in futures::future::join_all(race).await {
            result.unwrap();
        }
        let view = control.view();
        assert_eq!(
            view.streams
                .values()
                .next()
                .unwrap()
                .schema()
                .columns()
                .len(),
            4
        );
    }

    #[tokio::test]
    async fn refusals_name_the_stream_and_leave_nothing_behind() {
        let control = control().await;
        let mut bad = request(&["a"]);
        bad.key = Some(vec!["nope".into()]);
        let error = control.ensure_stream(&bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(control.view().streams.is_empty());
        control.ensure_builtin_streams().await.unwrap();
        control.ensure_builtin_streams().await.unwrap();
        assert_eq!(control.view().streams.len(), 2);
        assert_eq!(control.view().ignored, 0);
    }

    /// A log whose readers fail after each read.
    #[derive(Debug)]
    struct Flaky(MemoryLog);

    #[derive(Debug)]
    struct FlakyReader(Box<dyn LogReader>, bool);

    #[async_trait]
    impl LogReader for FlakyReader {
        async fn next(&mut self) -> Result<Vec<LogRecord>, LogError> {
            if self.1 {
                return Err(LogError::Unreachable {
                    brokers: "b".into(),
                    source: Arc::new(std::io::Error::other("outage")),
                });
            }
            let records = self.0.next().await;
            self.1 = true;
            records
        }
    }

    #[async_trait]
    impl Log for Flaky {
        async fn ensure_topic(&self, topic: &str, n: u32, keep: bool) -> Result<(), LogError> {
            self.0.ensure_topic(topic, n, keep).await
        }
        async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
            self.0.partitions(topic).await
        }
        async fn enqueue(&self, to: &TopicPartition, bytes: Bytes) -> Result<Delivery, LogError> {
            self.0.enqueue(to, bytes).await
        }
        async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError> {
            self.0.range(of).await
        }
        async fn read(
            &self,
            of: &TopicPartition,
            from: Offset,
        ) -> Result<Box<dyn LogReader>, LogError> {
            let reader = self.0.read(of, from).await?;
            Ok(Box::new(FlakyReader(reader, false)))
        }
        fn exclusive(&self) -> bool {
            self.0.exclusive()
        }
        fn has_append_time(&self) -> bool {
            self.0.has_append_time()
        }
        async fn close(&self) -> Result<(), LogError> {
            self.0.close().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_the_log_only_delays_the_view() {
        let log = Flaky(MemoryLog::new(Arc::new(ManualClock::new(1))));
        let control = ControlTopic::open(Arc::new(log), "t").await.unwrap();
        for column in ["a", "b", "c"] {
            control.ensure_stream(&request(&[column])).await.unwrap();
        }
        let view = control.view();
        let columns = view.streams.values().next().unwrap().schema().columns();
        assert_eq!(columns.len(), 3);
    }
}
