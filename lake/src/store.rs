//! The object store behind the lake, and the few operations the lake needs of it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tourbillon_core::digest::{Digest, file_digest};
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::{RejectsMeta, SegmentMeta};
use tourbillon_core::sealer::RejectedFrame;
use url::Url;

use crate::blocking::off_thread;
use crate::error::LakeError;
use crate::metrics;
use crate::rejects::{decode_rejects, encode_rejects};
use crate::segment::footers::Footers;
use crate::segment::groups::Ahead;
use crate::segment::slices::{DEFAULT_BYTES, Slices};
use crate::segment::sound::Sound;
use crate::segment::verify::verify_segment;
use crate::segment::write::EncodedSegment;

/// A store that holds streams. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lake {
    pub(crate) store: Arc<dyn ObjectStore>,
    url: Arc<str>,
    /// Folder of a local store, whose files must be flushed by hand.
    pub(crate) local: Option<Arc<PathBuf>>,
    pub(crate) sound: Arc<Sound>,
    pub(crate) footers: Arc<Footers>,
    pub(crate) slices: Arc<Slices>,
    pub(crate) ahead: Ahead,
}

impl Lake {
    /// Opens `file://`, `memory://`, `s3://`, and with the cargo features `gs://` and `az://`; a
    /// plain path is a local folder, made if absent. Credentials and endpoints come from the
    /// environment variables that the vendors' own tools read, like `AWS_ENDPOINT`.
    pub fn open(url: &str) -> Result<Self, LakeError> {
        let failed = |reason: String| LakeError::Open {
            url: url.to_owned(),
            reason,
        };
        if !url.contains("://") {
            return Self::open_folder(PathBuf::from(url));
        }
        let parsed = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        match parsed.scheme() {
            "file" => {
                let path = parsed.to_file_path();
                Self::open_folder(path.map_err(|()| failed("not a file path".into()))?)
            }
            "memory" => Ok(Self::with_store(Arc::new(InMemory::new()), url)),
            _ => {
                let (store, path) = object_store::parse_url_opts(&parsed, vendor_options())
                    .map_err(|error| failed(error.to_string()))?;
                Ok(Self::with_store(
                    Arc::new(PrefixStore::new(store, path)),
                    url,
                ))
            }
        }
    }

    /// A lake on a store made elsewhere; `url` names it in messages.
    pub fn with_store(store: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self {
            store,
            url: url.into(),
            local: None,
            sound: Arc::default(),
            footers: Arc::default(),
            slices: Arc::new(Slices::new(DEFAULT_BYTES)),
            ahead: Ahead::default(),
        }
    }

    /// The same lake with so much memory for decoded rows of small windows.
    #[must_use]
    pub fn keeping(mut self, bytes: u64) -> Self {
        self.slices = Arc::new(Slices::new(bytes));
        self
    }

    fn open_folder(folder: PathBuf) -> Result<Self, LakeError> {
        let url = folder.display().to_string();
        let failed = |reason: String| LakeError::Open {
            url: url.clone(),
            reason,
        };
        std::fs::create_dir_all(&folder).map_err(|error| failed(error.to_string()))?;
        let folder = folder
            .canonicalize()
            .map_err(|error| failed(error.to_string()))?;
        let store =
            LocalFileSystem::new_with_prefix(&folder).map_err(|error| failed(error.to_string()))?;
        let local = Some(Arc::new(folder));
        Ok(Self {
            local,
            ..Self::with_store(Arc::new(store), &url)
        })
    }

    /// Where the lake is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stores a segment and returns what its commit must say of it. A file that is already there
    /// under the same name, and so with the same rows, stays as it is, whoever made it: another
    /// worker's commit may name it. Where another release's encoder made it, its digest differs.
    pub async fn put_segment(
        &self,
        stream: &StreamName,
        segment: &EncodedSegment,
    ) -> Result<SegmentMeta, LakeError> {
        let path = object_path(stream, &segment.meta.name);
        let put = self.put(&path, segment.bytes.clone(), PutMode::Create);
        match put.await {
            Err(error) if error.is_already_there() => {}
            put => {
                put?;
                metrics::put("segment", segment.bytes.len());
                return Ok(segment.meta.clone());
            }
        }
        if let Some(found) = self.get(&path).await? {
            let (file_hash, pieces) = file_digest(&found);
            let meta = SegmentMeta {
                file_hash,
                pieces,
                bytes: found.len() as u64,
                ..segment.meta.clone()
            };
            let (name, described) = (path.to_string(), meta.clone());
            let verify = move || verify_segment(&name, &found, &described);
            let sound = meta == segment.meta || off_thread(verify).await.is_ok_and(|v| v.is_ok());
            if sound {
                self.flush(&path).await?;
                return Ok(meta);
            }
            tracing::warn!(%path, "a damaged segment that stood here is replaced");
        }
        self.put(&path, segment.bytes.clone(), PutMode::Overwrite)
            .await?;
        metrics::put("segment", segment.bytes.len());
        Ok(segment.meta.clone())
    }

