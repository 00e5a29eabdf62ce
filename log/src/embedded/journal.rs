//! Damage in the journals of the folder, looked for before fjall opens them.
//!
//! fjall cuts a journal at the first place that it cannot read, whatever stands behind. That is
//! right for a write that a crash cut short, and loses acknowledged records if a byte went bad. The
//! two can be told apart: the committer flushes every batch before it writes the next, so behind a
//! batch that was cut short stands nothing, and its end marker was not written.
//!
//! ```text
//! batch = 1, item count u32, seqno u64, items, 3, XXH3 of the items u64, "FJL\x03"
//! item  = 2, type u8, compression u8, keyspace u64, key length u16, value length u32,
//!         stored length u32, key, value
//! clear = 4, keyspace u64
//! ```
//!
//! Integers are little endian. A new journal is 64 MiB of zeros, written from the front.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::LogError;

/// The last bytes of a batch.
const MAGIC: &[u8; 4] = b"FJL\x03";

/// Bytes of an end marker: tag, checksum, magic.
const END_BYTES: usize = 13;

/// Bytes of a batch before its items.
const START_BYTES: usize = 13;

/// Bytes of an item before its key.
const ITEM_HEADER_BYTES: usize = 21;

/// No log lives to see so many batches.
const MAX_SEQNO: u64 = 1 << 48;

/// fjall's own lock file.
const LOCK_FILE: &str = "lock";

/// How often, and how far apart, a held lock is tried: a log that was just dropped lets go late.
const LOCK_TRIES: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Where the journals' records end, by keyspace and the first 8 bytes of the key.
pub(super) type Ends = BTreeMap<(u64, [u8; 8]), End>;

/// The highest offset that a journal holds of a partition.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) last: u64,
    pub(super) journal: Arc<Path>,
}

#[derive(Debug, Error)]
#[error(
    "the batch at byte {at} of {bytes} cannot be read and is no write that a crash cut short: \
     records that were acknowledged would be lost. The file is left as it is; restore it from a \
     copy. If the machine lost power during a write and nothing else happened, cut the file at \
     that byte"
)]
struct BadBatch {
    at: usize,
    bytes: usize,
}

/// Reads every journal of the folder. Damage is an error that names the journal and changes no
/// file. A write that was cut short is cut off, a whole batch that lacks only its end is given it,
/// so the lock must be held. Costs a read of the journals, 64 MiB most of the time.
pub(super) fn check(folder: &Path) -> Result<Ends, LogError> {
    let mut ends = Ends::new();
    let mut journals = Vec::new();
    let mut seqno = 0;
    for path in list(folder).map_err(|error| failed(folder, error))? {
        let open = || -> io::Result<(File, Vec<u8>)> {
            let mut file = File::options().read(true).write(true).open(&path)?;
            let data = read_data(&mut file)?;
            Ok((file, data))
        };
        let (file, data) = open().map_err(|error| failed(&path, error))?;
        let (at, tail) = walk(&path, &data, &mut seqno, &mut ends);
        if matches!(tail, Tail::Bad) {
            let bytes = data.len();
            return Err(LogError::Damaged {
                path,
                source: Arc::new(BadBatch { at, bytes }),
            });
        }
        journals.push((path, file, at, tail));
    }
    // only now, when all of them are known to be sound
    for (path, mut file, at, tail) in journals {
        mend(&path, &mut file, at, tail).map_err(|error| failed(&path, error))?;
    }
    Ok(ends)
}

fn failed(path: &Path, error: io::Error) -> LogError {
    LogError::Open {
        path: path.to_owned(),
        source: Arc::new(error),
    }
}

/// Keeps other processes out while the files are looked at; none if there is no log yet.
#[expect(
    clippy::disallowed_methods,
    reason = "opening blocks, and fjall sleeps alike for the same lock"
)]
pub(super) fn lock(folder: &Path) -> Result<Option<File>, LogError> {
    let path = folder.join(LOCK_FILE);
    let file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path, error)),
    };
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
        }
    }
    Err(LogError::Locked {
        path: folder.to_owned(),
    })
}

/// The journals, oldest first.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str());
        let number = number.and_then(|name| name.strip_suffix(".jnl")?.parse::<u64>().ok());
        if let Some(number) = number {
            journals.insert(number, path);
        }
    }
    Ok(journals.into_values().collect())
}

/// The bytes of a journal up to its last that is not zero; most of a young one is zeros.
fn read_data(file: &mut File) -> io::Result<Vec<u8>> {
    const ZEROS: &[u8] = &[0; 1 << 20];
    let mut end = file.metadata()?.len();
    let mut step = Vec::new();
    while end > 0 {
        let from = end.saturating_sub(ZEROS.len() as u64);
        read_at(file, from, end - from, &mut step)?;
        if !ZEROS.starts_with(&step) {
            let zeros = step.iter().rev().take_while(|byte| **byte == 0).count();
            end -= zeros as u64;
            break;
        }
        end = from;
    }
    let mut data = Vec::new();
    read_at(file, 0, end, &mut data)?;
    Ok(data)
}

fn read_at(file: &mut File, from: u64, bytes: u64, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    file.seek(SeekFrom::Start(from))?;
    into.reserve_exact(usize::try_from(bytes).map_err(io::Error::other)?);
    (&*file).take(bytes).read_to_end(into)?;
    Ok(())
}

