//! Inputs of a merge that are decoded before it is their turn, each by a task of its own.

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tourbillon_lake::LakeError;

use crate::plan::Batches;

/// Batches that wait for the merge, beside the one that is being decoded.
const WAITING: usize = 1;

/// The same batches, decoded ahead. Dropping them stops it.
pub(crate) fn pumped(mut source: Batches) -> Batches {
    let (sender, receiver) = mpsc::channel(WAITING);
    let task = tokio::spawn(async move {
        while let Some(batch) = source.next().await {
            let last = batch.is_err();
            if sender.send(batch).await.is_err() || last {
                return;
            }
        }
    });
    let start = Some((receiver, AbortOnDropHandle::new(task)));
    let batches = stream::unfold(start, |state| async move {
        let (mut receiver, task) = state?;
        match receiver.recv().await {
            Some(batch) => Some((batch, Some((receiver, task)))),
            // a task that broke off has not given everything
            None => {
                let error = task.await.err()?;
                Some((Err(LakeError::Task(error).into()), None))
            }
        }
    });
    batches.boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use futures::TryStreamExt;

    use super::*;
    use crate::error::QueryError;

    fn empty() -> RecordBatch {
        RecordBatch::new_empty(Arc::new(Schema::empty()))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_batches_come_and_an_error_is_the_last() {
        let batches = pumped(stream::iter((0..10).map(|_| Ok(empty()))).boxed());
        assert_eq!(batches.try_collect::<Vec<_>>().await.unwrap().len(), 10);
        let broken = [Ok(empty()), Err(QueryError::Moved("x".into())), Ok(empty())];
        let found: Vec<_> = pumped(stream::iter(broken).boxed()).collect().await;
        assert_eq!(found.len(), 2);
        assert!(matches!(found[1], Err(QueryError::Moved(_))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_task_that_breaks_off_does_not_look_like_the_end() {
        let source = stream::iter(0..3).map(|i| {
            assert!(i < 2, "broken");
            Ok(empty())
        });
        let found: Vec<_> = pumped(source.boxed()).collect().await;
        assert_eq!(found.len(), 3);
        assert!(found[2].is_err());
    }
}
