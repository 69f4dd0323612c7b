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
