//! Which locks without an owner were given here, and not released yet.
//!
//! A lock without an owner does not say whose it is. So a holder that comes back after its lock has lapsed would free the lock
//! of whoever took it next. What was given is remembered by the attempt that took it: a release belongs to the grant that
//! was given first, and frees that one or nothing.
//!
//! A grant that nobody ever releases must not cost those who take the key later for ever: it is forgotten [`LAPSED_KEPT`] after
//! its lock has lapsed. Until then one release may be taken for its own; whichever grant is left over by that is not
//! remembered for longer.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::moment::Moment;
use super::ticket::Ticket;

/// For how long a grant is remembered after its lock has lapsed: longer than a workflow outlives its lock.
pub const LAPSED_KEPT: Duration = Duration::from_secs(60);

/// For how long one is that does not lapse: well within the life of its record on a server, by which it is known there.
pub const ENDLESS_KEPT: Duration = Duration::from_secs(12 * 60 * 60);

/// The most grants that are remembered, one for each key of a call. What is given beyond is released as what somebody else was
/// given.
pub const GRANTS_MAX: usize = 100_000;

/// So many are kept without a look at whether they still count.
const UNCHECKED_MAX: usize = 1024;

/// While there are as many as may be, it is looked for forgotten ones this often.
const FULL_CHECK: Duration = Duration::from_secs(1);

/// One lock that was given, of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// By whose request.
    pub attempt: Ticket,
    /// Not later than its lock lapses; None: it does not.
    pub lapses_at: Option<Moment>,
    /// Until then it cannot have lapsed, whatever the clocks say.
    sure_until: Moment,
    forget_at: Moment,
    /// Its release is on the way.
    is_asked: bool,
}

impl Grant {
    /// A grant of `now`.
    pub fn new(now: Moment, attempt: Ticket, lapses_at: Option<Moment>) -> Self {
        let forget_at = lapses_at.map_or_else(|| now.after(ENDLESS_KEPT), |at| at.after(LAPSED_KEPT));
        Grant {
            attempt,
            lapses_at,
            sure_until: lapses_at.unwrap_or(Moment::NEVER),
            forget_at,
            is_asked: false,
        }
    }

    /// The same where another clock, which may be faster, decides when it lapses: not before `moment`.
    pub fn sure_until(self, moment: Moment) -> Self {
        Grant {
            sure_until: self.sure_until.min(moment),
            ..self
        }
    }

    /// Whether its lock cannot have lapsed yet: where it is free, somebody released it.
    pub fn cannot_have_lapsed(&self, now: Moment) -> bool {
        now < self.sure_until
    }

    /// By how long its holder has outlived it; None: not at all.
    pub fn outlived_by(&self, now: Moment) -> Option<Duration> {
        self.lapses_at.filter(|at| *at <= now).map(|at| now.since(at))
    }

    /// Another release may have been taken for the one of a grant before it: so its own may never come.
    fn remember_no_longer_than(&mut self, moment: Moment) {
        let holds_until = self.lapses_at.unwrap_or(self.forget_at);
        self.forget_at = self.forget_at.min(moment.max(holds_until));
    }
}

/// The grants of one key, in the order in which they were given. There is nearly always one.
#[derive(Debug)]
struct OfKey {
    first: Grant,
    more: Vec<Grant>,
}

