//! Segments: Parquet files of rows in key order, whose bytes follow from the rows alone.

pub(crate) mod footers;
pub(crate) mod groups;
mod open;
mod packed;
pub(crate) mod read;
mod reader;
pub(crate) mod slices;
pub(crate) mod sound;
pub(crate) mod verify;
pub(crate) mod write;

#[cfg(test)]
mod tests;
