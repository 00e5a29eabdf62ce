//! The query service: follows every partition itself and answers ordered windows over files and
//! live tails.

mod asof;
mod bars;
pub mod encode;
mod error;
mod files;
mod follow;
pub mod http;
mod look;
mod metrics;
mod order;
mod page;
pub mod params;
mod partition;
mod plan;
mod pump;
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
pub use subscribe::WorkDone;

/// What subscribers ask for, and their cursors.
pub mod subscription {
    pub use crate::subscribe::{Begin, Gained, Place, SubscribeParams};
}
