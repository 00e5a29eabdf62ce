//! The commands, one file each.

pub(crate) mod asof;
pub(crate) mod bars;
pub(crate) mod check_kafka;
pub(crate) mod check_store;
pub(crate) mod list;
pub(crate) mod print;
pub(crate) mod replay;
mod report;
pub(crate) mod serve;
pub(crate) mod sql;
pub(crate) mod tail;
pub(crate) mod verify;
pub(crate) mod window;
mod witness;
