//! Tests of the whole: the simulation lives here, the tests that start processes beside it.

#![allow(
    clippy::expect_used,
    reason = "a simulation that cannot be set up is a bug in the simulation"
)]

pub mod sim;
