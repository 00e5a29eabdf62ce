//! Errors of the shard worker.

use thiserror::Error;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::ManifestError;
use tourbillon_core::sealer::SealError;
use tourbillon_lake::LakeError;
use tourbillon_log::follow::FollowError;

/// Why a partition's work stopped.
#[derive(Debug, Error)]
#[error("{stream} partition {partition}: {step}")]
pub struct WorkerError {
    /// The stream.
    pub stream: StreamName,
    /// The partition.
    pub partition: PartitionId,
    /// What was being done.
    pub step: &'static str,
    /// What is wrong.
    #[source]
    pub cause: Cause,
}

/// What stopped a partition.
#[derive(Debug, Error)]
pub enum Cause {
    /// The log or the frames in it.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The object store or the objects in it.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The rows.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The commit.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A task of this process died.
    #[error("a task of the worker died")]
    Task(#[from] tokio::task::JoinError),
}

impl WorkerError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match &self.cause {
            Cause::Follow(error) => error.kind(),
            Cause::Lake(error) => error.kind(),
            Cause::Seal(error) => error.kind(),
            Cause::Manifest(_) => ErrorKind::Data,
            Cause::Task(_) => ErrorKind::Internal,
        }
    }
}
