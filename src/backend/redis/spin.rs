//! Whether to look once more before going to sleep.
//!
//! Waking a parked thread costs more than the round trip that it waits for on a fast network. So the I/O task polls a
//! little while before it parks; but only while that has been paying off, and never on a machine with one core, where
//! it would keep the very thread from running that it waits for.

use std::time::{Duration, Instant};

/// The longest that one wait is polled for.
const SPIN_MAX: Duration = Duration::from_micros(100);

/// Successes raise the credit to this, failures lower it; at 0 only every so many waits are tried.
const CREDIT_MAX: u32 = 8;
const TRY_EVERY: u32 = 32;

/// The spinning of one task.
#[derive(Debug)]
pub struct Spin {
    allowed: bool,
    credit: u32,
    waits: u32,
    since: Option<Instant>,
}

impl Spin {
    /// For this machine.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Spin {
            allowed: cores > 1,
            credit: CREDIT_MAX,
            waits: 0,
            since: None,
        }
    }

    /// There was nothing to do. True: look again at once instead of sleeping.
    pub fn again(&mut self) -> bool {
        if !self.allowed {
            return false;
        }
        match self.since {
            None => {
                self.waits = self.waits.wrapping_add(1);
                if self.credit == 0 && !self.waits.is_multiple_of(TRY_EVERY) {
                    return false;
                }
                self.since = Some(Instant::now());
                true
            }
            Some(since) if since.elapsed() < SPIN_MAX => true,
            Some(_) => {
                self.since = None;
                self.credit = self.credit.saturating_sub(1);
                false
            }
        }
    }

    /// There was something to do.
    pub fn found(&mut self) {
        if self.since.take().is_some() {
            self.credit = (self.credit + 1).min(CREDIT_MAX);
        }
    }
}

impl Default for Spin {
    fn default() -> Self {
        Self::new()
    }
}
