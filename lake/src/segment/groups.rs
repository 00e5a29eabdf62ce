//! Decoding what is selected of a file, row group by row group, where there are filters several at a
//! time.
//!
//! Of rare keys each row group has few rows and takes as long to look through as any other. So row
//! groups are looked through ahead on other threads, as many at a time as there are cores, and what
//! they found waits in memory until its turn: a row group each at most, two for each core in the whole
//! process. What finds no free place is decoded when its turn comes.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::available_parallelism;

use arrow::array::RecordBatch;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use parquet::arrow::arrow_reader::RowSelection;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use super::open::{Segment, checked, failed};
use super::read::SegmentRead;
use crate::error::LakeError;

type Rows = BoxStream<'static, Result<RecordBatch, LakeError>>;

/// Places for row groups that are looked through ahead.
#[derive(Clone, Debug)]
pub(crate) struct Ahead {
    places: Arc<Semaphore>,
    cores: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        // one being looked through and one being given, for each
        let places = Arc::new(Semaphore::new(2 * cores));
        Self { places, cores }
    }
}

impl Ahead {
    /// The rows of parts of row groups, in order. Where it may look ahead, it begins at once.
    pub(super) fn rows(
        &self,
        segment: Segment,
        read: SegmentRead,
        parts: Vec<(usize, RowSelection)>,
    ) -> Rows {
        let filtered = !read.keys.is_empty() || read.event.is_some();
        // on a runtime of one thread, whose order of events must not depend on threads, in turn
        let one_thread = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let ahead = read.ahead && filtered && !one_thread;
        let parts = parts.into_iter();
        if !ahead {
            let decode = move |(group, rows)| decoded(segment.clone(), read.clone(), group, rows);
            return stream::iter(parts.map(decode)).flatten().boxed();
        }
        let mut line = Line {
            ahead: self.clone(),
            segment,
            read,
            parts,
            begun: VecDeque::new(),
        };
        line.begin();
        let rows = stream::unfold(line, |mut line| async move {
            let rows = line.begun.pop_front()?.rows().await;
            line.begin();
            Some((rows, line))
        });
        rows.flatten().boxed()
    }
}

/// Parts of a file that wait for their turn, and those that have begun.
struct Line {
    ahead: Ahead,
    segment: Segment,
    read: SegmentRead,
    parts: std::vec::IntoIter<(usize, RowSelection)>,
    begun: VecDeque<Begun>,
}

impl Line {
    fn begin(&mut self) {
        while self.begun.len() < self.ahead.cores
            && let Some((group, rows)) = self.parts.next()
        {
            let rows = decoded(self.segment.clone(), self.read.clone(), group, rows);
            let place = Arc::clone(&self.ahead.places).try_acquire_owned();
            self.begun.push_back(match place {
                Ok(place) => {
                    let found = AbortOnDropHandle::new(tokio::spawn(rows.collect()));
                    Begun::Elsewhere(found, place)
                }
                Err(_) => Begun::Here(rows),
            });
        }
    }
}

/// A part that has begun.
enum Begun {
    Elsewhere(
        AbortOnDropHandle<Vec<Result<RecordBatch, LakeError>>>,
        OwnedSemaphorePermit,
    ),
    Here(Rows),
}

impl Begun {
    async fn rows(self) -> Rows {
        let (found, place) = match self {
            Self::Here(rows) => return rows,
            Self::Elsewhere(found, place) => (found.await, place),
        };
        let found = found.unwrap_or_else(|error| vec![Err(LakeError::Task(error))]);
        let held = stream::iter(found).map(move |batch| {
            let _place = &place;
            batch
        });
        held.boxed()
    }
}

/// The wanted rows of a row group.
fn decoded(segment: Segment, read: SegmentRead, group: usize, rows: RowSelection) -> Rows {
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(
        segment.reader.clone(),
        segment.footer.clone(),
    );
    let name = Arc::clone(&segment.name);
    let batches = match read.plan(builder.with_row_groups(vec![group]), rows) {
        Ok(batches) => batches,
        Err(source) => return stream::iter([Err(failed(&name, source))]).boxed(),
    };
    let batches = AssertUnwindSafe(batches).catch_unwind().then(move |batch| {
        let trimmed = checked(&name, batch).and_then(|batch| {
            let trimmed = read.trim(&batch);
            trimmed.map_err(|error| failed(&name, ParquetError::from(error)))
        });
        // decoding waits for nothing while a row group is at hand: let others run
        tokio::task::yield_now().map(|()| trimmed)
    });
    batches.boxed()
}

/// A selection of rows of a file by row group, without those of which nothing is selected.
pub(super) fn by_group(segment: &Segment, mut rows: RowSelection) -> Vec<(usize, RowSelection)> {
    let groups = segment.footer.metadata().row_groups().iter().enumerate();
    let cut = groups.filter_map(|(number, group)| {
        let count = usize::try_from(group.num_rows()).unwrap_or(0);
        let own = rows.split_off(count);
        own.selects_any().then_some((number, own))
    });
    cut.collect()
}
