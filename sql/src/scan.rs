//! The rows of a table, read from windows while operators ask for them.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::TryStreamExt;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tourbillon_query::QueryError;
use tourbillon_query::params::WindowParams;

use crate::table::Source;

/// Batches that are read ahead of the operators.
const READ_AHEAD: usize = 2;

/// Times that a window is opened whose files are replaced before its first row is read, and the pause
/// between: as for windows over HTTP.
const MAX_OPENS: u32 = 5;
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// One output partition of a scan: a window, or those of some partitions one after another.
#[derive(Debug)]
pub(crate) struct Scan {
    source: Arc<Source>,
    /// In order; empty if there is one window over all partitions.
    windows: Vec<WindowParams>,
    schema: SchemaRef,
}

impl Scan {
    /// A scan of these partitions; none means all of them, merged.
    pub(crate) fn new(
        source: Arc<Source>,
        params: &WindowParams,
        partitions: Vec<u32>,
        schema: &SchemaRef,
    ) -> Self {
        let of = |partition| WindowParams {
            partition: Some(partition),
            ..params.clone()
        };
        let windows: Vec<_> = partitions.into_iter().map(of).collect();
        Self {
            source,
            windows: match windows.is_empty() {
                true => vec![params.clone()],
                false => windows,
            },
            schema: Arc::clone(schema),
        }
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let mut stream = RecordBatchReceiverStream::builder(schema, READ_AHEAD);
        let reader = Reader {
            source: Arc::clone(&self.source),
            schema: Arc::clone(&self.schema),
            rows: stream.tx(),
        };
        let windows = self.windows.clone();
        let read = async move {
            for window in &windows {
                if !reader.read(window).await? {
                    break;
                }
            }
            Ok(())
        };
        stream.spawn_on(read, &self.source.sources.home);
        stream.build()
    }
}

struct Reader {
    source: Arc<Source>,
    schema: SchemaRef,
    rows: Sender<Result<RecordBatch>>,
}

impl Reader {
    /// Sends the rows of a window; whether anybody still wants rows.
    async fn read(&self, params: &WindowParams) -> Result<bool> {
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
    async fn attempt(&self, params: &WindowParams) -> Result<bool, (bool, QueryError)> {
        let query = &self.source.sources.query;
        let window = query.window(&self.source.def, params).await;
        let mut batches = window.map_err(|error| (false, error))?.batches;
        let mut begun = false;
        while let Some(batch) = batches.try_next().await.map_err(|error| (begun, error))? {
            let batch = self.seen(&batch).map_err(|error| (begun, error.into()))?;
            if self.rows.send(Ok(batch)).await.is_err() {
                return Ok(false);
            }
            begun = true;
        }
        Ok(true)
    }

    fn seen(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}
