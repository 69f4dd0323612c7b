//! The lock table: which keys are held, by whom, and who waits for them in which order.
//!
//! A request names a set of keys and gets all of them or none. It is granted when, for every key it names, either
//! nobody holds the key and the request is the first in the key's queue, or its own owner holds the key already.
//! While it waits it holds nothing, so no order of keys can deadlock; and it stands in the queue of every key it
//! names, so nobody who came later overtakes it on any of them and a large set cannot starve.
//!
//! The place of a request is its ticket, or the one of a caller that was refused and has come back ([`returning`]).
//!
//! Invariants, checked against a naive model by `tests/table_model.rs`:
//! - a key has at most one holder;
//! - a queue is in the order of places, and so are the grants of a key that were waited for;
//! - the grants of a key carry rising tokens, whoever waited for them for how long;
//! - a request that was cancelled or timed out is never granted afterwards;
//! - a key that nobody holds and nobody waits for has no slot: keys used once leave nothing behind;
//! - after every public call no waiter is left that could be granted, but for those whose caller is away for a moment.
//!
//! The table refuses to know time, threads or callers: `now` and opaque [`Client`] numbers come in, [`Effect`]s go out.

mod evaluate;
mod inspect;
mod outlived;
mod returning;
mod slot;
mod timeout;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::core::error::RequestError;
use crate::core::grants::Grants;
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::owner::Owner;
use crate::core::patience::Patience;
use crate::core::refusals::Refusals;
use crate::core::ticket::Ticket;
pub use inspect::LockView;
pub use outlived::Released;
use returning::{Caller, Left};
use slot::{Granted, Slot};

/// Whoever the answers of a request go to; a number that only the table's user can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u32);

/// How many may wait. Every bound has its error (see [`RequestError`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait for one key.
    pub waiters_per_key_max: usize,
    /// Requests that wait in the whole table.
    pub waiters_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            waiters_per_key_max: 100_000,
            waiters_max: 1_000_000,
        }
    }
}

/// What a lock without an owner allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownerless {
    /// It excludes everybody, also others that name no owner.
    #[default]
    Exclusive,
    /// Any `acquire` may extend it or adopt it under its own name, and anybody may release it.
    Open,
}

/// What a request wants to hold its keys as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Until [`Table::finish`], for the job of the request itself.
    Job,
    /// Until [`Table::release`] by the same owner, or until `expire` has passed.
    Lock {
        /// Anyone or a named owner; never a job.
        owner: Owner,
        /// None: no expiry.
        expire: Option<Duration>,
    },
}

/// One request for a set of keys.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number; higher than that of every request before it.
    pub ticket: Ticket,
    /// Who is told.
    pub client: Client,
    /// What it locks.
    pub keys: KeySet,
    /// As what.
    pub claim: Claim,
    /// How long it waits.
    pub patience: Patience,
}

/// What became of a request at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds all its keys.
    Granted,
    /// It waits; an [`Effect`] will tell.
    Queued,
    /// It holds nothing and does not wait; this is the first key that it could not have.
    Refused(Arc<str>),
}

/// Something that a client must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Whom.
    pub client: Client,
    /// About which request.
    pub ticket: Ticket,
    /// What.
    pub change: Change,
}

/// What happened to a request after its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It waited and now holds all its keys, under this fencing token.
    Granted(Ticket),
    /// Its patience ended; this is the first key that it could not have.
    TimedOut(Arc<str>),
    /// It is a job, and this key of it was released by somebody else.
    Lost(Arc<str>),
}

/// A request that waits.
#[derive(Debug)]
struct Waiter {
    client: Client,
    ticket: Ticket,
    caller: Caller,
    keys: KeySet,
    claim: Claim,
    patience: Patience,
    /// When the patience ends, unless the line moves until then.
    deadline: Option<Moment>,
    /// Which of its keys kept it when it was last looked at. With many keys, each would else be looked at whenever one is freed.
    kept_by: usize,
}

/// A job that runs.
#[derive(Debug)]
struct Job {
    client: Client,
    keys: KeySet,
    /// It was told that it lost a key; it is told once.
    lost: bool,
}

