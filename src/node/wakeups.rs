//! The counts of [`crate::wakeups`], for `npm run budget`.

use napi_derive::napi;

use super::mailbox::to_f64;
use crate::wakeups::{CLOCK, IO, IO_SLEEPS};

/// How often the threads of the addon were woken since the process began.
#[napi(object)]
#[cfg_attr(test, allow(dead_code, reason = "napi exports nothing in a build for tests"))]
pub struct NativeWakeups {
    /// The I/O thread, by callers and timers.
    pub io: f64,
    /// How often the I/O thread went to sleep.
    pub io_sleeps: f64,
    /// The thread for deadlines.
    pub clock: f64,
}

/// How often the threads of the addon were woken.
#[napi]
#[cfg_attr(test, allow(dead_code, reason = "napi exports nothing in a build for tests"))]
pub fn wakeups() -> NativeWakeups {
    NativeWakeups {
        io: to_f64(IO.get()),
        io_sleeps: to_f64(IO_SLEEPS.get()),
        clock: to_f64(CLOCK.get()),
    }
}
