//! The two protocols that everything rests on, small enough that every order of events is tried.
//!
//! [`lease`] is the life and removal of writers around one partition's log; [`chain`] is the commit
//! chain of one partition. Properties carry the invariant IDs of the protocol. Each model takes a
//! list of rules to break, so that the checker can show that it would have noticed.
//!
//! No step is ever urgent: a process that does not move for a while is frozen, one that moves again
//! is a zombie, one that never moves again has crashed. None of that needs a step of its own.

pub mod chain;
mod explore;
pub mod lease;

pub use explore::{Explored, explore, say};
