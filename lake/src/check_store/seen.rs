//! What a reader sees of what was just written.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};
use tourbillon_core::report::{Finding, Grade};

use super::{failed, path};
use crate::error::LakeError;
use crate::store::{Lake, store_error};

/// Objects of the larger checks, bytes.
const OBJECT_BYTES: usize = 1 << 20;

/// A check of what is seen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    Read,
    Listing,
    Range,
    Overwritten,
    Deleted,
}

/// All of them, in the order of the report.
pub(super) const CHECKS: [Seen; 5] = [
    Seen::Read,
    Seen::Listing,
    Seen::Range,
    Seen::Overwritten,
    Seen::Deleted,
];

/// What holds: the grade if it does not, what is said then, and what is said if it does.
struct Promise {
    what: &'static str,
    otherwise: Grade,
    wrong: &'static str,
    right: &'static str,
}

impl Seen {
    /// Writes, looks and removes what it wrote.
    pub(super) async fn run(self, lake: &Lake, nonce: &str) -> Finding {
        let promise = self.promise();
        let folder = format!("seen-{}", promise.what.replace(' ', "-"));
        // as segments are called, whose folders have an equals sign
        let object = path(nonce, &format!("{folder}/date=2026-01-31/00001"));
        let holds = match self {
            Self::Read => read(lake, &object).await,
            Self::Listing => listing(lake, &path(nonce, &folder), &object).await,
            Self::Range => range(lake, &object).await,
            Self::Overwritten => overwritten(lake, &object).await,
            Self::Deleted => deleted(lake, &object).await,
        };
        let removed = lake.delete(&object).await;
        match holds.and_then(|holds| removed.map(|()| holds)) {
            Ok(true) => Finding::fine(promise.what, promise.right),
            Ok(false) => Finding::new(promise.otherwise, promise.what, promise.wrong),
            Err(error) => failed(promise.what, &error),
        }
    }

    fn promise(self) -> Promise {
        match self {
            Self::Read => Promise {
                what: "read after write",
                otherwise: Grade::Broken,
                wrong: "an object that was just written is not read as it is: workers and readers \
                        would take commits for absent",
                right: "an object is there as soon as it is written, and an absent one is said to \
                        be absent",
            },
            Self::Listing => Promise {
                what: "list after write",
                otherwise: Grade::Warning,
                wrong: "listings lag: starts take longer, as newer commits are found by asking for \
                        each",
                right: "an object is listed as soon as it is written, alone and behind another",
            },
            Self::Range => Promise {
                what: "range reads",
                otherwise: Grade::Broken,
                wrong: "part of an object is not what stands there: queries would read damage",
                right: "a part of an object is read exactly, at its start, middle and end",
            },
            Self::Overwritten => Promise {
                what: "overwrite",
                otherwise: Grade::Warning,
                wrong: "readers may see an object's older bytes: a damaged file that was replaced \
                        may look damaged for a while",
                right: "an object that was replaced is read as it is now",
            },
            Self::Deleted => Promise {
                what: "delete",
                otherwise: Grade::Broken,
                wrong: "an object that was removed is still there, or its name cannot be used again",
                right: "an object that was removed is gone, and its name is free",
            },
        }
    }
}

async fn read(lake: &Lake, object: &Path) -> Result<bool, LakeError> {
    if lake.get(object).await?.is_some() {
        return Ok(false);
    }
    lake.put(object, pattern(0), PutMode::Create).await?;
    Ok(lake.get(object).await? == Some(pattern(0)))
}

async fn listing(lake: &Lake, folder: &Path, object: &Path) -> Result<bool, LakeError> {
    let before = Path::from(object.as_ref().replace("00001", "00000"));
    let listed = async |after: Option<&Path>| -> Result<bool, LakeError> {
        let listed = lake.list_after(folder, after).await?;
        Ok(listed.contains(object))
    };
    lake.put(object, Bytes::from_static(b"x"), PutMode::Create)
        .await?;
    let seen = listed(None).await? && listed(Some(&before)).await? && !listed(Some(object)).await?;
    lake.delete(object).await?;
    Ok(seen && !listed(None).await?)
}

async fn range(lake: &Lake, object: &Path) -> Result<bool, LakeError> {
    let whole = pattern(1);
    lake.put(object, whole.clone(), PutMode::Create).await?;
    let (middle, end) = (OBJECT_BYTES / 2, OBJECT_BYTES);
    for wanted in [0..1, middle - 3..middle + 1000, end - 8..end] {
        let bytes = wanted.start as u64..wanted.end as u64;
        let read = lake.store.get_range(object, bytes).await;
        let read = read.map_err(|source| store_error("read", object, source))?;
        if read != whole.slice(wanted) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn overwritten(lake: &Lake, object: &Path) -> Result<bool, LakeError> {
    lake.put(object, pattern(0), PutMode::Overwrite).await?;
    let first = lake.get(object).await? == Some(pattern(0));
    lake.put(object, pattern(1), PutMode::Overwrite).await?;
    Ok(first && lake.get(object).await? == Some(pattern(1)))
}

async fn deleted(lake: &Lake, object: &Path) -> Result<bool, LakeError> {
    lake.put(object, pattern(0), PutMode::Create).await?;
    lake.delete(object).await?;
    if lake.get(object).await?.is_some() {
        return Ok(false);
    }
    match lake.put(object, pattern(1), PutMode::Create).await {
        Ok(()) => Ok(lake.get(object).await? == Some(pattern(1))),
        Err(error) if error.is_already_there() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bytes of which no two parts look alike.
fn pattern(salt: u8) -> Bytes {
    let byte = |i: usize| u8::try_from((i + i / 251 + i / 65_521) % 256).unwrap_or(0) ^ salt;
    (0..OBJECT_BYTES).map(byte).collect()
}