    /// Reads a segment whole.
    pub async fn get_segment(&self, stream: &StreamName, name: &str) -> Result<Bytes, LakeError> {
        let path = object_path(stream, name);
        self.get(&path).await?.ok_or_else(|| LakeError::Absent {
            path: path.to_string(),
        })
    }

    /// Reads refused frames back.
    pub async fn get_rejects(
        &self,
        stream: &StreamName,
        meta: &RejectsMeta,
    ) -> Result<Vec<RejectedFrame>, LakeError> {
        let bytes = self.get_segment(stream, &meta.name).await?;
        let path = object_path(stream, &meta.name).to_string();
        if Digest::of(&bytes) != meta.file_hash {
            let reason = "its bytes do not have the file_hash of its commit".into();
            return Err(LakeError::Damaged { path, reason });
        }
        decode_rejects(&path, bytes)
    }

    /// Stores refused frames beside the data.
    pub async fn put_rejects(
        &self,
        stream: &StreamName,
        partition: PartitionId,
        seq: u64,
        frames: &[RejectedFrame],
    ) -> Result<RejectsMeta, LakeError> {
        let (meta, bytes) = encode_rejects(partition, seq, frames);
        metrics::put("rejects", bytes.len());
        self.put(&object_path(stream, &meta.name), bytes, PutMode::Overwrite)
            .await?;
        Ok(meta)
    }

    pub(crate) async fn put(
        &self,
        path: &Path,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<(), LakeError> {
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        let put = self
            .store
            .put_opts(path, PutPayload::from(bytes), options)
            .await;
        put.map_err(|source| store_error("write", path, source))?;
        self.flush(path).await
    }

    /// The local store leaves flushing to the operating system; a commit must outlive a power cut,
    /// and so must the folders that lead to it.
    pub(crate) async fn flush(&self, path: &Path) -> Result<(), LakeError> {
        let Some(folder) = &self.local else {
            return Ok(());
        };
        let (folder, path_text) = (Arc::clone(folder), path.to_string());
        let flushed = tokio::task::spawn_blocking(move || {
            let file = folder.join(path_text);
            let within = |at: &&std::path::Path| at.starts_with(&*folder);
            file.ancestors()
                .take_while(within)
                .try_for_each(|at| std::fs::File::open(at)?.sync_all())
        });
        let flushed = flushed
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        flushed.map_err(|source| LakeError::Sync {
            path: path.to_string(),
            source,
        })
    }

    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, LakeError> {
        let read = match self.store.get(path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(store_error("read", path, source)),
        }
    }

    /// Objects below `prefix` whose paths lie behind `after`.
    pub(crate) async fn list_after(
        &self,
        prefix: &Path,
        after: Option<&Path>,
    ) -> Result<Vec<Path>, LakeError> {
        let listing = match after {
            None => self.store.list(Some(prefix)),
            Some(after) => self.store.list_with_offset(Some(prefix), after),
        };
        let listed = listing.map_ok(|meta| meta.location).try_collect().await;
        listed.map_err(|source| store_error("list", prefix, source))
    }

    /// Removes an object; one that is not there is fine.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), LakeError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(store_error("delete", path, source)),
        }
    }
}

pub(crate) fn store_error(
    action: &'static str,
    path: &Path,
    source: object_store::Error,
) -> LakeError {
    LakeError::Store {
        action,
        path: path.to_string(),
        source,
    }
}

/// What the vendors' own tools read from the environment. Other variables must not pass: a plain
/// `TOKEN` or `REGION` would be taken for an option of the store.
fn vendor_options() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| {
        let key = key.into_string().ok()?.to_ascii_lowercase();
        let vendors = ["aws_", "google_", "azure_"];
        let known = vendors.iter().any(|vendor| key.starts_with(vendor));
        known.then(|| Some((key, value.into_string().ok()?)))?
    })
}

/// Full path of an object below a stream's folder.
pub(crate) fn object_path(stream: &StreamName, name: &str) -> Path {
    // object_store escapes nothing in `from_iter` segments that names of ours can hold
    Path::from_iter(std::iter::once(stream.as_str()).chain(name.split('/')))
}

#[cfg(test)]
mod tests;
