//! Callers that were refused an `acquire` and may come back for it.
//!
//! Medusa's lock step asks, is refused, sleeps and asks again, and so do others that poll. Where callers queue, whoever polls
//! never finds a lock free. So who is refused leaves its place behind for a while, and whoever asks for the same thing within
//! that time takes it. Two callers that ask for the same thing as the same owner cannot be told apart, and need not be: the one
//! that comes first takes the place that was left first.
//!
//! A caller that has come back once is taken for one that polls. When it is refused again, its request stays where it is for
//! as long as the caller may be expected to stay away ([`absence`]). One that was refused only once leaves nothing but a note.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::owner::Owner;

/// Who comes back within this time takes the place that it left.
pub const COMES_BACK_WITHIN: Duration = Duration::from_secs(1);

/// So many refusals are remembered; the oldest are forgotten first.
const REFUSALS_MAX: usize = 10_000;

/// For how long a request stays whose caller stayed away for `last` the time before: half as long again, for nobody sleeps on
/// time, and a little more for the way.
pub fn absence(last: Duration) -> Duration {
    (last + last / 2 + Duration::from_millis(50)).min(COMES_BACK_WITHIN)
}

/// What a caller asks for: by this it is known when it comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// What to lock.
    pub keys: KeySet,
    /// As whose.
    pub owner: Owner,
    /// For how long; None: until released.
    pub expire: Option<Duration>,
}

/// Who came back, to which place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return<P> {
    /// What was left behind.
    pub place: P,
    /// For how long the caller was away.
    pub away: Duration,
}

/// The places that callers left behind, the oldest first.
#[derive(Debug)]
pub struct Refusals<P> {
    places: HashMap<Wanted, VecDeque<(Moment, P)>>,
    /// All of them, to forget them in time.
    order: VecDeque<(Moment, Wanted)>,
}

impl<P> Default for Refusals<P> {
    fn default() -> Self {
        Refusals {
            places: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<P> Refusals<P> {
    /// Whether nobody was refused of late: then nobody can come back.
    pub fn are_none(&self) -> bool {
        self.places.is_empty()
    }

    /// A caller was refused and leaves `place` behind.
    pub fn note(&mut self, now: Moment, wanted: Wanted, place: P) {
        self.forget_old(now);
        self.order.push_back((now, wanted.clone()));
        self.places.entry(wanted).or_default().push_back((now, place));
    }

    /// The place that was left first by whoever asked for this; `counts` says of one that is found whether it is still there.
    pub fn take(
        &mut self,
        now: Moment,
        wanted: &Wanted,
        mut counts: impl FnMut(&P) -> bool,
    ) -> Option<Return<P>> {
        let left = self.places.get_mut(wanted)?;
        let mut found = None;
        while let Some((at, place)) = left.pop_front() {
            let away = now.since(at);
            if away <= COMES_BACK_WITHIN && counts(&place) {
                found = Some(Return { place, away });
                break;
            }
        }
        if left.is_empty() {
            self.places.remove(wanted);
        }
        found
    }

    fn forget_old(&mut self, now: Moment) {
        while let Some((at, wanted)) = self.order.front()
            && (now.since(*at) > COMES_BACK_WITHIN || self.order.len() >= REFUSALS_MAX)
        {
            // It may have come back since.
            if let Some(left) = self.places.get_mut(wanted) {
                if left.front().is_some_and(|(left_at, _)| left_at <= at) {
                    left.pop_front();
                }
                if left.is_empty() {
                    self.places.remove(wanted);
                }
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(key: &str, owner: Owner) -> Wanted {
        let keys = KeySet::one(key).unwrap();
        let expire = Some(Duration::from_secs(10));
        Wanted { keys, owner, expire }
    }

    fn at(ms: u64) -> Moment {
        Moment::from_ms(ms)
    }

    #[test]
    fn the_place_that_was_left_first_is_taken_first() {
        let mut refusals = Refusals::default();
        let cart = wanted("cart", Owner::Anyone);
        refusals.note(at(0), cart.clone(), 1);
        refusals.note(at(100), cart.clone(), 2);
        let away = |ms| Duration::from_millis(ms);
        let taken = |place, ms| {
            Some(Return {
                place,
                away: away(ms),
            })
        };
        assert_eq!(refusals.take(at(300), &cart, |_| true), taken(1, 300));
        assert_eq!(refusals.take(at(300), &cart, |_| true), taken(2, 200));
        assert_eq!(refusals.take(at(300), &cart, |_| true), None);
        assert!(refusals.are_none());
    }

    #[test]
    fn another_owner_another_expiry_and_another_key_are_another_caller() {
        let mut refusals = Refusals::default();
        let mine = wanted("cart", Owner::Named("me".into()));
        refusals.note(at(0), mine.clone(), 1);
        let longer = Wanted {
            expire: None,
            ..mine.clone()
        };
        for other in [
            wanted("cart", Owner::Anyone),
            wanted("order", mine.owner.clone()),
            longer,
        ] {
            assert_eq!(refusals.take(at(1), &other, |_| true), None);
        }
        assert!(refusals.take(at(1), &mine, |_| true).is_some());
    }

    #[test]
    fn who_comes_back_late_or_to_a_place_that_is_gone_is_new() {
        let mut refusals = Refusals::default();
        let cart = wanted("cart", Owner::Anyone);
        refusals.note(at(0), cart.clone(), 1);
        refusals.note(at(500), cart.clone(), 2);
        assert_eq!(refusals.take(at(1_001), &cart, |place| *place != 2), None);
    }

    #[test]
    fn what_nobody_comes_back_for_is_forgotten() {
        let mut refusals = Refusals::default();
        for number in 0..3 * REFUSALS_MAX as u64 {
            refusals.note(
                at(number / 100),
                wanted(&number.to_string(), Owner::Anyone),
                number,
            );
        }
        assert_eq!(
            (refusals.order.len(), refusals.places.len()),
            (REFUSALS_MAX, REFUSALS_MAX)
        );
        refusals.note(at(100_000), wanted("k", Owner::Anyone), 0);
        assert_eq!((refusals.order.len(), refusals.places.len()), (1, 1));
    }

    #[test]
    fn nobody_is_waited_for_longer_than_who_comes_back_counts() {
        assert_eq!(absence(Duration::from_millis(300)), Duration::from_millis(500));
        assert_eq!(absence(Duration::from_millis(900)), COMES_BACK_WITHIN);
    }
}
