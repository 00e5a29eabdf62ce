//! Gateways: HTTP requests in, frames in the log out.
//!
//! ```text
//! body -> parse -> cut by key -> stamp + queue (one lock) -> lane: frame -> log -> ack, in order
//! ```
//!
//! A [`Gateway`] holds one writer at a time. Whatever goes wrong with the log, the lease or the
//! clock ends that writer: requests in flight answer "indeterminate", and the gateway joins again
//! as a new one. Shutdown takes nothing new, drains, closes every partition and leaves.

mod budget;
mod commits;
mod cut;
mod earlier;
mod error;
mod gateway;
pub mod http;
mod metrics;
pub mod parse;
#[cfg(test)]
mod rig;
mod settings;
mod submission;
mod writer;

pub use budget::Reservation;
pub use commits::{CommitSource, NoCommits};
pub use error::IngestError;
pub use gateway::{Gateway, Receipt, Source};
pub use settings::{Environment, GatewaySettings, Limits};
pub use submission::Submission;
