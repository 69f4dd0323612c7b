//! Locks for Medusa v2 stores: first-come queues over key sets, in one process or, on Redis, across a fleet.
//!
//! The map of the crate, from the inside out:
//! - [`core`]: the lock logic. Pure: no I/O, no clock, no async, no napi.
//! - [`backend`]: the logic put to work. `memory` behind a mutex; `redis` behind a connection.
//! - [`clock`] and [`scheduler`]: the time, and the one thread that acts on it.
//! - [`sync`]: the locks and atomics by which the threads meet, which tests can take over.
//! - [`wakeups`] counts how often threads are woken.
//! - `node`: the Node.js addon. The only code that names napi.

pub mod backend;
pub mod clock;
pub mod core;
#[cfg(feature = "redis")]
mod faults;
#[cfg(feature = "node")]
mod node;
pub mod scheduler;
pub mod sync;
pub mod wakeups;
