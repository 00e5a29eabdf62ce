//! A gateway on a log in memory, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tourbillon_core::control::{ColumnSpec, StreamDef};
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::machine::PartitionMachine;
use tourbillon_core::replica::{Record, Replica};
use tourbillon_log::control::{ControlTopic, StreamRequest};
use tourbillon_log::{
    Delivery, Log, LogError, LogRange, LogReader, LogRecord, MemoryLog, SystemClock, TopicNeed,
    TopicPartition,
};

use crate::commits::NoCommits;
use crate::gateway::{Gateway, REQUEST_BYTES, Source};
use crate::parse::{Format, OnError, parse_rows};
use crate::settings::{Environment, GatewaySettings};
use crate::submission::Submission;

pub(crate) const PARTITIONS: u32 = 3;

/// A gateway on a log in memory, with the stream `ticks(symbol, n)`.
pub(crate) struct Rig {
    pub(crate) log: MemoryLog,
    pub(crate) gateway: Gateway,
    pub(crate) def: Arc<StreamDef>,
}

pub(crate) fn settings(nonce: &str) -> GatewaySettings {
    let mut settings = GatewaySettings::new("gw", nonce);
    settings.beat = Duration::from_millis(5);
    settings.lease = Duration::from_millis(300);
    settings
}

pub(crate) async fn environment(client: Arc<dyn Log>) -> Environment {
    let control = ControlTopic::open(Arc::clone(&client), "t").await.unwrap();
    Environment {
        log: client,
        control,
        commits: Arc::new(NoCommits),
        clock: Arc::new(SystemClock::new()),
    }
}

pub(crate) async fn stream(control: &ControlTopic, partitions: u32) -> Arc<StreamDef> {
    let column = |name: &str, ty: &str| ColumnSpec {
        name: name.into(),
        ty: ty.into(),
        nullable: false,
    };
    let request = StreamRequest {
        name: "ticks".into(),
        columns: vec![column("symbol", "string"), column("n", "int64")],
        key: Some(vec!["symbol".into()]),
        partitions: Some(partitions),
        ..StreamRequest::default()
    };
    control.ensure_stream(&request).await.unwrap()
}

impl Rig {
    pub(crate) async fn on(log: MemoryLog, settings: GatewaySettings) -> Self {
        Self::through(Arc::new(log.clone()), log, settings).await
    }

    /// A gateway that reaches `log` through `client`.
    pub(crate) async fn through(
        client: Arc<dyn Log>,
        log: MemoryLog,
        settings: GatewaySettings,
    ) -> Self {
        let env = environment(client).await;
        let def = stream(&env.control, PARTITIONS).await;
        let gateway = Gateway::start(settings, env);
        patient(gateway.until_ready()).await;
        Self { log, gateway, def }
    }

    /// Another gateway on the same log, with the stream as it is now.
    pub(crate) async fn beside(&self, name: &str) -> Self {
        let mut settings = settings(name);
        (settings.name, settings.lease) = (name.into(), Duration::from_secs(3));
        let env = environment(Arc::new(self.log.clone())).await;
        let gateway = Gateway::start(settings, env);
        patient(gateway.until_ready()).await;
        let view = gateway.control().view();
        let def = Arc::clone(&view.streams[&self.def.name]);
        let log = self.log.clone();
        Self { log, gateway, def }
    }

    /// The stream has this many partitions from now on.
    pub(crate) async fn grow(&mut self, partitions: u32) {
        self.def = stream(self.gateway.control(), partitions).await;
    }

    pub(crate) async fn new() -> Self {
        Self::with(settings("process-a")).await
    }

    pub(crate) async fn with(settings: GatewaySettings) -> Self {
        Self::on(MemoryLog::new(Arc::new(SystemClock::new())), settings).await
    }

    /// Rows of 17 symbols, numbered.
    pub(crate) fn batch(&self, rows: usize) -> RecordBatch {
        let lines: String = (0..rows)
            .map(|i| format!("{{\"symbol\":\"s{}\",\"n\":{i}}}\n", i % 17))
            .collect();
        let body = Bytes::from(lines);
        let parsed = parse_rows(Format::NdJson, self.def.schema(), &body, OnError::Refuse);
        parsed.unwrap().rows
    }

