//! The object store as one process sees it: slow, unreliable, and out of reach once it is dead.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::sleep;
use tourbillon_core::digest::Digest;
use tourbillon_lake::Lake;
use tourbillon_lake::faulty::{FaultyStore, StoreFault};

use super::gate::Gate;
use super::world::World;

/// A process's client of the store.
#[derive(Clone, Debug)]
pub(crate) struct ProcessStore {
    world: Arc<World>,
    gate: Arc<Gate>,
    inner: Arc<FaultyStore>,
}

impl ProcessStore {
    pub(crate) fn lake(world: &Arc<World>, gate: &Arc<Gate>) -> Lake {
        let sky = Arc::clone(world);
        let objects: Arc<dyn ObjectStore> =
            Arc::<object_store::memory::InMemory>::clone(&world.objects);
        let inner = FaultyStore::new(objects, move |_, _| {
            let weather = sky.weather();
            if sky.dice.chance(weather.no_effect) {
                return Some(StoreFault::NoEffect);
            }
            let lost = sky.dice.chance(weather.lost_answer);
            lost.then_some(StoreFault::LostAnswer)
        });
        let store = Self {
            world: Arc::clone(world),
            gate: Arc::clone(gate),
            inner: Arc::new(inner),
        };
        Lake::with_store(Arc::new(store), "sim://")
    }

    async fn travel(&self) {
        self.gate.pass().await;
        let slow = self.world.dice.chance(self.world.weather().slow);
        let delay = if slow { 10..2000 } else { 0..20 };
        sleep(self.world.dice.millis(delay)).await;
        self.gate.pass().await;
    }

    /// The answer travels back: the process may die before it arrives.
    async fn answer<T>(&self, result: Result<T>) -> Result<T> {
        self.gate.pass().await;
        result
    }

    /// Stores say in more than one way that an object is there.
    fn conflict(&self, error: Error) -> Error {
        let odd = self.world.weather().odd_conflict;
        match error {
            Error::AlreadyExists { path, source } if self.world.dice.chance(odd) => {
                if self.world.dice.chance(0.5) {
                    Error::Precondition { path, source }
                } else {
                    Error::Generic {
                        store: "409 conflict",
                        source,
                    }
                }
            }
            other => other,
        }
    }
}

impl fmt::Display for ProcessStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated store")
    }
}

#[async_trait]
impl ObjectStore for ProcessStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.travel().await;
        let digest = Digest::of(&Bytes::from(payload.clone()));
        let put = self.inner.put_opts(path, payload, options).await;
        let outcome = if put.is_ok() { "put" } else { "put failed" };
        self.world
            .trace
            .note(format_args!("{outcome} {path} {digest}"));
        self.answer(put.map_err(|error| self.conflict(error))).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.travel().await;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.travel().await;
        let got = self.inner.get_opts(path, options).await;
        self.answer(got).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.travel().await;
        let got = self.inner.get_ranges(path, ranges).await;
        self.answer(got).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let paths = paths.then(move |path| {
            let store = store.clone();
            async move {
                store.travel().await;
                path
            }
        });
        self.inner.delete_stream(paths.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = stream::once(async move {
            store.travel().await;
            let listed: Result<Vec<_>> = store.inner.list(prefix.as_ref()).try_collect().await;
            let mut listed = listed?;
            if store.world.dice.chance(store.world.weather().stale_list) {
                let unseen = store.world.dice.index(3);
                listed.truncate(listed.len().saturating_sub(unseen));
            }
            store.answer(Ok(())).await?;
            Ok::<_, Error>(stream::iter(listed.into_iter().map(Ok)))
        });
        listed.try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.travel().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.travel().await;
        self.inner.copy_opts(from, to, options).await
    }
}
