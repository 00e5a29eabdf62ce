//! How soon the allocator gives memory back.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use tourbillon_core::error::error_chain;

/// Milliseconds that freed memory waits to be used again.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "50");

/// Replaces this process by itself with the delay set, unless it is: the allocator reads it before
/// `main` only. Its own default of a second keeps hundreds of MiB after a large window, which
/// a twentieth of it does not, for some of the speed (docs/PERFORMANCE.md).
pub(crate) fn give_back_soon() {
    let (name, delay) = PURGE_DELAY;
    if env::var_os(name).is_some() {
        return;
    }
    let error = match env::current_exe() {
        Ok(this) => Command::new(this)
            .args(env::args_os().skip(1))
            .env(name, delay)
            .exec(),
        Err(error) => error,
    };
    tracing::debug!(error = error_chain(&error), "{name} is not set");
}
