//! Locks without an owner that this member was given: which of them a release is for.
//!
//! The server compares the attempt that took a lock (see `docs/PROTOCOL.md`, Releasing without an owner), so such a release
//! frees its own lock or nothing, and may be repeated. Where locks without an owner are open to all, they are nobody's own.

use std::time::Duration;

use super::errand::Errand;
use super::{ErrandKind, Fleet, Given, Held, Lease};
use crate::core::grants::Grant;
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::{Failure, Outcome};
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

impl Fleet {
    /// Starts the release of `keys` without an owner: of the locks that this member was given, if it was given any of them,
    /// else of whoever's they are.
    pub fn release_ownerless(&mut self, now: Moment, ticket: Ticket, keys: KeySet) {
        let held = if self.given.is_empty() {
            Held::ByOwner(None)
        } else {
            self.given_of(now, &keys)
        };
        if held == Held::ByOwner(None) && self.released.is_repetition(now, &keys) {
            return self.tell(ticket, Outcome::Released(false));
        }
        self.run(now, ticket, ErrandKind::Release { keys, held });
    }

    fn given_of(&mut self, now: Moment, keys: &KeySet) -> Held {
        let mut is_any_given = false;
        let given = keys.iter().map(|key| {
            let grant = self.given.oldest(now, key)?;
            is_any_given = true;
            self.given.mark(key, grant.attempt, true);
            Some(Given {
                attempt: grant.attempt,
                is_endless: grant.lapses_at.is_none(),
            })
        });
        let given = given.collect();
        if is_any_given {
            Held::ByGrants(given)
        } else {
            Held::ByOwner(None)
        }
    }

    /// A lock was given by the command that was sent then.
    pub(super) fn note_given(
        &mut self,
        now: Moment,
        attempt: Ticket,
        sent_at: Moment,
        keys: &KeySet,
        owner: &Owner,
        expire: Option<Duration>,
    ) {
        if *owner != Owner::Anyone || self.config.ownerless_open {
            return;
        }
        let grant = Grant::new(now, attempt, expire.map(|span| sent_at.after(span)));
        let grant = expire.map_or(grant, |span| grant.sure_until(Lease::good_until(sent_at, span)));
        for key in keys {
            // A lock that cannot have lapsed was released before it could be given anew: by another process, or by force.
            self.given
                .drop_released(key, |before| before.cannot_have_lapsed(now));
            self.given.add(now, key, grant);
        }
    }

    /// What the caller of an errand that is over is told. A grant whose release may have failed may be released again.
    pub(super) fn settle_grants(&mut self, errand: &Errand, outcome: Outcome) -> Outcome {
        let ErrandKind::Release {
            keys,
            held: Held::ByGrants(given),
        } = &errand.kind
        else {
            return outcome;
        };
        let is_answered = matches!(outcome, Outcome::Released(_));
        let mut outlived = None;
        for (key, given) in keys.iter().zip(given) {
            let Some(Given { attempt, .. }) = given else {
                continue;
            };
            if !is_answered {
                self.given.mark(key, *attempt, false);
                continue;
            }
            let late = self
                .late_for(errand, key, *attempt)
                .filter(|_| outcome == Outcome::Released(false));
            self.given.settle(key, *attempt, late.is_some());
            outlived = outlived.or(late.map(|late| (key, late)));
        }
        // Not where another process had released it: then releases do cross processes.
        if outlived.is_some() || outcome == Outcome::Released(true) {
            self.released.note(errand.asked_at, keys);
        }
        match outlived {
            Some((key, late)) => Outcome::Outlived(Failure::outlived(key, late)),
            None => outcome,
        }
    }

    /// Whether a release was asked for after one of its locks had lapsed: then that it is not held says that it came too late,
    /// even if an earlier try of it may have run.
    pub(super) fn is_too_late(&self, errand: &Errand) -> bool {
        match &errand.kind {
            ErrandKind::Release {
                keys,
                held: Held::ByGrants(given),
            } => keys.iter().zip(given).any(|(key, given)| {
                given.is_some_and(|given| self.late_for(errand, key, given.attempt).is_some())
            }),
            _ => false,
        }
    }

