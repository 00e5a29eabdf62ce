//! The query service: follows every partition itself and answers ordered windows over files and
//! live tails.

pub mod encode;
mod error;
pub mod http;
pub mod params;
mod partition;
mod rejects;
mod service;
pub mod window;

pub use error::{Holder, QueryError};
pub use service::QueryService;
