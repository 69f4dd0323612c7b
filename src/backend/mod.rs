//! Where locks live.

pub mod clock;
pub mod memory;
