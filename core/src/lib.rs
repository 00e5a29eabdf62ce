//! The pure heart of Tourbillon: clocks, keys, schemas, frames, the partition machine, sealing,
//! manifests and the merge. Nothing here does I/O, reads a clock or draws a random number, so
//! every process that is fed the same log prefix computes the same bytes.

pub mod asof;
pub mod bars;
pub mod broken;
pub mod clock;
pub mod compaction;
pub mod control;
pub mod decimal;
pub mod digest;
pub mod error;
pub mod filter;
pub mod frame;
pub mod groups;
pub mod hlc;
pub mod ids;
pub mod machine;
pub mod manifest;
pub mod merge;
pub mod open_rows;
pub mod partitioner;
pub mod problem;
pub mod replica;
pub mod report;
pub mod rows_root;
pub mod schema;
pub mod sealer;
pub mod time;
