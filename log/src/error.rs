//! Errors of the log, each naming the topic, partition, offset or path.

use std::path::PathBuf;

use thiserror::Error;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::ids::{Offset, PartitionId};

/// What went wrong with the log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed => ErrorKind::Unavailable,
        }
    }
}
