//! Who may have what: the rule of the table, and its application after every change.

use std::sync::Arc;

use super::{Change, Claim, Client, Effect, Job, Ownerless, Table};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

/// Waiters that a grant may have let through although they do not head their queues.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FollowUp {
    /// A named owner got keys. Its other waiters may have these too, wherever in the queue they stand: whoever
    /// stands before them cannot have them until this owner releases them anyway.
    SameOwner(Box<str>),
    /// With [`Ownerless::Open`], a lock that nobody owns is open to every `acquire` that waits for it.
    Open(KeySet),
}

impl Table {
    /// The first key that a request that has not queued yet cannot have.
    ///
    /// A slot without a holder exists only while somebody waits for its key, and that somebody came first.
    pub(super) fn first_blocked(&self, keys: &KeySet, claim: &Claim) -> Option<Arc<str>> {
        let blocked = |key: &&Arc<str>| match self.slots.get(*key) {
            None => false,
            Some(slot) => !slot
                .holder
                .as_ref()
                .is_some_and(|holder| self.admits(&holder.owner, claim)),
        };
        keys.iter().find(blocked).cloned()
    }

    /// Gives all of `keys` to a request that may have them. The caller looks at the follow-ups.
    pub(super) fn hold(&mut self, now: Moment, ticket: Ticket, client: Client, keys: KeySet, claim: &Claim) {
        let (owner, expires_at) = match claim {
            Claim::Job => (Owner::Job(ticket), None),
            Claim::Lock { owner, expire } => (owner.clone(), expire.map(|span| now.after(span))),
        };
        for key in &keys {
            self.occupy(key, owner.clone(), ticket, expires_at);
        }
        match owner {
            Owner::Job(_) => {
                self.jobs.insert(
                    ticket,
                    Job {
                        client,
                        keys,
                        lost: false,
                    },
                );
            }
            Owner::Named(name) if self.named_waiters.contains_key(&name) => {
                self.note_follow_up(FollowUp::SameOwner(name));
            }
            Owner::Anyone if self.ownerless == Ownerless::Open => self.note_follow_up(FollowUp::Open(keys)),
            Owner::Named(_) | Owner::Anyone => {}
        }
    }

    /// After `keys` changed: grants who may be granted now, and forgets keys that nobody holds or waits for.
    pub(super) fn evaluate(&mut self, now: Moment, keys: &[Arc<str>], out: &mut Vec<Effect>) {
        for key in keys {
            let Some(slot) = self.slots.get(key) else { continue };
            if slot.holder.is_some() {
                continue;
            }
            match slot.queue.first().copied() {
                Some(head) => self.grant_if_due(now, head, out),
                None => drop(self.slots.remove(key)),
            }
        }
        self.follow_up(now, out);
    }

    /// Looks again at those whom a grant may have let through, until nothing changes. A loop and not a recursion:
    /// thousands may wait under one name.
    pub(super) fn follow_up(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some(next) = self.follow_ups.pop() {
            for ticket in self.candidates(&next) {
                self.grant_if_due(now, ticket, out);
            }
        }
    }

    fn candidates(&self, follow_up: &FollowUp) -> Vec<Ticket> {
        let of_key = |key: &Arc<str>| self.slots.get(key).map(|slot| slot.queue.iter().copied());
        match follow_up {
            FollowUp::SameOwner(name) => self
                .named_waiters
                .get(name)
                .into_iter()
                .flatten()
                .copied()
                .collect(),
            FollowUp::Open(keys) => keys.iter().filter_map(of_key).flatten().collect(),
        }
    }

    fn note_follow_up(&mut self, follow_up: FollowUp) {
        if !self.follow_ups.contains(&follow_up) {
            self.follow_ups.push(follow_up);
        }
    }

    /// Grants a waiter if it heads the queue of every key that it does not hold already, and all these are free.
    fn grant_if_due(&mut self, now: Moment, ticket: Ticket, out: &mut Vec<Effect>) {
        let Some(waiter) = self.waiters.get(&ticket) else {
            return;
        };
        let due = waiter.keys.iter().all(|key| {
            self.slots.get(key).is_some_and(|slot| match &slot.holder {
                None => slot.queue.first() == Some(&ticket),
                Some(holder) => self.admits(&holder.owner, &waiter.claim),
            })
        });
        if due && let Some(waiter) = self.dequeue(ticket) {
            out.push(Effect {
                client: waiter.client,
                ticket,
                change: Change::Granted,
            });
            self.hold(now, ticket, waiter.client, waiter.keys, &waiter.claim);
        }
    }

    /// Whether a key of `holder` may be taken by `claim` without being free.
    fn admits(&self, holder: &Owner, claim: &Claim) -> bool {
        match claim {
            Claim::Job => false,
            Claim::Lock { owner, .. } => {
                holder.is_same_named(owner) || (self.ownerless == Ownerless::Open && *holder == Owner::Anyone)
            }
        }
    }
}
