//! Running a statement on the threads for operators, and handing its rows over.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tourbillon_core::hlc::Hlc;

use crate::error::SqlError;
use crate::metrics;
use crate::output;
use crate::prepare::Prepared;
use crate::service::{Answer, Core, SqlService};
use crate::snapshots::Snapshots;
use crate::statement::Statement;

/// Batches that wait for their reader.
const QUEUED: usize = 2;

/// Times that a statement is run whose files are replaced before its first row, and the pause between.
const MAX_RUNS: u32 = 3;
const RERUN_PAUSE: Duration = Duration::from_millis(200);

/// What is known of an answer before its rows.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) schema: SchemaRef,
    pub(crate) snapshots: Snapshots,
    pub(crate) complete_through: Option<Hlc>,
}

impl Head {
    fn of(prepared: &Prepared) -> Self {
        Self {
            schema: Arc::clone(&prepared.schema),
            snapshots: prepared.snapshots.clone(),
            complete_through: prepared.complete_through,
        }
    }
}

enum Piece {
    Rows(RecordBatch),
    /// All rows were sent: a queue that closes without it was broken off.
    End,
}

/// Where an answer goes.
struct Reply {
    head: Option<oneshot::Sender<Result<Head, SqlError>>>,
    pieces: mpsc::Sender<Result<Piece, SqlError>>,
    rows: u64,
}

/// Nobody takes the answer any more.
struct Gone;

impl SqlService {
    /// Runs a statement: answers once there are first rows, or none.
    ///
    /// # Errors
    /// What is wrong with the statement, what it may not use, or what is out of reach. Errors after the
    /// first rows come among them.
    pub async fn run(&self, statement: Statement) -> Result<Answer, SqlError> {
        let seat = self.seat()?;
        let limit = self.core.settings.timeout;
        let until = Instant::now() + limit;
        let (head, headed) = oneshot::channel();
        let (pieces, rows) = mpsc::channel(QUEUED);
        let reply = Reply {
            head: Some(head),
            pieces,
            rows: 0,
        };
        let job = job(Arc::clone(&self.core), statement, reply, seat, until);
        let task = self.spawn(job)?;
        // watched from here too: an operator may compute for long before it lets its own watch look
        let head = timeout_at(until, headed).await;
        let head = head.map_err(|_| SqlError::TimedOut(limit))?;
        let head = head.unwrap_or(Err(SqlError::Broken))?;
        let pieces = stream::try_unfold((rows, task), move |(mut rows, task)| async move {
            let piece = timeout_at(until, rows.recv()).await;
            match piece.map_err(|_| SqlError::TimedOut(limit))? {
                Some(Ok(Piece::Rows(batch))) => Ok(Some((batch, (rows, task)))),
                Some(Ok(Piece::End)) => Ok(None),
                Some(Err(error)) => Err(error),
                None => Err(SqlError::Broken),
            }
        });
        Ok(Answer {
            schema: head.schema,
            snapshots: head.snapshots,
            complete_through: head.complete_through,
            batches: pieces.boxed(),
        })
    }

    /// Plans a statement without running it: its columns and the snapshots it would be run under.
    pub(crate) async fn describe(&self, statement: Statement) -> Result<Head, SqlError> {
        let seat = self.seat()?;
        let core = Arc::clone(&self.core);
        let limit = core.settings.timeout;
        let job = async move {
            let prepared = core.prepare(&statement).await;
            drop(seat);
            Ok(Head::of(&prepared?))
        };
        let planned = timeout_at(Instant::now() + limit, self.spawn(job)?).await;
        let planned = planned.map_err(|_| SqlError::TimedOut(limit))?;
        planned.unwrap_or(Err(SqlError::Broken))
    }

    fn seat(&self) -> Result<OwnedSemaphorePermit, SqlError> {
        let seat = Arc::clone(&self.seats).try_acquire_owned();
        seat.map_err(|_| SqlError::Busy(self.core.settings.concurrency))
    }

