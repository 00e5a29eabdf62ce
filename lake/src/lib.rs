//! Segments and the commit chain on object storage. Knows nothing of logs or HTTP.

mod blocking;
pub mod chain;
pub mod check_store;
mod clear;
mod compact;
mod error;
pub mod faulty;
mod metrics;
mod rejects;
#[cfg(test)]
mod sample;
mod segment;
mod store;
pub mod witness;

pub use blocking::off_thread;
pub use chain::{Appended, Chain, Link, same_content};
pub use error::LakeError;
pub use rejects::{decode_rejects, encode_rejects};
pub use segment::read::SegmentRead;
pub use segment::verify::verify_segment;
pub use segment::write::{EncodedSegment, SegmentSpec, encode_segment};
pub use store::Lake;