/// See the module's description. Wherever a ticket stands for a waiter, it is the waiter's place.
#[derive(Debug)]
pub struct Table {
    ownerless: Ownerless,
    limits: Limits,
    /// The next number above all tickets, for the token of a grant that was waited for.
    next_token: fn() -> Ticket,
    slots: HashMap<Arc<str>, Slot>,
    waiters: HashMap<Ticket, Waiter>,
    /// The places of those requests that stand where a caller stood that has come back.
    places: HashMap<Ticket, Ticket>,
    /// Who was refused of late.
    refusals: Refusals<Left>,
    jobs: HashMap<Ticket, Job>,
    /// The waiters that name an owner, by that owner: they can be granted out of turn (see `evaluate`).
    named_waiters: HashMap<Box<str>, BTreeSet<Ticket>>,
    /// When the patience of each waiter ends.
    timeouts: BTreeSet<(Moment, Ticket)>,
    /// When each lock with an expiry ends. By its grant before its key: many end within one millisecond, and numbers are
    /// compared faster than text.
    expiries: BTreeSet<(Moment, Ticket, Arc<str>)>,
    /// The locks without an owner that have lapsed and were not released since.
    lapsed: Grants,
    /// Waiters that a change may have let through, to be looked at in ticket order; empty between public calls.
    candidates: BTreeSet<Ticket>,
}

impl Table {
    /// An empty table. `next_token` answers numbers that rise, each above all tickets that the table has been given.
    pub fn new(ownerless: Ownerless, limits: Limits, next_token: fn() -> Ticket) -> Self {
        Table {
            ownerless,
            limits,
            next_token,
            slots: HashMap::new(),
            waiters: HashMap::new(),
            places: HashMap::new(),
            refusals: Refusals::default(),
            lapsed: Grants::default(),
            jobs: HashMap::new(),
            named_waiters: HashMap::new(),
            timeouts: BTreeSet::new(),
            expiries: BTreeSet::new(),
            candidates: BTreeSet::new(),
        }
    }

    /// Asks for all keys of `request`. An empty set is granted.
    ///
    /// # Errors
    /// As many wait already as may; nothing has changed then.
    pub fn request(
        &mut self,
        now: Moment,
        request: Request,
        out: &mut Vec<Effect>,
    ) -> Result<Verdict, RequestError> {
        self.tick(now, out);
        let Request {
            ticket,
            client,
            keys,
            claim,
            patience,
        } = request;
        let (place, caller) = self.come_back(now, ticket, &keys, &claim);
        let Some(blocked) = self.first_blocked(place, &keys, &claim) else {
            let granted_as = Granted {
                ticket,
                token: ticket,
            };
            self.hold(now, granted_as, client, keys, claim);
            self.settle(now, out);
            return Ok(Verdict::Granted);
        };
        let waiter = Waiter {
            client,
            ticket,
            caller,
            keys,
            claim,
            patience,
            deadline: patience.ends_at(),
            kept_by: 0,
        };
        if !patience.waits_at(now) {
            self.stays(now, place, waiter);
            return Ok(Verdict::Refused(blocked));
        }
        self.check_limits(&waiter.keys)?;
        self.enqueue(place, waiter);
        Ok(Verdict::Queued)
    }

    /// Ends the job of `ticket` and frees what it still holds. False when it lost a key before, or does not exist.
    pub fn finish(&mut self, now: Moment, ticket: Ticket, out: &mut Vec<Effect>) -> bool {
        self.tick(now, out);
        let Some(job) = self.end_job(now, ticket) else {
            return false;
        };
        self.settle(now, out);
        !job.lost
    }

    /// Frees those of `keys` that `owner` holds.
    pub fn release(&mut self, now: Moment, keys: &KeySet, owner: &Owner, out: &mut Vec<Effect>) -> Released {
        self.tick(now, out);
        let open = self.ownerless == Ownerless::Open;
        let mut released = Released::All;
        for key in keys {
            if let Some(late) = self.outlived(now, key, owner) {
                released = released.or_outlived(key, late);
                continue;
            }
            let freed = self.vacate_if(now, key, |holder| {
                holder.owner == *owner || (open && holder.owner == Owner::Anyone)
            });
            match freed {
                Some(holder) => {
                    self.forget_grant(key, &holder);
                    self.tell_lost(&holder, key, out);
                }
                None => released = released.or_less(),
            }
        }
        self.settle(now, out);
        released
    }

