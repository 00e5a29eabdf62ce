//! Segments and the commit chain on object storage. Knows nothing of logs or HTTP.

pub mod chain;
pub mod check_store;
mod error;
mod metrics;
mod rejects;
mod segment;
mod store;

pub use chain::{Appended, Chain, Link};
pub use error::LakeError;
pub use rejects::{decode_rejects, encode_rejects};
pub use segment::read::SegmentRead;
pub use segment::verify::verify_segment;
pub use segment::write::{EncodedSegment, SegmentSpec, encode_segment};
pub use store::Lake;
