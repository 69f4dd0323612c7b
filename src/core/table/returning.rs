//! Callers that were refused and come back: where they stand. [`crate::core::refusals`] says which these are.
//!
//! The request of a caller that polls stays in the queues while the caller is away. It is not granted then: as the first of a
//! queue it keeps the key free for as long as the caller may be expected to stay away, and no longer.

use std::time::Duration;

use super::{Claim, Table, Waiter};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::refusals::{Return, Wanted, absence};
use crate::core::ticket::Ticket;

/// What a caller that was refused left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Its place.
    Place(Ticket),
    /// Its request, which stands there.
    Request(Ticket),
}

/// Whoever made a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Asks for the first time, as far as is known.
    New,
    /// Has come back after so long.
    Back(Duration),
    /// Was refused again, and is expected to come back.
    Away,
}

impl Caller {
    pub(super) fn is_away(self) -> bool {
        self == Caller::Away
    }
}

impl Table {
    /// Where a new request stands, and who makes it: a caller that has come back stands where it stood.
    pub(super) fn come_back(
        &mut self,
        now: Moment,
        ticket: Ticket,
        keys: &KeySet,
        claim: &Claim,
    ) -> (Ticket, Caller) {
        if self.refusals.are_none() {
            return (ticket, Caller::New);
        }
        let Some(wanted) = wanted(keys, claim) else {
            return (ticket, Caller::New);
        };
        let waiters = &self.waiters;
        let is_there = |left: &Left| match left {
            Left::Place(_) => true,
            Left::Request(place) => waiters.get(place).is_some_and(|waiter| waiter.caller.is_away()),
        };
        match self.refusals.take(now, &wanted, is_there) {
            None => (ticket, Caller::New),
            Some(Return { place: left, away }) => {
                let (Left::Place(place) | Left::Request(place)) = left;
                if left == Left::Request(place) {
                    self.dequeue(place);
                }
                (place, Caller::Back(away))
            }
        }
    }

    /// A request has been refused, or has waited in vain, and is in no queue: whether it stays for its caller to come back.
    pub(super) fn stays(&mut self, now: Moment, place: Ticket, waiter: Waiter) -> bool {
        let Some(wanted) = wanted(&waiter.keys, &waiter.claim) else {
            return false;
        };
        let away = match waiter.caller {
            Caller::Back(away) if self.check_limits(&waiter.keys).is_ok() => away,
            _ => {
                self.refusals.note(now, wanted, Left::Place(place));
                return false;
            }
        };
        self.refusals.note(now, wanted, Left::Request(place));
        let stays = Waiter {
            caller: Caller::Away,
            deadline: Some(now.after(absence(away))),
            ..waiter
        };
        self.enqueue(place, stays);
        true
    }

    /// The place of a request.
    pub(super) fn place_of(&self, ticket: Ticket) -> Ticket {
        self.places.get(&ticket).copied().unwrap_or(ticket)
    }
}

/// What a caller is known by that may come back; None: one that does not.
fn wanted(keys: &KeySet, claim: &Claim) -> Option<Wanted> {
    match claim {
        Claim::Job => None,
        Claim::Lock { owner, expire } => Some(Wanted {
            keys: keys.clone(),
            owner: owner.clone(),
            expire: *expire,
        }),
    }
}
