//! One key of the table, and the small steps that keep the table's indexes in line with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::hash_map::EntryRef;

use super::{Change, Claim, Client, Effect, Job, Table, Waiter};
use crate::core::moment::Moment;
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

/// A key that somebody holds or waits for.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub holder: Option<Holder>,
    /// Who waits, first come first. A set because waiters also leave from the middle.
    pub queue: BTreeSet<Ticket>,
    /// When it was last taken, by another owner than before, or freed.
    pub changed_at: Moment,
}

/// Who holds a key.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub owner: Owner,
    /// The request that took the key.
    pub grant: Ticket,
    /// The fencing token that it was granted under.
    pub token: Ticket,
    /// None: until released.
    pub expires_at: Option<Moment>,
    /// Another request has taken the lock since, so it is no longer only the first one's to give back.
    pub taken_again: bool,
}

/// What a grant is known by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted {
    /// The request.
    pub ticket: Ticket,
    /// The fencing token: the ticket of a request that was served at once, a later number where it waited.
    pub token: Ticket,
}

impl Table {
    /// Puts `waiter` into the queue of each of its keys.
    pub(super) fn enqueue(&mut self, ticket: Ticket, waiter: Waiter) {
        if waiter.ticket != ticket {
            self.places.insert(waiter.ticket, ticket);
        }
        for key in &waiter.keys {
            self.slots.entry_ref(key).or_default().queue.insert(ticket);
        }
        if let Some(deadline) = waiter.deadline {
            self.timeouts.insert((deadline, ticket));
        }
        if let Some(name) = named(&waiter.claim) {
            self.named_waiters.entry(name.into()).or_default().insert(ticket);
        }
        self.waiters.insert(ticket, waiter);
    }

    /// Takes a waiter out of every queue. Those behind it have not been looked at yet.
    pub(super) fn dequeue(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiters.remove(&ticket)?;
        if waiter.ticket != ticket {
            self.places.remove(&waiter.ticket);
        }
        for key in &waiter.keys {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.queue.remove(&ticket);
            }
        }
        if let Some(deadline) = waiter.deadline {
            self.timeouts.remove(&(deadline, ticket));
        }
        if let Some(name) = named(&waiter.claim)
            && let Some(same_owner) = self.named_waiters.get_mut(name)
        {
            same_owner.remove(&ticket);
            if same_owner.is_empty() {
                self.named_waiters.remove(name);
            }
        }
        Some(waiter)
    }

    /// Takes all waiters of `client` out of every queue. Those behind them have not been looked at yet.
    pub(super) fn dequeue_all(&mut self, client: Client) -> Vec<(Ticket, Waiter)> {
        let theirs: Vec<Ticket> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.client == client)
            .map(|(ticket, _)| *ticket)
            .collect();
        theirs
            .into_iter()
            .filter_map(|ticket| Some((ticket, self.dequeue(ticket)?)))
            .collect()
    }

    /// Ends a job and takes its keys from it. Who waits for these is noted, and not looked at yet.
    pub(super) fn end_job(&mut self, now: Moment, ticket: Ticket) -> Option<Job> {
        let job = self.jobs.remove(&ticket)?;
        let owner = Owner::Job(ticket);
        for key in &job.keys {
            self.vacate_if(now, key, |holder| holder.owner == owner);
        }
        Some(job)
    }

    /// Makes `owner` the holder of `key`. Where the key is held already, by the same owner or open to it, the lock
    /// stays the same one: it keeps its grant and gets the new owner and expiry.
    /// True when it was somebody else's or nobody's before, and others wait for it.
    pub(super) fn occupy(
        &mut self,
        now: Moment,
        key: &Arc<str>,
        owner: Owner,
        granted: Granted,
        expires_at: Option<Moment>,
    ) -> bool {
        let slot = self.slots.entry_ref(key).or_default();
        let before = slot.holder.as_ref();
        let old_expiry = before.and_then(|holder| holder.expires_at);
        let taken_again = before.is_some();
        let changed_hands = before.is_none_or(|holder| holder.owner != owner);
        let (grant, token) = before.map_or((granted.ticket, granted.token), |holder| {
            (holder.grant, holder.token)
        });
        slot.holder = Some(Holder {
            owner,
            grant,
            token,
            expires_at,
            taken_again,
        });
        if changed_hands {
            slot.changed_at = now;
        }
        let is_waited_for = !slot.queue.is_empty();
        if let Some(at) = old_expiry {
            self.expiries.remove(&(at, grant, Arc::clone(key)));
        }
        if let Some(at) = expires_at {
            self.expiries.insert((at, grant, Arc::clone(key)));
        }
        changed_hands && is_waited_for
    }

    /// Takes `key` from its holder if `condition` holds for that. Who waits for it is noted, and not looked at yet; what
    /// nobody waits for is forgotten.
    pub(super) fn vacate_if(
        &mut self,
        now: Moment,
        key: &Arc<str>,
        condition: impl FnOnce(&Holder) -> bool,
    ) -> Option<Holder> {
        let EntryRef::Occupied(mut entry) = self.slots.entry_ref(key) else {
            return None;
        };
        let slot = entry.get_mut();
        let holder = slot.holder.take_if(|holder| condition(holder))?;
        slot.changed_at = now;
        match slot.queue.first() {
            Some(head) => drop(self.candidates.insert(*head)),
            None => drop(entry.remove()),
        }
        if let Some(at) = holder.expires_at {
            self.expiries.remove(&(at, holder.grant, Arc::clone(key)));
        }
        Some(holder)
    }

    /// Takes every key from the holders for which `condition` holds, and looks at who waits.
    pub(super) fn vacate_all(
        &mut self,
        now: Moment,
        condition: impl Fn(&Holder) -> bool,
        out: &mut Vec<Effect>,
    ) {
        let held = |slot: &Slot| slot.holder.as_ref().is_some_and(&condition);
        let keys: Vec<Arc<str>> = self
            .slots
            .iter()
            .filter(|(_, slot)| held(slot))
            .map(|(key, _)| Arc::clone(key))
            .collect();
        for key in &keys {
            if let Some(holder) = self.vacate_if(now, key, |_| true) {
                self.forget_grant(key, &holder);
                self.tell_lost(&holder, key, out);
            }
        }
        self.settle(now, out);
    }

    /// Tells a job, once, that somebody else took `key` from it.
    pub(super) fn tell_lost(&mut self, holder: &Holder, key: &Arc<str>, out: &mut Vec<Effect>) {
        let Owner::Job(ticket) = holder.owner else { return };
        if let Some(Job {
            client,
            lost: lost @ false,
            ..
        }) = self.jobs.get_mut(&ticket)
        {
            *lost = true;
            out.push(Effect {
                client: *client,
                ticket,
                change: Change::Lost(Arc::clone(key)),
            });
        }
    }
}

fn named(claim: &Claim) -> Option<&str> {
    match claim {
        Claim::Lock { owner, .. } => owner.name(),
        Claim::Job => None,
    }
}
