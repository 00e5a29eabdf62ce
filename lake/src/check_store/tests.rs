//! Stores that lack one thing, and what the check says of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tourbillon_core::report::Grade;

use super::*;

/// What a store lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It takes put-if-absent for put.
    IgnoresCondition,
    /// It looks first and writes a moment later.
    LooksThenWrites,
    /// It shows what was there before the newest write.
    ReadsLate,
    /// It lists nothing.
    ListsNothing,
    /// It gives the first bytes, whatever part is asked for.
    WrongRange,
    /// It keeps what is removed.
    KeepsAll,
}

#[derive(Debug)]
struct Careless(InMemory, Fault, AtomicBool);

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("careless")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Careless {
    async fn put_opts(
        &self,
        at: &Path,
        body: PutPayload,
        mut how: PutOptions,
    ) -> Result<PutResult> {
        match self.1 {
            Fault::IgnoresCondition => how.mode = PutMode::Overwrite,
            Fault::LooksThenWrites if how.mode == PutMode::Create => {
                if self.0.head(at).await.is_ok() {
                    return self.0.put_opts(at, body, how).await;
                }
                tokio::task::yield_now().await;
                how.mode = PutMode::Overwrite;
            }
            Fault::ReadsLate => self.2.store(true, Ordering::SeqCst),
            _ => {}
        }
        self.0.put_opts(at, body, how).await
    }
    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(at, options).await
    }
    async fn get_opts(&self, at: &Path, mut options: GetOptions) -> Result<GetResult> {
        if self.1 == Fault::ReadsLate && self.2.swap(false, Ordering::SeqCst) {
            return self.0.get_opts(&Path::from("nowhere"), options).await;
        }
        if self.1 == Fault::WrongRange
            && let Some(object_store::GetRange::Bounded(range)) = &mut options.range
        {
            *range = 0..range.end - range.start;
        }
        self.0.get_opts(at, options).await
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.1 {
            Fault::KeepsAll => paths,
            _ => self.0.delete_stream(paths),
        }
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.1 {
            Fault::ListsNothing => stream::empty().boxed(),
            _ => self.0.list(prefix),
        }
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

fn careless(fault: Fault) -> Lake {
    let store = Careless(InMemory::new(), fault, AtomicBool::new(false));
    Lake::with_store(Arc::new(store), "careless://")
}

#[tokio::test]
async fn a_start_refuses_a_store_where_more_than_one_wins() {
    for fault in [Fault::IgnoresCondition, Fault::LooksThenWrites] {
        let error = check_at_start(&careless(fault), "n").await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("careless:// does not put-if-absent"),
            "{error}"
        );
        assert!(matches!(
            error,
            LakeError::NotAtomic {
                winners: START_WRITERS,
                ..
            }
        ));
    }
}

#[tokio::test]
async fn each_fault_is_told_where_it_is() {
    for (fault, what, grade) in [
        (Fault::IgnoresCondition, PUT_IF_ABSENT, Grade::Broken),
        (Fault::LooksThenWrites, PUT_IF_ABSENT, Grade::Broken),
        (Fault::ReadsLate, "read after write", Grade::Broken),
        (Fault::ListsNothing, "list after write", Grade::Warning),
        (Fault::WrongRange, "range reads", Grade::Broken),
        (Fault::KeepsAll, "delete", Grade::Broken),
    ] {
        let report = check(&careless(fault), "n").await;
        let told = report.findings().iter();
        let told = told.filter(|f| f.what == what && f.grade == grade).count();
        assert!(told > 0, "{fault:?}: {report:?}");
        assert_eq!(report.is_sound(), grade == Grade::Warning, "{fault:?}");
    }
}

#[tokio::test]
async fn good_stores_pass_and_keep_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let local = Lake::open(folder.path().to_str().unwrap()).unwrap();
    for lake in [local, Lake::open("memory://").unwrap()] {
        check_at_start(&lake, "n").await.unwrap();
        let report = check(&lake, "n").await;
        let fine = |finding: &Finding| finding.grade == Grade::Fine;
        assert!(report.findings().iter().all(fine), "{report:?}");
        let left: Vec<ObjectMeta> = lake.store.list(None).try_collect().await.unwrap();
        assert_eq!(left, []);
    }
}

#[tokio::test]
async fn a_store_out_of_reach_is_no_store_that_breaks_a_promise() {
    use crate::faulty::{FaultyStore, StoreFault};
    let down = |_, _: &Path| Some(StoreFault::NoEffect);
    let store = FaultyStore::new(Arc::new(InMemory::new()), down);
    let lake = Lake::with_store(Arc::new(store), "down://");
    let error = check_at_start(&lake, "n").await.unwrap_err();
    assert_eq!(error.kind(), tourbillon_core::error::ErrorKind::Unavailable);
    assert!(!check(&lake, "n").await.is_sound());
    assert_eq!(lake.get(&Path::from("x")).await.ok(), None::<Option<Bytes>>);
}
