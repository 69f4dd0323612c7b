//! Points in time, as the pure code sees them.

use std::time::Duration;

/// A point in time: milliseconds on a clock that never goes back and that also counts while the machine sleeps.
///
/// Only differences mean anything. Whoever owns the clock decides where zero is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// Later than every moment that a clock can show.
    pub const NEVER: Moment = Moment(u64::MAX);

    /// The moment `ms` milliseconds after the clock's zero.
    pub const fn from_ms(ms: u64) -> Self {
        Moment(ms)
    }

    /// Milliseconds since the clock's zero.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// This moment and `span` later; stops at [`Moment::NEVER`] instead of wrapping.
    pub fn after(self, span: Duration) -> Self {
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(ms))
    }

    /// This moment and `span` earlier; stops at the clock's zero.
    pub fn before(self, span: Duration) -> Self {
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_sub(ms))
    }

    /// How long from `earlier` to this moment; zero when this moment comes first.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
