//! Bodies of the fuzz targets: everything that reads bytes which somebody else wrote.
//!
//! Each takes any bytes, panics if a reader does or if an answer contradicts itself, and returns
//! nothing. `fuzz/` runs them under libFuzzer; the tests here run the corpus and some thousand
//! mutations of it.

pub mod commit;
pub mod control;
pub mod frame;
pub mod line_protocol;
pub mod rejects;
pub mod rows;
pub mod samples;
pub mod subscription;
pub mod text;
pub mod window;

/// A target's body.
pub type Body = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Body); 12] = [
    ("arrow_stream", rows::arrow_stream),
    ("commit", commit::run),
    ("control", control::run),
    ("csv", rows::csv),
    ("frame", frame::run),
    ("json", rows::json),
    ("line_protocol", line_protocol::run),
    ("ndjson", rows::ndjson),
    ("rejects", rejects::run),
    ("subscription", subscription::run),
    ("text", text::run),
    ("window", window::run),
];
