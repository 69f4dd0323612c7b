//! The locks and atomics by which the threads meet.
//!
//! They are those of `parking_lot` and of the standard library. With the feature `interleavings` they are those of shuttle
//! instead, and the time is the test's: then `tests/interleavings.rs` runs the code that uses them under one order of the
//! threads' steps after another. A build with the feature works in such a test only.

use crate::core::moment::Moment;

#[cfg(not(feature = "interleavings"))]
pub use parking_lot::{Condvar, Mutex};
#[cfg(not(feature = "interleavings"))]
pub use std::sync::atomic::{AtomicBool, AtomicU64};

#[cfg(feature = "interleavings")]
pub mod interleaved;
#[cfg(feature = "interleavings")]
pub use interleaved::{Condvar, Mutex};
#[cfg(feature = "interleavings")]
pub use shuttle::sync::atomic::{AtomicBool, AtomicU64};

/// The time, where it is a test's.
#[cfg(feature = "interleavings")]
pub fn time_of_test() -> Option<Moment> {
    Some(interleaved::now())
}

/// The time, where it is a test's: never.
#[cfg(not(feature = "interleavings"))]
#[inline]
pub const fn time_of_test() -> Option<Moment> {
    None
}

#[cfg(all(feature = "interleavings", not(debug_assertions)))]
compile_error!(
    "the feature interleavings gives a test the threads and the time: it is for debug builds only"
);