    fn spawn<T: Send + 'static>(
        &self,
        job: impl Future<Output = T> + Send + 'static,
    ) -> Result<AbortOnDropHandle<T>, SqlError> {
        let workers = self.workers.handle().ok_or(SqlError::Stopping)?;
        Ok(AbortOnDropHandle::new(workers.spawn(job)))
    }
}

/// Counts a statement even if it is dropped before its end.
struct Tally {
    begun: Instant,
    outcome: &'static str,
    rows: u64,
}

impl Drop for Tally {
    fn drop(&mut self) {
        metrics::ended(self.outcome, self.rows, self.begun.elapsed());
    }
}

async fn job(
    core: Arc<Core>,
    statement: Statement,
    mut reply: Reply,
    seat: OwnedSemaphorePermit,
    until: Instant,
) {
    let mut tally = Tally {
        begun: Instant::now(),
        outcome: "gone",
        rows: 0,
    };
    let limit = core.settings.timeout;
    let performed = timeout_at(until, Box::pin(core.perform(&statement, &mut reply))).await;
    // its place is free before its reader may ask for the next
    drop(seat);
    tally.rows = reply.rows;
    let error = match performed {
        Ok(Ok(Ok(()))) => {
            tally.outcome = "done";
            return reply.end().await;
        }
        Ok(Ok(Err(Gone))) => return,
        Ok(Err(error)) => error,
        Err(_) => SqlError::TimedOut(limit),
    };
    tally.outcome = match &error {
        SqlError::TimedOut(_) => "timed_out",
        error => error.kind().as_str(),
    };
    reply.fail(error);
}

impl Core {
    /// Sends the rows of a statement, but not that they are all.
    async fn perform(
        &self,
        statement: &Statement,
        reply: &mut Reply,
    ) -> Result<Result<(), Gone>, SqlError> {
        let prepared = self.prepare(statement).await?;
        let (first, mut rest) = begin(&prepared).await?;
        if reply.begin(Head::of(&prepared)).is_err() {
            return Ok(Err(Gone));
        }
        let mut next = first;
        while let Some(batch) = next {
            reply.rows += batch.num_rows() as u64;
            if reply.rows > self.settings.max_rows {
                return Err(SqlError::TooManyRows(self.settings.max_rows));
            }
            let batch = output::rows(&prepared.schema, &batch);
            let batch = batch.map_err(|error| SqlError::Statement(error.into()))?;
            if batch.num_rows() > 0 && reply.rows(batch).await.is_err() {
                return Ok(Err(Gone));
            }
            next = rest.try_next().await.map_err(SqlError::Statement)?;
        }
        Ok(Ok(()))
    }
}

/// Runs a plan until its first rows are there.
async fn begin(
    prepared: &Prepared,
) -> Result<(Option<RecordBatch>, SendableRecordBatchStream), SqlError> {
    let mut runs = 1;
    loop {
        let plan = prepared.physical().await?;
        let begun = async {
            let mut rows = execute_stream(plan, prepared.context())?;
            Ok((rows.try_next().await?, rows))
        };
        match begun.await.map_err(SqlError::Statement) {
            Err(error) if error.is_moved() && runs < MAX_RUNS => sleep(RERUN_PAUSE).await,
            begun => return begun,
        }
        runs += 1;
    }
}

impl Reply {
    fn begin(&mut self, head: Head) -> Result<(), Gone> {
        let waiting = self.head.take().ok_or(Gone)?;
        waiting.send(Ok(head)).map_err(|_| Gone)
    }

    async fn rows(&self, batch: RecordBatch) -> Result<(), Gone> {
        let sent = self.pieces.send(Ok(Piece::Rows(batch))).await;
        sent.map_err(|_| Gone)
    }

    async fn end(self) {
        let _reader_gone = self.pieces.send(Ok(Piece::End)).await;
    }

    /// Tells an error: in place of the answer, or within it. A reader that does not read finds the
    /// queue closed.
    fn fail(mut self, error: SqlError) {
        match self.head.take() {
            Some(head) => {
                let _reader_gone = head.send(Err(error));
            }
            None => {
                let _reader_slow = self.pieces.try_send(Err(error));
            }
        }
    }
}
