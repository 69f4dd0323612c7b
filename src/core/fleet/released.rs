//! Locks without an owner that this member was given and that were released a moment ago.
//!
//! A workflow of Medusa that fails after it has released its lock releases it once more, as a compensation. By then the lock may
//! be somebody else's, of another process: so one further release of the same keys is taken for that, and frees nothing.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

use crate::core::key::KeySet;
use crate::core::moment::Moment;

/// Within this time of a release another one of the same keys is taken for its repetition.
const REPEATED_WITHIN: Duration = Duration::from_secs(10);

/// So many releases are remembered; the oldest are forgotten first.
const RELEASES_MAX: usize = 10_000;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Releases {
    at: HashMap<KeySet, Moment>,
    order: VecDeque<(Moment, KeySet)>,
}

impl Releases {
    /// What this member had been given of `keys` was released, or was found to have lapsed.
    pub(super) fn note(&mut self, now: Moment, keys: &KeySet) {
        while let Some((at, oldest)) = self.order.front()
            && (is_over(*at, now) || self.order.len() >= RELEASES_MAX)
        {
            if self.at.get(oldest) == Some(at) {
                self.at.remove(oldest);
            }
            self.order.pop_front();
        }
        self.at.insert(keys.clone(), now);
        self.order.push_back((now, keys.clone()));
    }

    /// Whether a release of `keys` is the repetition of one. The next one is not.
    pub(super) fn is_repetition(&mut self, now: Moment, keys: &KeySet) -> bool {
        self.at.remove(keys).is_some_and(|at| !is_over(at, now))
    }
}

fn is_over(at: Moment, now: Moment) -> bool {
    now.since(at) > REPEATED_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_ms(seconds * 1_000)
    }

    #[test]
    fn one_further_release_of_the_same_keys_is_a_repetition_for_a_while() {
        let (cart, other) = (KeySet::one("cart").unwrap(), KeySet::one("other").unwrap());
        let mut releases = Releases::default();
        releases.note(at(0), &cart);
        assert!(!releases.is_repetition(at(1), &other));
        assert!(releases.is_repetition(at(10), &cart));
        assert!(!releases.is_repetition(at(10), &cart));
        releases.note(at(20), &cart);
        assert!(!releases.is_repetition(at(31), &cart));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut releases = Releases::default();
        for number in 0..2 * RELEASES_MAX {
            releases.note(at(0), &KeySet::one(&number.to_string()).unwrap());
        }
        assert_eq!(
            (releases.order.len(), releases.at.len()),
            (RELEASES_MAX, RELEASES_MAX)
        );
    }
}
