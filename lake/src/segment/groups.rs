//! Decoding what is selected of a file, row group by row group, where there are filters several at a
//! time.
//!
//! Of rare keys each row group has few rows and takes as long to look through as any other. So row
//! groups are looked through ahead on other threads, as many at a time as there are cores, and what
//! they found waits in memory until its turn: a row group each at most, two for each core in the whole
//! process. What finds no free place is decoded when its turn comes.

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
use tokio::sync::Semaphore;
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
    /// The rows of some row groups, in order.
    pub(super) fn rows(
        &self,
        segment: Segment,
        read: SegmentRead,
        groups: Vec<(usize, RowSelection)>,
    ) -> Rows {
        let filtered = !read.keys.is_empty() || read.event.is_some();
        // on a runtime of one thread, whose order of events must not depend on threads, in turn
        let one_thread = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let ahead = if filtered && !one_thread {
            self.cores
        } else {
            1
        };
        let places = (ahead > 1).then(|| Arc::clone(&self.places));
        let group = move |(group, rows)| {
            let (segment, read) = (segment.clone(), read.clone());
            let places = places.clone();
            async move {
                let decoded = decoded(segment, read, group, rows);
                let place = places.and_then(|places| places.try_acquire_owned().ok());
                let Some(place) = place else {
                    return decoded;
                };
                let found = tokio::spawn(decoded.collect::<Vec<_>>());
                let found = AbortOnDropHandle::new(found).await;
                let found = found.unwrap_or_else(|error| vec![Err(LakeError::Task(error))]);
                let held = stream::iter(found).map(move |batch| {
                    let _place = &place;
                    batch
                });
                held.boxed()
            }
        };
        let groups = stream::iter(groups).map(group);
        match ahead {
            1 => groups.then(|rows| rows).flatten().boxed(),
            _ => groups.buffered(ahead).flatten().boxed(),
        }
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