/// What stands behind the last batch that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// Nothing.
    Clean,
    /// A write that was cut short.
    Torn,
    /// A batch that lacks only the end marker that belongs at `end`.
    Unmarked { end: usize, checksum: u64 },
    /// A batch that was written whole is not whole any more.
    Bad,
}

/// Reads batch after batch; returns where the whole ones end.
fn walk(path: &Path, data: &[u8], seqno: &mut u64, ends: &mut Ends) -> (usize, Tail) {
    let journal: Arc<Path> = path.into();
    let mut note = |keyspace: u64, key: &[u8]| {
        let Some((prefix, offset)) = key.split_first_chunk::<8>() else {
            return;
        };
        let Ok(offset) = offset.try_into().map(u64::from_be_bytes) else {
            return;
        };
        let last = ends.get(&(keyspace, *prefix)).map_or(0, |end| end.last);
        let journal = Arc::clone(&journal);
        let last = last.max(offset);
        ends.insert((keyspace, *prefix), End { last, journal });
    };
    let mut at = 0;
    while at < data.len() {
        match read_batch(data, at, &mut note) {
            Batch::Whole { next, seqno: of } if (*seqno..MAX_SEQNO).contains(&of) => {
                (at, *seqno) = (next, of);
            }
            Batch::Whole { .. } => return (at, Tail::Bad),
            Batch::Unmarked { end, checksum } if end + END_BYTES >= data.len() => {
                return (at, Tail::Unmarked { end, checksum });
            }
            Batch::Unmarked { .. } => return (at, Tail::Bad),
            Batch::Broken => {
                let written = data.ends_with(MAGIC) || holds_batch(data, at + 1);
                return (at, if written { Tail::Bad } else { Tail::Torn });
            }
        }
    }
    (at, Tail::Clean)
}

/// Whether a whole batch begins at `from` or later.
fn holds_batch(data: &[u8], from: usize) -> bool {
    let starts = (from..data.len()).filter(|at| data[*at] == 1);
    let mut starts = starts.filter(|at| matches!(data.get(at + START_BYTES), Some(2 | 4)));
    starts.any(|at| matches!(read_batch(data, at, &mut |_, _| {}), Batch::Whole { .. }))
}

enum Batch {
    Whole { next: usize, seqno: u64 },
    Unmarked { end: usize, checksum: u64 },
    Broken,
}

/// Reads the batch that begins at `at` and tells the keyspaces and keys of its items.
fn read_batch(data: &[u8], at: usize, note: &mut dyn FnMut(u64, &[u8])) -> Batch {
    try_batch(data, at, note).unwrap_or(Batch::Broken)
}

fn try_batch(data: &[u8], at: usize, note: &mut dyn FnMut(u64, &[u8])) -> Option<Batch> {
    let count = u32::from_le_bytes(chunk(data, at + 1)?);
    let seqno = u64::from_le_bytes(chunk(data, at + 5)?);
    if data[at] != 1 || count == 0 {
        return None;
    }
    let first = at + START_BYTES;
    let mut end = first;
    for _ in 0..count {
        end += item_bytes(data, end)?;
    }
    let checksum = xxh3_64(data.get(first..end)?);
    // what a crash did not write reads as zeros
    let mut marker = [0; END_BYTES];
    let found = &data[end..data.len().min(end + END_BYTES)];
    marker[..found.len()].copy_from_slice(found);
    if marker[1..9] != checksum.to_le_bytes() {
        return None;
    }
    let mut item = first;
    while item < end {
        if data[item] == 2 {
            let key_from = item + ITEM_HEADER_BYTES;
            let key_bytes = usize::from(u16::from_le_bytes(chunk(data, item + 11)?));
            let keyspace = u64::from_le_bytes(chunk(data, item + 3)?);
            note(keyspace, data.get(key_from..key_from + key_bytes)?);
        }
        item += item_bytes(data, item)?;
    }
    let next = end + END_BYTES;
    let marked = marker[0] == 3 && marker.ends_with(MAGIC);
    Some(if marked {
        Batch::Whole { next, seqno }
    } else {
        Batch::Unmarked { end, checksum }
    })
}

fn item_bytes(data: &[u8], at: usize) -> Option<usize> {
    match data.get(at)? {
        2 => {
            let key = usize::from(u16::from_le_bytes(chunk(data, at + 11)?));
            let value = u32::from_le_bytes(chunk(data, at + 17)?);
            Some(ITEM_HEADER_BYTES + key + usize::try_from(value).ok()?)
        }
        4 => Some(9),
        _ => None,
    }
}

fn chunk<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

/// Does away with what a crash left at the end.
fn mend(path: &Path, file: &mut File, at: usize, tail: Tail) -> io::Result<()> {
    match tail {
        Tail::Clean | Tail::Bad => return Ok(()),
        Tail::Torn => {
            tracing::warn!(path = %path.display(), at, "a write that was cut short is cut off");
            file.set_len(at as u64)?;
        }
        Tail::Unmarked { end, checksum } => {
            tracing::warn!(path = %path.display(), at, "a whole batch gets its end marker");
            file.seek(SeekFrom::Start(end as u64))?;
            file.write_all(&[&[3], &checksum.to_le_bytes()[..], MAGIC].concat())?;
        }
    }
    file.sync_all()
}
