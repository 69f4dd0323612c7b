//! The one clock that everything here is timed by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::core::moment::Moment;
use crate::sync;

/// The moment it is.
///
/// Where the system offers it, this clock goes on while the machine is suspended: a lease that lapsed on the server
/// while a laptop or a virtual machine slept must be seen to have lapsed here too.
pub fn now() -> Moment {
    sync::time_of_test()
        .unwrap_or_else(|| Moment::from_ms(u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX - 1)))
}

/// Microseconds since 1970 by the wall clock. Only for tickets, which must rise over restarts; never for deadlines.
pub fn unix_us() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    to_duration(time.tv_sec, time.tv_nsec)
}

/// On Apple's systems the monotonic clock counts sleep, unlike the one behind `std::time::Instant` there.
#[cfg(all(target_vendor = "apple", not(miri)))]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    to_duration(time.tv_sec, time.tv_nsec)
}

/// Elsewhere the standard clock has to do; on Windows it counts sleep. Miri knows no other.
#[cfg(any(
    miri,
    not(any(target_os = "linux", target_os = "android", target_vendor = "apple"))
))]
fn since_boot() -> Duration {
    static ZERO: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    ZERO.get_or_init(std::time::Instant::now).elapsed() + Duration::from_secs(1)
}

#[cfg(all(
    any(target_os = "linux", target_os = "android", target_vendor = "apple"),
    not(miri)
))]
fn to_duration(seconds: i64, nanoseconds: i64) -> Duration {
    Duration::new(
        u64::try_from(seconds).unwrap_or(0),
        u32::try_from(nanoseconds).unwrap_or(0),
    )
}