    /// By how long whoever asked for this release had outlived the lock, by this process's clock.
    fn late_for(&self, errand: &Errand, key: &str, attempt: Ticket) -> Option<Duration> {
        self.given.get(key, attempt)?.outlived_by(errand.asked_at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cohort::tests::{at, fleet, told};
    use super::*;
    use crate::core::fleet::{Answer, Command, Sent, Wish};
    use crate::core::patience::Patience;
    use crate::core::table::Claim;

    const EXPIRE: Duration = Duration::from_secs(10);

    fn keys() -> KeySet {
        KeySet::new(["k"]).unwrap()
    }

    fn only_sent(fleet: &mut Fleet, now: u64) -> Sent {
        let mut sent = Vec::new();
        fleet.take_outbox(at(now), &mut sent);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// Request `number` acquires "k" for 10 s at `now`.
    fn acquire(fleet: &mut Fleet, now: u64, number: u64) {
        let wish = Wish {
            keys: keys(),
            claim: Claim::Lock {
                owner: Owner::Anyone,
                expire: Some(EXPIRE),
            },
            lease: Duration::ZERO,
            patience: Patience::Refuse,
        };
        fleet.request(at(now), Ticket::new(number), wish).unwrap();
        let sent = only_sent(fleet, now);
        fleet.answered(at(now), sent, Answer::Granted(100 + number));
        told(fleet);
    }

    /// Release `number` begins at `now`; answers what is asked of the server.
    fn release(fleet: &mut Fleet, now: u64, number: u64) -> (Sent, Held) {
        fleet.release_ownerless(at(now), Ticket::new(number), keys());
        let sent = only_sent(fleet, now);
        let Command::Release { held, .. } = &sent.command else {
            panic!("{sent:?}");
        };
        let held = held.clone();
        (sent, held)
    }

    fn by(attempt: u64) -> Held {
        Held::ByGrants(vec![Some(Given {
            attempt: Ticket::new(attempt),
            is_endless: false,
        })])
    }

    fn connected() -> Fleet {
        let mut fleet = fleet();
        fleet.link_up(at(0), true, true);
        fleet
    }

    #[test]
    fn a_release_names_the_oldest_grant_and_is_told_when_that_had_lapsed() {
        let mut fleet = connected();
        acquire(&mut fleet, 0, 1);
        acquire(&mut fleet, 11_000, 2);
        let (sent, held) = release(&mut fleet, 12_500, 3);
        assert_eq!(held, by(1));
        fleet.answered(at(12_600), sent, Answer::Released(false));
        let late = Duration::from_millis(2_500);
        assert_eq!(
            told(&mut fleet),
            [(3, Outcome::Outlived(Failure::outlived("k", late)))]
        );
        let (sent, held) = release(&mut fleet, 12_700, 4);
        assert_eq!(held, by(2));
        fleet.answered(at(12_800), sent, Answer::Released(true));
        assert_eq!(told(&mut fleet), [(4, Outcome::Released(true))]);
        // A repetition, as of a compensation: whoever has the key by now keeps it.
        fleet.release_ownerless(at(13_000), Ticket::new(5), keys());
        assert_eq!(told(&mut fleet), [(5, Outcome::Released(false))]);
        assert_eq!(release(&mut fleet, 13_100, 6).1, Held::ByOwner(None));
    }

    #[test]
    fn a_grant_that_cannot_have_lapsed_is_replaced_by_the_next() {
        let mut fleet = connected();
        acquire(&mut fleet, 0, 1);
        acquire(&mut fleet, 5_000, 2);
        assert_eq!(release(&mut fleet, 6_000, 3).1, by(2));
    }

    #[test]
    fn a_release_whose_reply_is_lost_is_repeated_and_counts_as_done() {
        for (asked_at, outcome) in [
            (5_000, Outcome::Released(true)),
            (
                12_000,
                Outcome::Outlived(Failure::outlived("k", Duration::from_secs(2))),
            ),
        ] {
            let mut fleet = connected();
            acquire(&mut fleet, 0, 1);
            let (sent, _) = release(&mut fleet, asked_at, 2);
            fleet.link_down([sent], Failure::closed());
            fleet.link_up(at(asked_at + 100), true, true);
            let again = only_sent(&mut fleet, asked_at + 100);
            fleet.answered(at(asked_at + 200), again, Answer::Released(false));
            assert_eq!(told(&mut fleet), [(2, outcome)]);
        }
    }

    #[test]
    fn a_release_that_failed_may_be_made_again() {
        let mut fleet = connected();
        acquire(&mut fleet, 0, 1);
        let (_, held) = release(&mut fleet, 100, 2);
        assert_eq!(held, by(1));
        fleet.tick(at(5_200), Duration::ZERO);
        assert!(matches!(told(&mut fleet)[..], [(2, Outcome::Failed(_))]));
        assert_eq!(release(&mut fleet, 5_300, 3).1, by(1));
    }
}
