//! A request on its way to a lock: what it wants and where it stands.

use std::sync::Arc;
use std::time::Duration;

use super::returning::Visit;
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::Failure;
use crate::core::owner::Owner;
use crate::core::patience::Patience;
use crate::core::table::Claim;
use crate::core::ticket::Ticket;

/// What a request wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What to lock.
    pub keys: KeySet,
    /// As what. A job's lease is in `lease`.
    pub claim: Claim,
    /// How long the lock of a job lives between renewals; a job never comes without.
    pub lease: Duration,
    /// How long to wait.
    pub patience: Patience,
}

impl Wish {
    /// Whether a job is to run under the lock.
    pub fn is_job(&self) -> bool {
        self.claim == Claim::Job
    }

    pub(super) fn owner(&self, ticket: Ticket) -> Owner {
        match &self.claim {
            Claim::Job => Owner::Job(ticket),
            Claim::Lock { owner, .. } => owner.clone(),
        }
    }

    /// How long a grant is good for; None: until released.
    pub(super) fn expire(&self) -> Option<Duration> {
        match &self.claim {
            Claim::Job => Some(self.lease),
            Claim::Lock { expire, .. } => *expire,
        }
    }
}

/// Where an ask stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In the local queue: it may not ask yet.
    Queued,
    /// Its command is on the way, and so is the answer.
    Sent,
    /// It stands in the server's queues. The server will call, or a timer will ask again.
    Waiting,
    /// Nobody wants the lock any more; the command that gives it back is on the way.
    Cancelling,
    /// The link is down; its return will tell what to do.
    Stuck,
}

/// One request on its way to a lock.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) wish: Wish,
    /// Whom to tell: its own ticket, or that of the last request of a caller that has come back.
    pub(super) told_as: Ticket,
    /// Whether its caller has asked for the same before.
    pub(super) visit: Visit,
    /// Where it stands in a local queue: at its own ticket, or where its caller stood that has come back.
    pub(super) place: Ticket,
    /// It has a place in a local queue, which it must give up in the end.
    pub(super) has_place: bool,
    pub(super) phase: Phase,
    /// Nobody waits for its outcome any more.
    pub(super) caller_gone: bool,
    /// The server may hold its locks for it, or a place in its queues: it stands in these, or a try of it was sent whose
    /// answer will never come.
    pub(super) may_hold: bool,
    /// A command of it was on its way when the link broke.
    pub(super) was_sent: bool,
    /// Until then that may still run: whoever has got its keys must not get them once more, under another token.
    pub(super) late_until: Option<Moment>,
    /// Commands of a broken link may still run after those of the new one: settle twice.
    pub(super) settle_twice: bool,
    /// A try to extend is on the way; the ask itself is held back until that is answered.
    pub(super) extending: bool,
    /// It may ask as soon as nothing holds it back.
    pub(super) held_back: bool,
    /// Its wait has come to its end but for one look at whether the lock has changed hands.
    pub(super) takes_last_look: bool,
    /// Its ticket in the server's queues; 0: none yet.
    pub(super) server_ticket: u64,
    /// How often it found its lock held by somebody who will not call.
    pub(super) tries: u32,
    /// The key that it said so for.
    pub(super) busy: Option<Arc<str>>,
    /// Or the trouble that it had.
    pub(super) trouble: Option<Failure>,
    /// When it was made.
    pub(super) asked_at: Moment,
    /// Since when it may ask the server.
    pub(super) armed_at: Option<Moment>,
    pub(super) again_at: Option<Moment>,
    pub(super) ends_at: Option<Moment>,
}

impl Ask {
    pub(super) fn new(now: Moment, ticket: Ticket, wish: Wish, has_place: bool) -> Self {
        Ask {
            wish,
            told_as: ticket,
            visit: Visit::New,
            place: ticket,
            has_place,
            phase: Phase::Stuck,
            caller_gone: false,
            may_hold: false,
            was_sent: false,
            late_until: None,
            settle_twice: false,
            extending: false,
            held_back: false,
            takes_last_look: false,
            server_ticket: 0,
            tries: 0,
            busy: None,
            trouble: None,
            asked_at: now,
            armed_at: None,
            again_at: None,
            ends_at: None,
        }
    }

    pub(super) fn wait_here(&mut self) {
        self.phase = Phase::Queued;
    }

    /// What was sent, or was just about to be, may have run.
    pub(super) fn link_down(&mut self) {
        if self.extending || matches!(self.phase, Phase::Sent | Phase::Cancelling) {
            self.may_hold = true;
            self.was_sent = true;
        }
        self.extending = false;
        if self.phase != Phase::Queued {
            self.phase = Phase::Stuck;
        }
    }

    /// Whether it waits here for a lease of this span that another job of this process held, and for nothing else.
    pub(super) fn may_inherit(&self, span: Duration) -> bool {
        self.phase == Phase::Queued && self.wish.is_job() && self.wish.lease == span
    }

    /// Whether a try to extend is on the way, or was and its answer will never come.
    pub(super) fn may_have_extended(&self) -> bool {
        self.extending || (self.phase == Phase::Queued && self.may_hold)
    }

    /// As whom it waits, where that is not a job.
    pub(super) fn waits_as(&self) -> Option<&Owner> {
        match &self.wish.claim {
            Claim::Lock { owner, .. } if self.waits() => Some(owner),
            _ => None,
        }
    }

    /// Whether somebody waits for its outcome now.
    pub(super) fn has_caller(&self) -> bool {
        !self.caller_gone && !self.visit.is_away()
    }

    /// Whether its caller waits for the lock, and not for an answer only.
    pub(super) fn is_patient(&self) -> bool {
        self.wish.patience != Patience::Refuse
    }

    /// Whether it stands in queues until it is served: its caller waits, or comes back.
    pub(super) fn waits(&self) -> bool {
        self.is_patient() || self.visit != Visit::New
    }
}
