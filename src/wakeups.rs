//! How often threads are woken: what a call costs that no profile of the thread that makes it shows.
//!
//! Counted where a system call follows anyway, so that counting costs nothing. `npm run budget` reads the counts, of the
//! whole process.

use std::sync::atomic::{AtomicU64, Ordering};

/// The I/O thread was woken from its sleep by somebody who had something to send.
pub static IO: Counter = Counter::new();

/// The I/O thread went to sleep: until it is woken, a reply comes, or time is up.
pub static IO_SLEEPS: Counter = Counter::new();

/// The thread for deadlines was woken, for one that comes before all that it knew.
pub static CLOCK: Counter = Counter::new();

/// One of the counts.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Once more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often since the process began.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
