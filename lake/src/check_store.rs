//! Proof that a store puts if absent atomically; without it two workers could both commit.

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
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
    // all at once: a store that makes rivals wait would do so round after round
    try_join_all((0..ROUNDS).map(|round| race(lake, nonce, round)))
        .await
        .map(drop)
}

async fn race(lake: &Lake, nonce: &str, round: usize) -> Result<(), LakeError> {
    let path = Path::from(format!("_check/{nonce}-{round}"));
    let race = (0..WRITERS).map(|writer| {
        let bytes = Bytes::from(format!("{nonce} {round} {writer}"));
        lake.put(&path, bytes, PutMode::Create)
    });
    let results = join_all(race).await;
    let winners = results.iter().filter(|result| result.is_ok()).count();
    let refused =
        |result: &Result<(), LakeError>| result.as_ref().is_err_and(LakeError::is_already_there);
    let other = results.into_iter().find(|r| r.is_err() && !refused(r));
    if let Some(Err(error)) = other {
        return Err(error);
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
        PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    };

    use super::*;

    /// A store that takes put-if-absent for put.
    #[derive(Debug)]
    struct Careless(InMemory);

    impl std::fmt::Display for Careless {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("careless")
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Careless {
        async fn put_opts(&self, at: &Path, body: PutPayload, _: PutOptions) -> Result<PutResult> {
            self.0.put_opts(at, body, PutOptions::default()).await
        }
        async fn put_multipart_opts(
            &self,
            at: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(at, options).await
        }
        async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(at, options).await
        }
        fn delete_stream(
            &self,
            paths: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(paths)
        }
        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }
        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }
        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    #[tokio::test]
    async fn a_store_where_all_racers_win_is_refused() {
        let lake = Lake::with_store(Arc::new(Careless(InMemory::new())), "careless://");
        let error = check_put_if_absent(&lake, "n").await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("careless:// does not put-if-absent"),
            "{error}"
        );
        assert!(matches!(
            error,
            LakeError::NotAtomic {
                winners: WRITERS,
                ..
            }
        ));
    }

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
