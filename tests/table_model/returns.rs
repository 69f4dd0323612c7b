//! Callers that were refused and come back, in the naive table: a list of what they left behind.

use std::time::Duration;

use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::table::{Claim, Request};
use medusa_locking_native::core::ticket::Ticket;

use super::model::Model;

/// Who comes back within this time stands where it stood.
pub const COMES_BACK_WITHIN: Duration = Duration::from_secs(1);

/// One that waits, or is kept for its caller.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub request: Request,
    pub place: Ticket,
    pub caller: Caller,
    pub ends_at: Moment,
}

/// Whoever made a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    New,
    /// It has come back after so many ms.
    Back(u64),
    /// It was refused, and its request is kept for it.
    Away,
}

/// What a caller left behind.
#[derive(Clone, Debug)]
pub struct Left {
    at: Moment,
    request: Request,
    place: Ticket,
    /// Its request, and not its place alone.
    is_kept: bool,
}

impl Waiting {
    pub fn is_away(&self) -> bool {
        self.caller == Caller::Away
    }

    pub fn wants(&self, key: &str) -> bool {
        self.request.keys.iter().any(|wanted| **wanted == *key)
    }
}

/// For how many ms a request is kept whose caller was away for `ms` before.
pub fn absence(ms: u64) -> u64 {
    (ms + ms / 2 + 50).min(1_000)
}

/// Whether nobody can tell who made the one from who made the other.
pub fn are_alike(one: &Request, other: &Request) -> bool {
    one.claim != Claim::Job && (&one.keys, &one.claim) == (&other.keys, &other.claim)
}

impl Model {
    /// Where a request stands, and whose it is. What was left for it is taken.
    pub fn come_back(&mut self, now: Moment, request: &Request) -> (Ticket, Caller) {
        let is_there = |model: &Model, left: &Left| {
            let is_kept = |waiting: &Waiting| waiting.place == left.place && waiting.is_away();
            let counts = !left.is_kept || model.waiting.iter().any(is_kept);
            counts && now.since(left.at) <= COMES_BACK_WITHIN && are_alike(&left.request, request)
        };
        let Some(at) = self.left.iter().position(|left| is_there(self, left)) else {
            return (request.ticket, Caller::New);
        };
        let left = self.left.remove(at);
        self.waiting.retain(|waiting| waiting.place != left.place);
        let away = now.as_ms() - left.at.as_ms();
        (left.place, Caller::Back(away))
    }

    /// One was refused, or has waited in vain.
    pub fn leave_behind(&mut self, now: Moment, waiting: Waiting) {
        if waiting.request.claim == Claim::Job {
            return;
        }
        let has_room = self.check_room(&waiting.request).is_ok();
        let ends_at = match waiting.caller {
            Caller::Back(away) if has_room => Some(now.after(Duration::from_millis(absence(away)))),
            _ => None,
        };
        self.left.push(Left {
            at: now,
            request: waiting.request.clone(),
            place: waiting.place,
            is_kept: ends_at.is_some(),
        });
        if let Some(ends_at) = ends_at {
            self.enqueue(Waiting {
                caller: Caller::Away,
                ends_at,
                ..waiting
            });
        }
    }

    /// In the order of places.
    pub fn enqueue(&mut self, waiting: Waiting) {
        let at = self.waiting.partition_point(|other| other.place < waiting.place);
        self.waiting.insert(at, waiting);
    }
}
