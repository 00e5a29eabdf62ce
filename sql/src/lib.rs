//! SQL over every stream, by HTTP and by Arrow Flight SQL.
//!
//! ```text
//! text -> checked -> tokens of the streams it names -> logical plan -> scans arranged -> physical plan
//!                                                                                            |
//!            rows <- bounded queue <- operators (threads of their own) <- bounded queue <- windows
//! ```
//!
//! DataFusion plans and computes; what is read comes from [`tourbillon_query`] windows under one
//! snapshot a statement, so tails, files, order and repeatability are theirs. It stands apart from
//! the query crate so that neither its tests nor the simulation build DataFusion.

mod arrange;
mod catalog;
mod docs;
mod error;
mod filters;
mod flight;
mod growth;
mod held;
mod http;
mod metrics;
mod nested;
mod output;
mod prepare;
#[cfg(test)]
#[allow(dead_code, reason = "the worker's tests use it too")]
#[path = "../../shard-worker/src/rig.rs"]
mod rig;
mod run;
mod scan;
mod service;
mod snapshots;
mod statement;
mod table;
#[cfg(test)]
mod tests;

pub use docs::api;
pub use error::SqlError;
pub use flight::FlightServer;
pub use http::router;
pub use service::{Answer, SqlService, SqlSettings};
pub use snapshots::Snapshots;
pub use statement::Statement;
