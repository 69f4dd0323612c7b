//! How the pause between two tries grows.

use std::time::Duration;

/// A pause that grows by a factor from a first to a longest one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// What each pause is of the one before; at least 1.
    pub factor: f64,
}

impl Backoff {
    /// The pause before try number `tries` (0 for the first repetition), shortened by up to a half.
    ///
    /// `jitter` is a random number of [0, 1): clients that were refused at the same instant must not come back at
    /// the same instant.
    pub fn pause(&self, tries: u32, jitter: f64) -> Duration {
        let grown = self.first.as_secs_f64() * self.factor.max(1.0).powf(f64::from(tries));
        let capped = grown.min(self.longest.as_secs_f64());
        Duration::from_secs_f64((capped * (1.0 - jitter.clamp(0.0, 1.0) / 2.0)).max(0.001))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_grow_to_the_longest_and_stay_there() {
        let backoff = Backoff {
            first: 20 * MS,
            longest: 1000 * MS,
            factor: 2.0,
        };
        let pauses: Vec<u128> = (0..8)
            .map(|tries| backoff.pause(tries, 0.0).as_millis())
            .collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(backoff.pause(u32::MAX, 0.0).as_millis(), 1000);
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let backoff = Backoff {
            first: 100 * MS,
            longest: 1000 * MS,
            factor: 2.0,
        };
        assert_eq!(backoff.pause(0, 0.5).as_millis(), 75);
        assert!(backoff.pause(0, 1.0) >= 50 * MS);
    }

    #[test]
    fn a_pause_is_never_zero() {
        let backoff = Backoff {
            first: Duration::ZERO,
            longest: Duration::ZERO,
            factor: 0.0,
        };
        assert!(backoff.pause(3, 0.9) >= MS);
    }
}
