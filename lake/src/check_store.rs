//! Proof that a store puts if absent atomically; without it two workers could both commit.

use bytes::Bytes;
use futures::future::join_all;
use object_store::PutMode;
use object_store::path::Path;

use crate::error::LakeError;
use crate::store::Lake;

/// Writers that race for each object.
const WRITERS: usize = 8;

/// Objects raced for.
const ROUNDS: usize = 3;

/// Lets writers race for new objects below `check/{nonce}` and removes them again.
pub async fn check_put_if_absent(lake: &Lake, nonce: &str) -> Result<(), LakeError> {
    for round in 0..ROUNDS {
        let path = Path::from(format!("_check/{nonce}-{round}"));
        let race = (0..WRITERS).map(|writer| {
            let bytes = Bytes::from(format!("{nonce} {round} {writer}"));
            lake.put(&path, bytes, PutMode::Create)
        });
        let results = join_all(race).await;
        let winners = results.iter().filter(|result| result.is_ok()).count();
        let refused = |result: &Result<(), LakeError>| {
            let exists = object_store::Error::AlreadyExists {
                path: String::new(),
                source: "".into(),
            };
            matches!(result, Err(LakeError::Store { source, .. })
                if std::mem::discriminant(source) == std::mem::discriminant(&exists))
        };
        if let Some(other) = results.iter().position(|r| r.is_err() && !refused(r)) {
            if let Some(Err(error)) = results.into_iter().nth(other) {
                return Err(error);
            }
            continue;
        }
        lake.delete(&path).await?;
        if winners != 1 {
            let url = lake.url().to_owned();
            return Err(LakeError::NotAtomic {
                url,
                winners,
                writers: WRITERS,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn local_and_memory_stores_pass() {
        let folder = tempfile::tempdir().unwrap();
        let local = Lake::open(folder.path().to_str().unwrap()).unwrap();
        check_put_if_absent(&local, "n").await.unwrap();
        check_put_if_absent(&Lake::open("memory://").unwrap(), "n")
            .await
            .unwrap();
    }
}
