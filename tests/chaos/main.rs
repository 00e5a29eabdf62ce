//! The deployment of docker-compose.yml under load, while what it is made of dies, freezes, is cut
//! off, fills up, grows and is restarted: on three brokers and an S3 store of its own, which
//! `servers.py start --brokers 3 --store-disk-mib 2048` gives, else skipped.
//!
//! By default a fault lasts a few seconds; acceptance runs set TOURBILLON_FAULT_S (60) and
//! TOURBILLON_RATE (20000), and TOURBILLON_TEST_BINARY to a release build.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::zombie_processes,
    reason = "tests of real processes wait in real time, tell what they see and reap on drop"
)]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod balancer;
mod compose;
mod deployment;
mod detour;
mod failures;
mod feed;
mod growth;
mod scene;
mod servers;
mod soak;
mod tokens;
mod watch;
