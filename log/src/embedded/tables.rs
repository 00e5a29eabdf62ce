//! Damage in the lists of the folder's table and blob files, looked for before fjall opens them.
//!
//! fjall checks every block and blob that it reads. It does not check the lists that lead there,
//! and deletes the files that a list does not name; a bad length in one ends the process.
//!
//! ```text
//! current         = version u64, XXH3-128 of v<version>, 0
//! table or blob   = sections, contents, "SFA!", 1, 0, XXH3-128 of the contents,
//!                   where they begin u64, their length u64
//! ```
//!
//! Integers are little endian.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use crate::LogError;

/// Bytes behind the contents of a file of sections.
const TRAILER_BYTES: usize = 38;
const MAGIC: &[u8; 6] = b"SFA!\x01\x00";

/// Length of `current`.
const CURRENT_BYTES: usize = 25;

#[derive(Debug, Error)]
#[error("{0}; the file is left as it is, restore it from a copy")]
struct BadList(&'static str);

/// Checks the lists of every keyspace of the folder; changes nothing.
pub(super) fn check(folder: &Path) -> Result<(), LogError> {
    for tree in list(&folder.join("keyspaces"))? {
        check_version(&tree)?;
        for kind in ["tables", "blobs"] {
            for file in list(&tree.join(kind))? {
                check_contents(&file)?;
            }
        }
    }
    Ok(())
}

fn failed(path: &Path) -> impl Fn(io::Error) -> LogError {
    move |error| LogError::Open {
        path: path.to_owned(),
        source: Arc::new(error),
    }
}

fn damaged(path: &Path, what: &'static str) -> LogError {
    LogError::Damaged {
        path: path.to_owned(),
        source: Arc::new(BadList(what)),
    }
}

/// What is in a folder; nothing if there is no such folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, LogError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed(folder))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(failed(folder))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some).map_err(failed(path)),
    }
}

/// A keyspace that was not made to the end has no `current`.
fn check_version(tree: &Path) -> Result<(), LogError> {
    let path = tree.join("current");
    let Some(current) = read(&path)? else {
        return Ok(());
    };
    let Ok(current) = <[u8; CURRENT_BYTES]>::try_from(current) else {
        return Err(damaged(&path, "it has not the length that it must have"));
    };
    let (version, checksum) = (u64_at(&current, 0), u128_at(&current, 8));
    let list = tree.join(format!("v{version}"));
    match read(&list)? {
        None => Err(damaged(&path, "it names a version that is not there")),
        Some(bytes) if xxh3_128(&bytes) != checksum => {
            let what = "it does not have the checksum that the file `current` beside it tells";
            Err(damaged(&list, what))
        }
        Some(_) => Ok(()),
    }
}

/// A file without a trailer was not written to the end: nothing needs it, or fjall misses it.
fn check_contents(path: &Path) -> Result<(), LogError> {
    let sound = contents_are_sound(path).map_err(failed(path))?;
    if sound {
        return Ok(());
    }
    Err(damaged(path, "its contents do not have their checksum"))
}

fn contents_are_sound(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let Some(behind) = bytes.checked_sub(TRAILER_BYTES as u64) else {
        return Ok(true);
    };
    let mut trailer = [0; TRAILER_BYTES];
    file.seek(SeekFrom::Start(behind))?;
    file.read_exact(&mut trailer)?;
    if !trailer.starts_with(MAGIC) {
        return Ok(true);
    }
    let (from, length) = (u64_at(&trailer, 22), u64_at(&trailer, 30));
    if from.checked_add(length) != Some(behind) {
        return Ok(false);
    }
    let mut contents = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(length).read_to_end(&mut contents)?;
    Ok(xxh3_128(&contents) == u128_at(&trailer, 6))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let chunk = bytes[at..].first_chunk();
    chunk.copied().map_or(0, u64::from_le_bytes)
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    let chunk = bytes[at..].first_chunk();
    chunk.copied().map_or(0, u128::from_le_bytes)
}
