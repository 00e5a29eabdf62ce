//! What every role stands on: the log, its control topic, the lake and a clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::time::{Instant, sleep};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::hlc::HlcSettings;
use tourbillon_core::ids::check_plain_name;
use tourbillon_core::report::Grade;
use tourbillon_ingest::{Environment, Gateway, GatewaySettings, Limits};
use tourbillon_lake::{Lake, check_store};
use tourbillon_log::control::ControlTopic;
use tourbillon_log::kafka::{GroupListener, GroupSettings, KafkaGroup};
use tourbillon_log::{
    EmbeddedLog, KafkaLog, KafkaSettings, Log, LogError, SystemClock, topic_needs,
};
use tourbillon_query::QueryService;
use tourbillon_shard_worker::{Group, Means, Worker, WorkerSettings};

use crate::args::{ClusterArgs, GatewayArgs, KafkaArgs, ReadArgs, StorageArgs, WorkArgs};
use crate::server::Lobby;

/// First part of topic names in the embedded log.
const EMBEDDED_PREFIX: &str = "tourbillon";

/// How long a service that starts tries to reach the brokers before it gives up.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Wait before it tries again.
const START_PAUSE: Duration = Duration::from_secs(1);

/// The common ground of a process's roles. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Backbone {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) control: ControlTopic,
    pub(crate) lake: Lake,
    pub(crate) clock: Arc<dyn PhysicalClock>,
    /// The log, if it is Kafka.
    kafka: Option<Arc<KafkaLog>>,
    prefix: Arc<str>,
    nonce: String,
}

impl Backbone {
    /// The embedded log in `data`, and the store or `data/lake`.
    pub(crate) async fn embedded(data: &Path, store: Option<&str>) -> anyhow::Result<Self> {
        let clock: Arc<dyn PhysicalClock> = Arc::new(SystemClock::new());
        let log = EmbeddedLog::open(&data.join("log"), Arc::clone(&clock))?;
        let own = data.join("lake");
        let lake = match (store, own.to_str()) {
            (Some(url), _) => Lake::open(url)?,
            (None, Some(folder)) => Lake::open(folder)?,
            (None, None) => bail!("the folder {} is not UTF-8", own.display()),
        };
        Self::on(Arc::new(log), lake, EMBEDDED_PREFIX, clock).await
    }

    /// Kafka and an object store, for a service: it waits for brokers within bounds, says in the
    /// lobby for what, and refuses topics that break a promise.
    pub(crate) async fn cluster(args: &ClusterArgs, lobby: &Lobby) -> anyhow::Result<Self> {
        let settings = args.kafka_settings.settings(&args.kafka)?;
        let lake = Lake::open(&args.store)?;
        lobby.says("it connects to Kafka");
        let log = connect_patiently(&settings, lobby).await?;
        lobby.says("it reads and checks its topics");
        let backbone = Self::on_kafka(log, lake, &args.kafka_settings).await?;
        backbone.check_topics().await?;
        lobby.says("it looks at the store and begins its work");
        Ok(backbone)
    }

    /// Kafka and an object store.
    async fn kafka(brokers: &str, store: &str, args: &KafkaArgs) -> anyhow::Result<Self> {
        let settings = args.settings(brokers)?;
        let lake = Lake::open(store)?;
        Self::on_kafka(KafkaLog::connect(settings).await?, lake, args).await
    }

    async fn on_kafka(log: KafkaLog, lake: Lake, args: &KafkaArgs) -> anyhow::Result<Self> {
        let (log, clock) = (Arc::new(log), Arc::new(SystemClock::new()));
        let kafka = Some(Arc::clone(&log));
        let backbone = Self::on(log, lake, &args.topic_prefix, clock).await?;
        Ok(Self { kafka, ..backbone })
    }

    /// Log and store as they are, for commands that need no service.
    pub(crate) async fn storage(args: &StorageArgs) -> anyhow::Result<Self> {
        match (&args.data, &args.kafka, &args.store) {
            (Some(data), None, store) => {
                if !data.join("log").is_dir() {
                    let folder = data.display();
                    bail!("{folder} holds no log: name the --data folder of a service");
                }
                Self::embedded(data, store.as_deref()).await
            }
            (None, Some(kafka), Some(store)) => {
                Self::kafka(kafka, store, &args.kafka_settings).await
            }
            _ => bail!("name either --data DIR, or --kafka BROKERS and --store URL"),
        }
    }

    async fn on(
        log: Arc<dyn Log>,
        lake: Lake,
        prefix: &str,
        clock: Arc<dyn PhysicalClock>,
    ) -> anyhow::Result<Self> {
        let control = ControlTopic::open(Arc::clone(&log), prefix)
            .await
            .context("cannot open the control topic")?;
        Ok(Self {
            log,
            control,
            lake,
            clock,
            kafka: None,
            prefix: prefix.into(),
            nonce: format!("{:016x}", OsRng.try_next_u64()?),
        })
    }

    /// The same, with another number of partitions for new streams.
    #[must_use]
    pub(crate) fn with_partitions(self, partitions: u32) -> Self {
        let control = self.control.with_partitions(partitions);
        Self { control, ..self }
    }

