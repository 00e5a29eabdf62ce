//! End to end: the real binary, real files, real signals.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::zombie_processes,
    reason = "tests of real processes wait in real time, tell what they see and reap on drop"
)]

#[path = "../support/mod.rs"]
mod support;

mod compaction;
mod crash;
mod demo;
mod identity;
mod limits;
mod load;
mod recovery;
mod replay;
mod tamper;
mod verify;
