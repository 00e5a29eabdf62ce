//! The query service: follows every partition itself and answers ordered windows over files and
//! live tails.

pub mod encode;
mod error;
mod files;
mod follow;
pub mod http;
mod order;
pub mod params;
mod partition;
mod plan;
mod rejects;
#[cfg(test)]
#[allow(dead_code, reason = "the worker's tests use it too")]
#[path = "../../shard-worker/src/rig.rs"]
mod rig;
mod service;
mod snapshot;
mod subscribe;
mod tail;
#[cfg(test)]
mod tests;
pub mod token;
pub mod window;

pub use error::{Holder, QueryError};
pub use service::QueryService;