    /// Refuses topics that break a promise, and tells what else is amiss.
    async fn check_topics(&self) -> anyhow::Result<()> {
        let Some(kafka) = &self.kafka else {
            return Ok(());
        };
        let needs = topic_needs(&self.prefix, &self.control.view());
        let found = kafka.check_topics(&needs).await?;
        for warning in found.of(Grade::Warning) {
            tracing::warn!("{}", warning.text());
        }
        let wrong: Vec<String> = found.of(Grade::Broken).map(|f| f.text()).collect();
        if !wrong.is_empty() {
            bail!("Kafka would break a promise: {}", wrong.join("\n  "));
        }
        Ok(())
    }

    /// What stands between this process and its log now, if anything does.
    pub(crate) fn log_trouble(&self) -> impl Fn() -> Option<String> + Send + Sync + use<> {
        let kafka = self.kafka.clone();
        move || kafka.as_ref().and_then(|kafka| kafka.trouble())
    }

    /// Tells this process from others.
    pub(crate) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Refuses a store on which two workers could both commit.
    pub(crate) async fn check_store(&self) -> anyhow::Result<()> {
        check_store::check_at_start(&self.lake, &self.nonce)
            .await
            .with_context(|| format!("store {}", self.lake.url()))
    }

    /// Starts a gateway with a clock of its own.
    pub(crate) fn gateway(
        &self,
        settings: GatewaySettings,
        clock: Arc<dyn PhysicalClock>,
    ) -> Gateway {
        let env = Environment {
            log: Arc::clone(&self.log),
            control: self.control.clone(),
            commits: Arc::new(self.lake.clone()),
            clock,
        };
        Gateway::start(settings, env)
    }

    /// Starts a worker for its share of the partitions.
    pub(crate) fn worker(&self, (share, shares): (u32, u32), grace: Duration) -> Worker {
        let settings = WorkerSettings {
            share,
            shares,
            nonce: self.nonce.clone(),
            grace,
        };
        let log = Arc::clone(&self.log);
        Worker::start(settings, log, self.lake.clone(), self.control.clone())
    }

    /// Joins a group of workers and starts a worker for what it assigns. The store is checked
    /// before: first of all, or while the group waits for a worker that is only restarting.
    pub(crate) async fn member(
        &self,
        cluster: &ClusterArgs,
        work: &WorkArgs,
        name: String,
        grace: Duration,
    ) -> anyhow::Result<(Worker, KafkaGroup)> {
        check_plain_name("worker name", &name)?;
        let kafka = cluster.kafka_settings.settings(&cluster.kafka)?;
        let prefix = &cluster.kafka_settings.topic_prefix;
        let group = work.worker_group.clone();
        let settings = GroupSettings {
            group: group.unwrap_or_else(|| format!("{prefix}-workers")),
            member: (!work.leave_on_stop).then_some(name),
        };
        check_plain_name("worker group", &settings.group)?;
        let assigner = Arc::new(Group::default());
        let listener: Arc<dyn GroupListener> = Arc::<Group>::clone(&assigner);
        let group = KafkaGroup::new(kafka, settings, self.control.clone(), listener)?;
        if group.keeps_place().await {
            group.join()?;
            self.check_store().await?;
        } else {
            self.check_store().await?;
            group.join()?;
        }
        let means = Means {
            log: Arc::clone(&self.log),
            lake: self.lake.clone(),
            control: self.control.clone(),
            nonce: self.nonce.clone(),
            grace,
        };
        Ok((Worker::assigned(assigner, means), group))
    }

    /// Starts a query node.
    pub(crate) fn query(&self) -> QueryService {
        let log = Arc::clone(&self.log);
        QueryService::start(log, self.lake.clone(), self.control.clone())
    }

    /// The same with so much memory for decoded rows.
    pub(crate) fn keeping(self, args: ReadArgs) -> Self {
        let lake = self.lake.keeping(u64::from(args.window_cache_mib) << 20);
        Self { lake, ..self }
    }

    /// Settings of a gateway in this process.
    pub(crate) fn gateway_settings(&self, args: &GatewayArgs, name: String) -> GatewaySettings {
        let mib = |n: u32| (n as usize) << 20;
        let limits = Limits {
            body_bytes: mib(args.max_body_mib),
            in_flight_bytes: mib(args.max_in_flight_mib),
            ..Limits::default()
        };
        let max_drift_ns = i64::try_from(args.max_drift.as_nanos()).unwrap_or(i64::MAX);
        GatewaySettings {
            lease: args.lease,
            beat: args.beat,
            linger: args.linger,
            clock: HlcSettings { max_drift_ns },
            limits,
            auto_create: !args.no_auto_create,
            ..GatewaySettings::new(name, self.nonce.clone())
        }
    }

    /// Flushes and closes the log.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        Ok(self.log.close().await?)
    }
}

/// Connects as soon as the brokers let it, or fails with what they said last.
async fn connect_patiently(settings: &KafkaSettings, lobby: &Lobby) -> Result<KafkaLog, LogError> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let error = match KafkaLog::connect(settings.clone()).await {
            Ok(log) => return Ok(log),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::Unavailable || Instant::now() >= deadline {
            return Err(error);
        }
        let reason = error_chain(&error);
        tracing::warn!(error = reason, "cannot start yet");
        lobby.says(reason);
        sleep(START_PAUSE).await;
    }
}
