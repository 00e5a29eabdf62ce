//! Writers that race for one object.

use bytes::Bytes;
use futures::future::join_all;
use object_store::PutMode;
use object_store::path::Path;

use crate::error::LakeError;
use crate::store::Lake;

/// How a race ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Race {
    /// Writers that were told they had created the object.
    pub(super) winners: usize,
    /// Whether it holds what the first of them wrote.
    pub(super) holds_winner: bool,
}

/// Lets writers race for a new object and removes it again.
pub(super) async fn race(lake: &Lake, path: &Path, writers: usize) -> Result<Race, LakeError> {
    let puts = (0..writers).map(|writer| lake.put(path, body(writer), PutMode::Create));
    let results = join_all(puts).await;
    let held = lake.get(path).await;
    lake.delete(path).await?;
    let (mut winners, mut first) = (0, None);
    for (writer, result) in results.into_iter().enumerate() {
        match result {
            Ok(()) => {
                winners += 1;
                first.get_or_insert(writer);
            }
            Err(error) if error.is_already_there() => {}
            Err(error) => return Err(error),
        }
    }
    let held = held?;
    let holds_winner = first.is_some_and(|writer| held == Some(body(writer)));
    Ok(Race {
        winners,
        holds_winner,
    })
}

/// Whether the second of two writers, who come one after the other, is kept out.
pub(super) async fn one_after_the_other(lake: &Lake, path: &Path) -> Result<bool, LakeError> {
    lake.put(path, body(0), PutMode::Create).await?;
    match lake.put(path, body(1), PutMode::Create).await {
        Ok(()) => Ok(false),
        Err(error) if error.is_already_there() => Ok(lake.get(path).await? == Some(body(0))),
        Err(error) => Err(error),
    }
}

fn body(writer: usize) -> Bytes {
    format!("writer {writer}").into()
}
