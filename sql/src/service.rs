//! The SQL service: its limits, its threads, and the way in.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, SessionStateDefaults};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use futures::stream::BoxStream;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use tourbillon_core::hlc::Hlc;
use tourbillon_query::QueryService;
use tourbillon_query::window::ANSWER_ROWS;

use crate::catalog::{CATALOG, SCHEMA};
use crate::error::SqlError;
use crate::held::CountHeldRows;
use crate::output;
use crate::snapshots::Snapshots;
use crate::table::Sources;

/// Stack of the threads that plan and compute, bytes: a plan may be as deep as a statement has words.
/// Only what is touched takes memory.
const STACK_BYTES: usize = 64 << 20;

/// Functions whose result can be far larger than what goes in, so that no pool could see it coming.
const INFLATING: [&str; 7] = [
    "array_repeat",
    "array_resize",
    "generate_series",
    "lpad",
    "range",
    "repeat",
    "rpad",
];

/// What statements may use.
#[derive(Clone, Debug)]
pub struct SqlSettings {
    /// Memory of all operators together, bytes. What does not fit is refused: nothing is spilled to
    /// disk, of which a query node needs none.
    pub memory_bytes: usize,
    /// Rows of an answer.
    pub max_rows: u64,
    /// Time of a statement, until its last row is taken.
    pub timeout: Duration,
    /// Statements at once.
    pub concurrency: usize,
    /// Threads for planning and operators.
    pub threads: usize,
}

impl Default for SqlSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            memory_bytes: 256 << 20,
            max_rows: 10_000_000,
            timeout: Duration::from_secs(60),
            concurrency: 8,
            // one core is left to those who take and send rows
            threads: cores.saturating_sub(1).max(1),
        }
    }
}

/// A running SQL service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqlService {
    pub(crate) core: Arc<Core>,
    pub(crate) seats: Arc<Semaphore>,
    pub(crate) workers: Arc<Workers>,
}

/// What jobs share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) sources: Sources,
    pub(crate) settings: SqlSettings,
    /// What every statement begins with.
    pub(crate) state: SessionState,
}

/// Threads for operators, which may compute for long without letting others run: an acknowledgement
/// or a window must never wait behind them.
#[derive(Debug)]
pub(crate) struct Workers(Option<Runtime>);

impl Workers {
    fn start(threads: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("tourbillon-sql")
            .thread_stack_size(STACK_BYTES)
            .enable_time()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn handle(&self) -> Option<&Handle> {
        self.0.as_ref().map(Runtime::handle)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// An answer, as it comes.
pub struct Answer {
    /// Columns.
    pub schema: SchemaRef,
    /// What gives the same answer again.
    pub snapshots: Snapshots,
    /// T of the stream in its snapshot, if the statement names one.
    pub complete_through: Option<Hlc>,
    /// The rows. Dropping them stops the statement.
    pub batches: BoxStream<'static, Result<RecordBatch, SqlError>>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("schema", &self.schema)
            .field("snapshots", &self.snapshots)
            .finish_non_exhaustive()
    }
}

impl SqlService {
    /// Starts the threads for operators. Windows are read in the runtime that this is called from.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn start(query: QueryService, settings: SqlSettings) -> Result<Self, SqlError> {
        let workers = Workers::start(settings.threads).map_err(DataFusionError::from);
        let workers = workers.map_err(SqlError::Statement)?;
        let state = state(&settings).map_err(SqlError::Statement)?;
        let sources = Sources {
            query,
            home: Handle::current(),
            lanes: settings.threads * 2,
        };
        let seats = Arc::new(Semaphore::new(settings.concurrency));
        let core = Core {
            sources,
            settings,
            state,
        };
        Ok(Self {
            core: Arc::new(core),
            seats,
            workers: Arc::new(workers),
        })
    }

    /// The tables there are, with the columns that answers from them have.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (String, SchemaRef)> {
        let view = self.core.sources.query.control_view();
        let defs: Vec<_> = view.streams.values().map(Arc::clone).collect();
        let sources = self.core.sources.clone();
        defs.into_iter().map(move |def| {
            let name = def.name.as_str().to_owned();
            let table = sources.table(def, None, i64::MAX);
            (name, output::schema(&table.schema()))
        })
    }
}

/// DataFusion's rules but one, and our own. `ProjectionPushdown` (55.2) moves a projection below a
/// filter that has one already, and then the columns do not fit; scans are narrowed before it anyway.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| rule.name() != "ProjectionPushdown");
    rules.push(Arc::new(CountHeldRows));
    rules
}

fn state(settings: &SqlSettings) -> Result<SessionState, DataFusionError> {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(settings.threads)
        .with_batch_size(ANSWER_ROWS)
        // rows of a scan come in order, and dealing them out would lose it
        .with_round_robin_repartition(false)
        .with_prefer_existing_sort(true);
    config.options_mut().sql_parser.collect_spans = true;
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(settings.memory_bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()?;
    // there is no way to name a file, and there would be nothing behind the name
    runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
    let functions = SessionStateDefaults::default_scalar_functions();
    let functions = functions.into_iter();
    let tame = functions.filter(|function| !INFLATING.contains(&function.name()));
    Ok(SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_scalar_functions(tame.collect())
        .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_physical_optimizer_rules(physical_rules())
        .build())
}