impl OfKey {
    fn len(&self) -> usize {
        1 + self.more.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Grant> {
        std::iter::once(&self.first).chain(&self.more)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Grant> {
        std::iter::once(&mut self.first).chain(&mut self.more)
    }

    /// Drops those for which `stays` does not hold. False: none is left.
    fn retain(&mut self, stays: impl Fn(&Grant) -> bool) -> bool {
        self.more.retain(&stays);
        if stays(&self.first) {
            return true;
        }
        if self.more.is_empty() {
            return false;
        }
        self.first = self.more.remove(0);
        true
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Grants {
    by_key: HashMap<Arc<str>, OfKey>,
    count: usize,
    /// How many were left when it was last looked for forgotten ones, and when that was.
    checked_count: usize,
    checked_at: Option<Moment>,
}

impl Grants {
    /// Whether none is remembered: most callers need to know no more.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Remembers a grant of `key`, unless it is known already.
    pub fn add(&mut self, now: Moment, key: &Arc<str>, grant: Grant) {
        self.drop_forgotten(now);
        if self.count >= GRANTS_MAX {
            return;
        }
        if let Some(of_key) = self.by_key.get_mut(key) {
            if of_key.iter().any(|known| known.attempt == grant.attempt) {
                return;
            }
            of_key.more.push(grant);
        } else {
            let more = Vec::new();
            self.by_key.insert(Arc::clone(key), OfKey { first: grant, more });
        }
        self.count += 1;
    }

    /// The key is given anew: those of its grants for which `is_over` holds have been released elsewhere.
    pub fn drop_released(&mut self, key: &str, is_over: impl Fn(&Grant) -> bool) {
        self.retain_of(key, |grant| !is_over(grant));
    }

    /// The grant that a release of `key` belongs to: the first one that no other release belongs to.
    pub fn oldest(&self, now: Moment, key: &str) -> Option<Grant> {
        let mut known = self.by_key.get(key)?.iter().filter(|grant| grant.forget_at > now);
        let first = *known.next()?;
        if first.is_asked {
            // Where each of them is being released, this release is one of these once more.
            return Some(known.find(|grant| !grant.is_asked).copied().unwrap_or(first));
        }
        Some(first)
    }

    /// The grant of this attempt.
    pub fn get(&self, key: &str, attempt: Ticket) -> Option<Grant> {
        let mut known = self.by_key.get(key)?.iter();
        known.find(|grant| grant.attempt == attempt).copied()
    }

    /// Its lock has been extended until then.
    pub fn prolong(&mut self, key: &str, attempt: Ticket, lapses_at: Moment) {
        if let Some(of_key) = self.by_key.get_mut(key)
            && let Some(grant) = of_key.iter_mut().find(|grant| grant.attempt == attempt)
        {
            grant.lapses_at = Some(lapses_at);
            grant.forget_at = lapses_at.after(LAPSED_KEPT);
        }
    }

    /// The release of a grant begins; or has failed, so that the next one may be for it.
    pub fn mark(&mut self, key: &str, attempt: Ticket, is_asked: bool) {
        if let Some(of_key) = self.by_key.get_mut(key)
            && let Some(grant) = of_key.iter_mut().find(|grant| grant.attempt == attempt)
        {
            grant.is_asked = is_asked;
        }
    }

    /// The release of a grant is over. `had_lapsed`: it came too late, or was another's; then another one is left over.
    pub fn settle(&mut self, key: &str, attempt: Ticket, had_lapsed: bool) {
        if had_lapsed
            && let Some(settled) = self.get(key, attempt)
            && let Some(of_key) = self.by_key.get_mut(key)
        {
            of_key
                .iter_mut()
                .for_each(|grant| grant.remember_no_longer_than(settled.forget_at));
        }
        self.retain_of(key, |grant| grant.attempt != attempt);
    }

    fn retain_of(&mut self, key: &str, stays: impl Fn(&Grant) -> bool) {
        let Some(of_key) = self.by_key.get_mut(key) else {
            return;
        };
        let before = of_key.len();
        let after = if of_key.retain(stays) { of_key.len() } else { 0 };
        self.count -= before - after;
        if after == 0 {
            self.by_key.remove(key);
        }
    }

    /// Drops what is forgotten, once there may be more of that than of the others.
    fn drop_forgotten(&mut self, now: Moment) {
        let is_full = self.count >= GRANTS_MAX;
        let is_crowded = self.count >= 2 * self.checked_count + UNCHECKED_MAX;
        let may_check = self.checked_at.is_none_or(|at| now.since(at) >= FULL_CHECK);
        if !(is_crowded || (is_full && may_check)) {
            return;
        }
        self.by_key
            .retain(|_, of_key| of_key.retain(|grant| grant.forget_at > now));
        self.count = self.by_key.values().map(OfKey::len).sum();
        self.checked_count = self.count;
        self.checked_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_ms(ms)
    }

    fn given(grants: &mut Grants, key: &Arc<str>, number: u64, from: u64, lapses_at: Option<u64>) {
        let grant = Grant::new(at(from), Ticket::new(number), lapses_at.map(at));
        grants.add(at(from), key, grant);
    }

    fn oldest(grants: &Grants, now: u64, key: &str) -> Option<u64> {
        grants.oldest(at(now), key).map(|grant| grant.attempt.number())
    }

    #[test]
    fn a_release_belongs_to_the_oldest_grant_that_none_belongs_to() {
        let (mut grants, key) = (Grants::default(), Arc::from("k"));
        given(&mut grants, &key, 1, 0, Some(100));
        given(&mut grants, &key, 2, 200, Some(900));
        assert_eq!(oldest(&grants, 300, "k"), Some(1));
        grants.mark("k", Ticket::new(1), true);
        assert_eq!(oldest(&grants, 300, "k"), Some(2));
        grants.mark("k", Ticket::new(2), true);
        assert_eq!(oldest(&grants, 300, "k"), Some(1), "once more the first");
        grants.mark("k", Ticket::new(1), false);
        let late = grants
            .get("k", Ticket::new(1))
            .and_then(|grant| grant.outlived_by(at(300)));
        assert_eq!(late, Some(Duration::from_millis(200)));
        grants.settle("k", Ticket::new(1), true);
        grants.mark("k", Ticket::new(2), false);
        assert_eq!(oldest(&grants, 300, "k"), Some(2));
        grants.settle("k", Ticket::new(2), false);
        assert!(grants.is_empty() && grants.count == 0);
    }

    #[test]
    fn one_that_is_never_released_costs_nobody_after_a_minute() {
        let (mut grants, key) = (Grants::default(), Arc::from("k"));
        given(&mut grants, &key, 1, 0, Some(1_000));
        // Each of these holds for 10 s. The release of each is taken for the one before.
        for number in 2..=7 {
            let from = (number - 1) * 10_000 - 8_000;
            given(&mut grants, &key, number, from, Some(from + 10_000));
            assert_eq!(oldest(&grants, from + 1, "k"), Some(number - 1));
            grants.settle("k", Ticket::new(number - 1), true);
        }
        // The last of them lapses at 62 s, which is later than the first one is remembered: it is forgotten with that.
        given(&mut grants, &key, 8, 62_000, Some(72_000));
        assert_eq!(oldest(&grants, 62_001, "k"), Some(8));
    }

    #[test]
    fn one_without_an_expiry_is_known_for_less_long_than_its_record() {
        let (mut grants, key) = (Grants::default(), Arc::from("k"));
        given(&mut grants, &key, 1, 0, None);
        let end = u64::try_from(ENDLESS_KEPT.as_millis()).unwrap();
        assert_eq!(oldest(&grants, end - 1, "k"), Some(1));
        assert_eq!(oldest(&grants, end, "k"), None);
    }

    #[test]
    fn no_more_are_remembered_than_may_be_and_the_forgotten_make_room() {
        let mut grants = Grants::default();
        for number in 1..=GRANTS_MAX as u64 + 1 {
            given(&mut grants, &Arc::from(format!("{number}")), number, 0, Some(10));
        }
        assert_eq!(grants.count, GRANTS_MAX);
        assert_eq!(oldest(&grants, 0, &format!("{}", GRANTS_MAX + 1)), None);
        given(&mut grants, &Arc::from("late"), 1, 70_000, Some(80_000));
        assert_eq!((grants.count, oldest(&grants, 70_000, "late")), (1, Some(1)));
    }

    #[test]
    fn what_was_released_elsewhere_is_dropped() {
        let (mut grants, key) = (Grants::default(), Arc::from("k"));
        given(&mut grants, &key, 1, 0, Some(100));
        given(&mut grants, &key, 2, 150, Some(900));
        grants.drop_released("k", |grant| grant.cannot_have_lapsed(at(200)));
        assert_eq!(oldest(&grants, 200, "k"), Some(1));
        assert_eq!(grants.count, 1);
    }
}
