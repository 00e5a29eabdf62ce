//! A store that fails as planned, for tests and simulation: it wraps another and asks a plan about
//! every call.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use thiserror::Error;

/// A call about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreCall {
    /// Writing an object.
    Put,
    /// Reading an object or ranges of it.
    Get,
    /// Listing.
    List,
    /// Removing an object.
    Delete,
}

/// How a call fails. Calls that only read fail alike either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// It fails and has no effect.
    NoEffect,
    /// It takes effect and fails all the same, like a lost answer.
    LostAnswer,
}

/// The cause given to calls that fail by plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("injected fault: {0:?}")]
pub struct InjectedFault(pub StoreFault);

type Plan = dyn Fn(StoreCall, &Path) -> Option<StoreFault> + Send + Sync;

/// A store whose calls fail as a plan says. Counts what is read. Cheap to clone.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Plan>,
    read_bytes: Arc<AtomicU64>,
}

impl FaultyStore {
    /// `inner` with the faults of `plan`, which is asked once a call.
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        plan: impl Fn(StoreCall, &Path) -> Option<StoreFault> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            plan: Arc::new(plan),
            read_bytes: Arc::default(),
        }
    }

    /// Bytes of objects read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Fails the call before it is made, or says whether to fail it afterwards.
    fn begin(&self, call: StoreCall, path: &Path) -> Result<Option<StoreFault>> {
        match (self.plan)(call, path) {
            Some(StoreFault::NoEffect) => Err(failed(StoreFault::NoEffect)),
            later => Ok(later),
        }
    }
}

fn failed(fault: StoreFault) -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: Box::new(InjectedFault(fault)),
    }
}

fn end<T>(fault: Option<StoreFault>, result: Result<T>) -> Result<T> {
    match fault {
        Some(fault) => result.and(Err(failed(fault))),
        None => result,
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyStore").field(&self.inner).finish()
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.begin(StoreCall::Put, path)?;
        end(fault, self.inner.put_opts(path, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.begin(StoreCall::Put, path)?;
        end(fault, self.inner.put_multipart_opts(path, options).await)
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.begin(StoreCall::Get, path)?;
        let head = options.head;
        let found = end(fault, self.inner.get_opts(path, options).await)?;
        if !head {
            let bytes = found.range.end - found.range.start;
            self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(found)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.begin(StoreCall::Get, path)?;
        let found = end(fault, self.inner.get_ranges(path, ranges).await)?;
        let bytes = found.iter().map(|part| part.len() as u64).sum();
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(found)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let paths = paths.map(move |path| {
            let path = path?;
            store.begin(StoreCall::Delete, &path)?;
            Ok(path)
        });
        self.inner.delete_stream(paths.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let root = Path::default();
        match self.begin(StoreCall::List, prefix.unwrap_or(&root)) {
            Ok(None) => self.inner.list(prefix),
            Ok(Some(fault)) => stream::once(async move { Err(failed(fault)) }).boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = Path::default();
        let fault = self.begin(StoreCall::List, prefix.unwrap_or(&root))?;
        end(fault, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fault = self.begin(StoreCall::Put, to)?;
        end(fault, self.inner.copy_opts(from, to, options).await)
    }
}
