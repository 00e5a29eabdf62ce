//! Errors of the lake, each naming the object.

use parquet::errors::ParquetError;
use thiserror::Error;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::manifest::ManifestError;

/// What went wrong with the object store or an object in it.
#[derive(Debug, Error)]
pub enum LakeError {
    /// The store's address cannot be used.
    #[error("cannot open the store {url}: {reason}")]
    Open {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store did not do what it was asked.
    #[error("cannot {action} {path}")]
    Store {
        /// `read`, `write`, `list` or `delete`.
        action: &'static str,
        /// The object or prefix.
        path: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A local object could not be made durable.
    #[error("cannot make {path} durable")]
    Sync {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An object's bytes are not what they must be.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The object.
        path: String,
        /// What does not match.
        reason: String,
    },
    /// A file that a commit names is not there.
    #[error("{path} is absent and a commit names it")]
    Absent {
        /// The object.
        path: String,
    },
    /// A commit cannot be read.
    #[error("commit {path} cannot be used")]
    Commit {
        /// The object.
        path: String,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// Two workers disagree about the same log prefix: INV-PURE is broken.
    #[error("commit {path} differs from the one computed here from the same log: stop and look")]
    Forked {
        /// The object.
        path: String,
    },
    /// Another worker went another way where either is right: look again.
    #[error("another worker was first with {path}")]
    Overtaken {
        /// The object.
        path: String,
    },
    /// Rows could not be encoded or decoded.
    #[error("cannot {action} the rows of {path}")]
    Parquet {
        /// `write` or `read`.
        action: &'static str,
        /// The object.
        path: String,
        /// Why.
        #[source]
        source: ParquetError,
    },
    /// A task of this process died.
    #[error("a task that worked on rows died")]
    Task(#[source] tokio::task::JoinError),
    /// The store lets two writers create the same object.
    #[error("{url} does not put-if-absent atomically: {winners} of {writers} writers won a race")]
    NotAtomic {
        /// The store.
        url: String,
        /// Writers that were told they had created it.
        winners: usize,
        /// Writers that tried.
        writers: usize,
    },
}

impl LakeError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { .. } => ErrorKind::Invalid,
            Self::Store { source, .. } => store_kind(source),
            Self::Sync { .. } | Self::Overtaken { .. } => ErrorKind::Unavailable,
            Self::Parquet { source, .. } => match source {
                ParquetError::External(cause) => cause
                    .downcast_ref::<object_store::Error>()
                    .map_or(ErrorKind::Data, store_kind),
                _ => ErrorKind::Data,
            },
            Self::Damaged { .. }
            | Self::Absent { .. }
            | Self::Commit { .. }
            | Self::Forked { .. } => ErrorKind::Data,
            Self::Task(_) => ErrorKind::Internal,
            Self::NotAtomic { .. } => ErrorKind::Invalid,
        }
    }

    /// Whether a file that a commit names is not there.
    pub fn is_absent(&self) -> bool {
        let not_found =
            |error: &object_store::Error| matches!(error, object_store::Error::NotFound { .. });
        match self {
            Self::Absent { .. } => true,
            Self::Store { source, .. } => not_found(source),
            Self::Parquet {
                source: ParquetError::External(cause),
                ..
            } => cause.downcast_ref().is_some_and(not_found),
            _ => false,
        }
    }

    /// Whether an object was not created because it is already there.
    pub(crate) fn is_already_there(&self) -> bool {
        matches!(
            self,
            Self::Store {
                source: object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. },
                ..
            }
        )
    }
}

/// A store that does not answer may answer later; an object that is not there stays away.
fn store_kind(error: &object_store::Error) -> ErrorKind {
    match error {
        object_store::Error::NotFound { .. } => ErrorKind::Data,
        _ => ErrorKind::Unavailable,
    }
}