    pub(crate) fn submission(&self, rows: usize, sequence: Option<u64>) -> Submission {
        let source = sequence.map(|sequence| Source {
            name: "feed".into(),
            sequence,
        });
        let held = self.gateway.reserve(REQUEST_BYTES).unwrap();
        Submission::new(Arc::clone(&self.def), &self.batch(rows), source, held).unwrap()
    }

    pub(crate) fn at(&self, partition: u32) -> TopicPartition {
        let topic = self.gateway.control().stream_topic(&self.def.name);
        TopicPartition {
            topic,
            partition: PartitionId(partition),
        }
    }

    pub(crate) async fn records(&self, partition: u32) -> Vec<LogRecord> {
        records(&self.log, &self.at(partition)).await
    }

    /// Accepted rows of a partition, and its state.
    pub(crate) async fn replay(&self, partition: u32) -> (Vec<RecordBatch>, PartitionMachine) {
        let mut replica = Replica::new(self.def.rules);
        let mut rows = Vec::new();
        for LogRecord {
            offset,
            append_time_ns,
            payload,
        } in self.records(partition).await
        {
            let record = Record {
                offset,
                append_time_ns,
                payload: &payload,
            };
            let applied = replica.apply(record, self.def.as_ref()).unwrap();
            rows.extend(applied.runs.into_iter().map(|run| run.rows));
        }
        (rows, replica.machine().clone())
    }

    /// `(hlc, n, symbol)` of every accepted row, by HLC.
    pub(crate) async fn rows(&self) -> Vec<(i64, i64, String)> {
        let mut all = Vec::new();
        for partition in 0..self.def.partitions {
            let before = all.len();
            for batch in self.replay(partition).await.0 {
                let stamps = batch.column(0).as_primitive::<TimestampNanosecondType>();
                let symbols = batch.column(3).as_dictionary::<Int32Type>();
                let names = symbols.values().as_string::<i32>();
                let numbers = batch.column(4).as_primitive::<Int64Type>();
                for row in 0..batch.num_rows() {
                    let name = names.value(symbols.key(row).unwrap());
                    all.push((stamps.value(row), numbers.value(row), name.to_owned()));
                }
            }
            assert!(all[before..].windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
        all.sort_unstable();
        all
    }
}

async fn records(log: &MemoryLog, at: &TopicPartition) -> Vec<LogRecord> {
    let range = log.range(at).await.unwrap();
    let mut records = Vec::new();
    if range.end > range.start {
        let mut reader = log.read(at, range.start).await.unwrap();
        while records
            .last()
            .is_none_or(|last: &LogRecord| last.offset.next() < range.end)
        {
            records.extend(reader.next().await.unwrap());
        }
    }
    records
}

pub(crate) async fn patient<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future)
        .await
        .expect("must happen within 10 s")
}

/// Polls the log until it is as wanted.
pub(crate) async fn eventually<F>(wanted: impl Fn() -> F + Send + Sync)
where
    F: Future<Output = bool> + Send,
{
    patient(async {
        while !wanted().await {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A log that can stop answering, as one whose brokers are gone.
#[derive(Debug)]
pub(crate) struct Stalling {
    pub(crate) log: MemoryLog,
    pub(crate) stalled: AtomicBool,
}

impl Stalling {
    async fn answer(&self) {
        while self.stalled.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

#[async_trait]
impl Log for Stalling {
    async fn ensure_topic(&self, need: &TopicNeed) -> Result<(), LogError> {
        self.log.ensure_topic(need).await
    }
    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.log.partitions(topic).await
    }
    async fn enqueue(&self, to: &TopicPartition, bytes: Bytes) -> Result<Delivery, LogError> {
        self.answer().await;
        self.log.enqueue(to, bytes).await
    }
    async fn range(&self, of: &TopicPartition) -> Result<LogRange, LogError> {
        self.answer().await;
        self.log.range(of).await
    }
    async fn read(
        &self,
        of: &TopicPartition,
        from: Offset,
    ) -> Result<Box<dyn LogReader>, LogError> {
        self.log.read(of, from).await
    }
    fn exclusive(&self) -> bool {
        self.log.exclusive()
    }
    fn has_append_time(&self) -> bool {
        self.log.has_append_time()
    }
    async fn close(&self) -> Result<(), LogError> {
        self.log.close().await
    }
}