    /// Frees every lock of `owner`, or every lock there is. Whoever waits goes on waiting, or is granted.
    pub fn release_all(&mut self, now: Moment, owner: Option<&Owner>, out: &mut Vec<Effect>) {
        self.tick(now, out);
        self.vacate_all(
            now,
            |holder| owner.is_none_or(|owner| holder.owner == *owner),
            out,
        );
    }

    /// Ends the wait of `ticket`; a lock that it was granted is given back. For a caller that has gone.
    pub fn cancel(&mut self, now: Moment, ticket: Ticket, out: &mut Vec<Effect>) {
        self.tick(now, out);
        if self.is_waiting(ticket)
            && let Some(waiter) = self.dequeue(self.place_of(ticket))
        {
            self.look_at(&waiter.keys);
            self.settle(now, out);
        } else if self.jobs.contains_key(&ticket) {
            self.finish(now, ticket, out);
        } else {
            self.take_back(now, &HashSet::from([ticket]), out);
        }
    }

    /// Gives back the locks that these requests were granted, but for those that were taken again since.
    pub fn take_back(&mut self, now: Moment, tickets: &HashSet<Ticket>, out: &mut Vec<Effect>) {
        self.vacate_all(
            now,
            |holder| tickets.contains(&holder.grant) && !holder.taken_again,
            out,
        );
    }

    /// Takes every waiter of `client` out of its queues and says which these were. Its jobs go on.
    pub fn leave_queues(&mut self, now: Moment, client: Client, out: &mut Vec<Effect>) -> Vec<Ticket> {
        self.tick(now, out);
        let left = self.dequeue_all(client);
        for (_, waiter) in &left {
            self.look_at(&waiter.keys);
        }
        self.settle(now, out);
        let present = left.into_iter().filter(|(_, waiter)| !waiter.caller.is_away());
        present.map(|(_, waiter)| waiter.ticket).collect()
    }

    /// Ends everything of `client`: its waiters leave, its jobs end. Locks that it acquired belong to their owners
    /// and stay.
    pub fn leave(&mut self, now: Moment, client: Client, out: &mut Vec<Effect>) {
        self.tick(now, out);
        // All of it goes before anyone is looked at: nothing of this client may be granted on the way out, and who
        // gets what it held does not depend on what goes first.
        let left = self.dequeue_all(client);
        let running: Vec<Ticket> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.client == client)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in running {
            self.end_job(now, ticket);
        }
        for (_, waiter) in &left {
            self.look_at(&waiter.keys);
        }
        self.settle(now, out);
    }

    /// Frees the locks and ends the waits whose time has come.
    pub fn tick(&mut self, now: Moment, out: &mut Vec<Effect>) {
        // All that has expired is free before anyone is looked at: else its owner could take an expired lock again, past
        // those who wait for it.
        while self.expiries.first().is_some_and(|(at, ..)| *at <= now) {
            while let Some((_, _, key)) = self.expiries.first().filter(|(at, ..)| *at <= now).cloned() {
                if let Some(holder) = self.vacate_if(now, &key, |_| true) {
                    self.note_lapsed(now, &key, &holder);
                }
            }
            self.settle(now, out);
        }
        while let Some((_, ticket)) = self.timeouts.first().filter(|(at, _)| *at <= now).copied() {
            self.time_out(now, ticket, out);
        }
    }

    /// When [`Table::tick`] has something to do next; [`Moment::NEVER`] when nothing is due.
    pub fn next_deadline(&self) -> Moment {
        let expiry = self.expiries.first().map_or(Moment::NEVER, |(at, ..)| *at);
        let timeout = self.timeouts.first().map_or(Moment::NEVER, |(at, _)| *at);
        expiry.min(timeout)
    }

    fn check_limits(&self, keys: &KeySet) -> Result<(), RequestError> {
        if self.waiters.len() >= self.limits.waiters_max {
            return Err(RequestError::Waiters {
                max: self.limits.waiters_max,
            });
        }
        let max = self.limits.waiters_per_key_max;
        match keys
            .iter()
            .find(|key| self.slots.get(*key).is_some_and(|slot| slot.queue.len() >= max))
        {
            Some(key) => Err(RequestError::WaitersPerKey {
                key: key.to_string(),
                max,
            }),
            None => Ok(()),
        }
    }
}
