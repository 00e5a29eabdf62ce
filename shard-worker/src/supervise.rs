//! Keeps one partition's work going: starts it again after what passes, halts it at what needs a
//! look, and ends it in time once it is told to stop.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tourbillon_core::error::{ErrorKind, error_chain};

use crate::error::WorkerError;
use crate::metrics;
use crate::partition::PartitionJob;

/// Pause before a partition that failed starts again: first, and at most. It doubles until a commit
/// comes through.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How long a partition that is told to stop may take for the uploads in hand. Whoever has it next
/// makes again what is cut off.
pub(crate) const FINISH: Duration = Duration::from_secs(5);

/// Runs a partition until it stops or its data is beyond help.
pub(crate) async fn supervise(job: PartitionJob, stop: CancellationToken) {
    let mut pause = RESTART_PAUSE.0;
    loop {
        let commits = job.progress.commits();
        let Some(outcome) = run(&job, &stop).await else {
            return;
        };
        let Err(error) = outcome else {
            return;
        };
        let text = error_chain(&error);
        if error.kind() != ErrorKind::Unavailable {
            tracing::error!(error = %text, "partition halted: its data needs a look");
            job.progress.halt(text);
            return;
        }
        if job.progress.commits() > commits {
            pause = RESTART_PAUSE.0;
        }
        tracing::warn!(
            error = text,
            pause_ms = pause.as_millis(),
            "partition starts again"
        );
        metrics::restarted(&job.at);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(pause) => pause = (pause * 2).min(RESTART_PAUSE.1),
        }
    }
}

/// What became of a run; none if it is over and there is nothing more to do.
async fn run(job: &PartitionJob, stop: &CancellationToken) -> Option<Result<(), WorkerError>> {
    let work = AssertUnwindSafe(job.run(stop.clone())).catch_unwind();
    let mut work = std::pin::pin!(work);
    let ended = tokio::select! {
        biased;
        ended = &mut work => Some(ended),
        () = stop.cancelled() => timeout(FINISH, work).await.ok(),
    };
    match ended {
        Some(Ok(outcome)) => Some(outcome),
        Some(Err(_)) => {
            tracing::error!(at = ?job.at, "partition halted: its task panicked");
            job.progress.halt("its task panicked".into());
            None
        }
        None => {
            tracing::warn!(at = ?job.at, "uploads in hand took too long: cut off");
            None
        }
    }
}
