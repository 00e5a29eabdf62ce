//! End to end: the real binary, real files, real signals.

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod demo;
mod limits;
mod load;
mod verify;
