//! The lock logic, and nothing but logic.
//!
//! Nothing in here reads a clock, does I/O, awaits, spawns or names napi: a function takes `now` and an event,
//! changes its state and answers with a verdict or with effects that somebody else carries out. That is what lets
//! the same code run behind a mutex in one process, in front of Redis, under proptest and in a model checker.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod error;
pub mod fleet;
pub mod grants;
pub mod key;
pub mod moment;
pub mod outcome;
pub mod owner;
pub mod patience;
pub mod refusals;
pub mod table;
pub mod ticket;
