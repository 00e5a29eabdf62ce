//! The rows of a table, read from windows while operators ask for them.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::TryStreamExt;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tourbillon_core::time::format_time_ns;
use tourbillon_query::QueryError;
use tourbillon_query::params::WindowParams;

use crate::table::Source;

/// Batches that are read ahead of the operators.
const READ_AHEAD: usize = 2;

/// Times that a window is opened whose files are replaced before its first row is read, and the pause
/// between: as for windows over HTTP.
const MAX_OPENS: u32 = 5;
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// Reads a table: output partition by output partition, each some windows one after another.
#[derive(Clone, Debug)]
pub(crate) struct ScanExec {
    source: Arc<Source>,
    lanes: Vec<Vec<WindowParams>>,
    /// Most rows of an output partition.
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    /// A scan with an output partition for each of `lanes`, which has rows of `schema` in this order.
    /// Columns that a window reads and the schema has not are left out.
    pub(crate) fn new(
        source: Arc<Source>,
        lanes: Vec<Vec<WindowParams>>,
        schema: SchemaRef,
        ordering: Option<LexOrdering>,
        fetch: Option<usize>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, ordering),
            Partitioning::UnknownPartitioning(lanes.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        // rows come through a queue of tokio, which yields by itself
        let properties = properties.with_scheduling_type(SchedulingType::Cooperative);
        Self {
            source,
            lanes,
            fetch,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(
        &self,
        _format: DisplayFormatType,
        f: &mut std::fmt::Formatter<'_>,
    ) -> std::fmt::Result {
        let (stream, lanes) = (&self.source.def.name, self.lanes.len());
        write!(f, "ScanExec: stream={stream}, lanes={lanes}")?;
        let Some(window) = self.lanes.iter().flatten().next() else {
            return Ok(());
        };
        write!(f, ", columns=[{}]", window.columns.join(", "))?;
        if window.start > 0 {
            write!(f, ", start={}", format_time_ns(window.start))?;
        }
        if let Some(end) = window.end {
            write!(f, ", end={}", format_time_ns(end))?;
        }
        for key in &window.keys {
            write!(f, ", {} in {:?}", key.column, key.values)?;
        }
        if let Some(ordering) = self.properties.output_ordering() {
            write!(f, ", ordering=[{ordering}]")?;
        }
        if let Some(fetch) = self.fetch {
            write!(f, ", fetch={fetch}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &'static str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let limited = Self {
            fetch,
            ..self.clone()
        };
        Some(Arc::new(limited))
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let windows = self.lanes.get(partition).cloned().unwrap_or_default();
        let mut stream = RecordBatchReceiverStream::builder(self.schema(), READ_AHEAD);
        let mut reader = Reader {
            source: Arc::clone(&self.source),
            schema: self.schema(),
            rows: stream.tx(),
            left: self.fetch.unwrap_or(usize::MAX),
        };
        let read = async move {
            for window in &windows {
                if !reader.read(window).await? {
                    break;
                }
            }
            Ok(())
        };
        stream.spawn_on(read, &self.source.sources.home);
        Ok(stream.build())
    }
}

struct Reader {
    source: Arc<Source>,
    schema: SchemaRef,
    rows: Sender<Result<RecordBatch>>,
    /// Rows that are still wanted.
    left: usize,
}

impl Reader {
    /// Sends the rows of a window; whether anybody still wants rows.
    async fn read(&mut self, params: &WindowParams) -> Result<bool> {
        let mut opened = 1;
        loop {
            match self.attempt(params).await {
                Err((false, QueryError::Moved(_))) if opened < MAX_OPENS => {
                    sleep(REOPEN_PAUSE).await;
                }
                Err((_, error)) => return Err(DataFusionError::External(Box::new(error))),
                Ok(wanted) => return Ok(wanted),
            }
            opened += 1;
        }
    }

    /// Reads once; an error comes with whether rows were sent before it.
    async fn attempt(&mut self, params: &WindowParams) -> Result<bool, (bool, QueryError)> {
        if self.left == 0 {
            return Ok(false);
        }
        let query = &self.source.sources.query;
        let window = query.window(&self.source.def, params).await;
        let mut batches = window.map_err(|error| (false, error))?.batches;
        let mut begun = false;
        while let Some(batch) = batches.try_next().await.map_err(|error| (begun, error))? {
            let batch = batch.slice(0, batch.num_rows().min(self.left));
            self.left -= batch.num_rows();
            let batch = self.seen(&batch).map_err(|error| (begun, error.into()))?;
            if self.rows.send(Ok(batch)).await.is_err() || self.left == 0 {
                return Ok(false);
            }
            begun = true;
        }
        Ok(true)
    }

    /// The rows as the operators know them.
    fn seen(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &rows)
    }
}
