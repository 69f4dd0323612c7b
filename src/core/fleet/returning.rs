//! Callers that were refused an `acquire` and come back for it. [`crate::core::refusals`] says which these are.
//!
//! The request of a caller that polls stays where it is while the caller is away: in the local queue, or in the server's. It
//! says nothing to the server then. What it is handed is kept for the caller, which claims it when it comes back, within less
//! than the time that the server gives to claim; if the caller does not come back, the request is cancelled, and with that the
//! lock goes to the next one.

use std::time::Duration;

use super::ask::{Ask, Phase, Wish};
use super::{Fleet, Timer};
use crate::core::moment::Moment;
use crate::core::outcome::Outcome;
use crate::core::patience::Patience;
use crate::core::refusals::{Return, Wanted, absence};
use crate::core::table::Claim;
use crate::core::ticket::Ticket;

/// What a caller that was refused left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Where it stood here, and its ticket in the server's queues; 0: it had none.
    Place(Ticket, u64),
    /// Its request, which stays.
    Request(Ticket),
}

/// Whether the caller of a request has asked for the same before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// Not that we know.
    New,
    /// It has come back after so long.
    Back(Duration),
    /// It was refused again, and is expected to come back.
    Away,
}

impl Visit {
    pub(super) fn is_away(self) -> bool {
        self == Visit::Away
    }
}

impl Fleet {
    /// Whether the caller of `ticket` has come back to a request of its own that goes on. One that has left no more than its
    /// place takes that with `ask`.
    pub(super) fn comes_back(&mut self, now: Moment, ticket: Ticket, ask: &mut Ask) -> bool {
        if self.refusals.are_none() {
            return false;
        }
        let Some(wanted) = wanted(&ask.wish) else {
            return false;
        };
        let asks = &self.asks;
        let is_there = |left: &Left| match left {
            Left::Place(..) => true,
            Left::Request(attempt) => asks
                .get(attempt)
                .is_some_and(|ask| ask.visit.is_away() && !ask.caller_gone),
        };
        match self.refusals.take(now, &wanted, is_there) {
            None => false,
            Some(Return {
                place: Left::Place(place, server_ticket),
                away,
            }) => {
                (ask.place, ask.server_ticket, ask.visit) = (place, server_ticket, Visit::Back(away));
                false
            }
            Some(Return {
                place: Left::Request(attempt),
                away,
            }) => {
                self.goes_on(now, attempt, ticket, ask.wish.patience, away);
                true
            }
        }
    }

    /// The request `attempt` goes on for its caller, which has come back as `ticket`.
    fn goes_on(&mut self, now: Moment, attempt: Ticket, ticket: Ticket, patience: Patience, away: Duration) {
        let Some(ask) = self.asks.get_mut(&attempt) else {
            return;
        };
        (ask.told_as, ask.visit, ask.wish.patience) = (ticket, Visit::Back(away), patience);
        let phase = ask.phase;
        // What the server said before counts no more: it is asked again.
        ask.busy = None;
        ask.armed_at = None;
        self.attempts.insert(ticket, attempt);
        self.arm_ask(now, attempt);
        match phase {
            Phase::Waiting | Phase::Stuck => self.may_ask(now, attempt),
            // Others of this member come first.
            Phase::Queued if patience == Patience::Refuse => {
                self.refuse(now, attempt);
                self.stays(now, attempt);
            }
            Phase::Queued => self.try_to_extend(attempt),
            // Its answer is on its way.
            Phase::Sent | Phase::Cancelling => {
                if let Some(ask) = self.asks.get_mut(&attempt) {
                    ask.armed_at = Some(now);
                }
            }
        }
    }

    /// The server has put `ticket` into its queues: whether its caller does not wait for more.
    pub(super) fn goes_away(&mut self, now: Moment, ticket: Ticket) -> bool {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return true;
        };
        if ask.has_caller() && ask.is_patient() {
            return false;
        }
        ask.phase = Phase::Waiting;
        if !ask.visit.is_away() {
            self.refuse(now, ticket);
            self.stays(now, ticket);
        }
        true
    }

    /// Tells the caller of `ticket`, which does not wait, that somebody else holds the lock.
    pub(super) fn refuse(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get(&ticket) else {
            return;
        };
        let Some(key) = ask.busy.clone().or_else(|| ask.wish.keys.iter().next().cloned()) else {
            return;
        };
        if ask.wish.is_job() {
            return self.tell(ticket, Outcome::TimedOut(key));
        }
        let is_first = ask.visit == Visit::New;
        self.tell_asker(ticket, Outcome::Refused(key));
        if is_first {
            self.stays(now, ticket);
        }
    }

    /// The caller of `ticket` has been refused: whether its request stays until it comes back.
    pub(super) fn stays(&mut self, now: Moment, ticket: Ticket) -> bool {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return false;
        };
        let Some(wanted) = wanted(&ask.wish) else {
            return false;
        };
        let Visit::Back(away) = ask.visit else {
            let left = Left::Place(ask.place, ask.server_ticket);
            self.refusals.note(now, wanted, left);
            return false;
        };
        let ends_at = now.after(absence(away));
        (ask.visit, ask.again_at, ask.takes_last_look) = (Visit::Away, None, false);
        ask.ends_at = Some(ends_at);
        self.attempts.remove(&ask.told_as);
        self.arm(ends_at, Timer::AskEnds(ticket));
        self.refusals.note(now, wanted, Left::Request(ticket));
        true
    }

    /// The server has granted a lock to a caller that is away: it claims it again when it comes back.
    pub(super) fn keep_for_caller(&mut self, now: Moment, ticket: Ticket) {
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.may_hold = true;
            ask.phase = Phase::Waiting;
            self.lines.moved(now, &ask.wish.keys);
        }
    }

    /// The request under whose id `ticket` asks.
    pub(super) fn attempt_of(&self, ticket: Ticket) -> Ticket {
        self.attempts.get(&ticket).copied().unwrap_or(ticket)
    }

    /// Tells whoever made the request `attempt`, unless its caller is away.
    pub(super) fn tell_asker(&mut self, attempt: Ticket, outcome: Outcome) {
        match self
            .asks
            .get(&attempt)
            .map(|ask| (ask.told_as, ask.visit.is_away()))
        {
            Some((told_as, false)) => self.tell(told_as, outcome),
            Some((_, true)) => {}
            None => self.tell(attempt, outcome),
        }
    }
}

/// What a caller is known by that may come back; None: one that does not.
fn wanted(wish: &Wish) -> Option<Wanted> {
    match &wish.claim {
        Claim::Job => None,
        Claim::Lock { owner, expire } => Some(Wanted {
            keys: wish.keys.clone(),
            owner: owner.clone(),
            expire: *expire,
        }),
    }
}
