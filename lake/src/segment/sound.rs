//! Segments whose bytes were found to be those that their commit names.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStoreExt};
use tokio::sync::OnceCell;
use tourbillon_core::digest::Digest;
use tourbillon_core::manifest::SegmentMeta;

use crate::blocking::off_thread;
use crate::error::LakeError;
use crate::store::{Lake, store_error};

/// Segments remembered at most, by estimate 150 bytes each.
const MAX_KNOWN: usize = 65_536;

/// Parts of a download at least this large are hashed off the async thread.
const LARGE_BYTES: usize = 128 << 10;

/// The segments that were checked since the process began. Forgets the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sound {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// A cell is set once its segment was found sound; whoever reads it meanwhile waits for it.
    cells: HashMap<Digest, Arc<OnceCell<()>>>,
    order: VecDeque<Digest>,
}

impl Sound {
    fn cell(&self, key: Digest, most: usize) -> Arc<OnceCell<()>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = known.cells.get(&key) {
            return Arc::clone(cell);
        }
        if known.order.len() >= most
            && let Some(oldest) = known.order.pop_front()
        {
            known.cells.remove(&oldest);
        }
        known.order.push_back(key);
        Arc::clone(known.cells.entry(key).or_default())
    }
}

impl Lake {
    /// Fails unless the segment's bytes have the `file_hash` of its commit. The first call for a
    /// segment reads it once from front to back, in bounded memory; later calls of this process
    /// cost nothing, in a local folder a look at size and time of the file, which is read again if
    /// they changed. Calls for one segment at the same time share one reading.
    pub(crate) async fn check_segment(
        &self,
        path: &Path,
        meta: &SegmentMeta,
    ) -> Result<(), LakeError> {
        let mut identity = format!("{path}\n{}\n", meta.file_hash);
        if self.local.is_some() {
            let head = self.store.head(path).await;
            let head = head.map_err(|source| store_error("read", path, source))?;
            let changed = head.last_modified.timestamp_nanos_opt();
            identity = format!("{identity}{} {changed:?}", head.size);
        }
        let key = Digest::of(identity.as_bytes());
        let cell = self.sound.cell(key, MAX_KNOWN);
        cell.get_or_try_init(|| self.hash_segment(path, meta))
            .await?;
        Ok(())
    }

    async fn hash_segment(&self, path: &Path, meta: &SegmentMeta) -> Result<(), LakeError> {
        let failed = |source| store_error("read", path, source);
        let damaged = |reason: String| LakeError::Damaged {
            path: path.to_string(),
            reason,
        };
        let found = self.store.get(path).await.map_err(failed)?;
        let (size, said) = (found.meta.size, meta.bytes);
        if size != said {
            let reason = format!("it has {size} bytes and its commit says {said}");
            return Err(damaged(reason));
        }
        let digest = match found.payload {
            GetResultPayload::File(file, _) => hash_file(file).await,
            GetResultPayload::Stream(parts) => hash_parts(parts).await,
        };
        if digest.map_err(failed)? != meta.file_hash {
            let reason = "its bytes do not have the file_hash of its commit".to_owned();
            return Err(damaged(reason));
        }
        Ok(())
    }
}

async fn hash_file(file: File) -> Result<Digest, object_store::Error> {
    let hash = move || -> io::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        Ok(Digest(*hasher.finalize().as_bytes()))
    };
    off_thread(hash).await.map_err(broken)?.map_err(broken)
}

async fn hash_parts(
    mut parts: BoxStream<'static, Result<Bytes, object_store::Error>>,
) -> Result<Digest, object_store::Error> {
    let mut hasher = Box::new(blake3::Hasher::new());
    while let Some(part) = parts.try_next().await? {
        if part.len() < LARGE_BYTES {
            hasher.update(&part);
            continue;
        }
        let add = move || {
            hasher.update(&part);
            hasher
        };
        hasher = off_thread(add).await.map_err(broken)?;
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic {
        store: "file",
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let sound = Sound::default();
        let key = |i: u8| Digest::of(&[i]);
        for i in 0..5 {
            sound.cell(key(i), 3).set(()).unwrap();
        }
        let known = |i| sound.cell(key(i), 3).initialized();
        assert_eq!([4, 3, 2].map(known), [true; 3]);
        assert!(!known(1));
        assert_eq!(sound.known.lock().unwrap().cells.len(), 3);
        assert_eq!(sound.known.lock().unwrap().order.len(), 3);
    }
}
