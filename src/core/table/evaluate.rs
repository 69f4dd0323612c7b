//! Who may have what: the rule of the table, and its application after every change.

use std::sync::Arc;

use hashbrown::hash_map::EntryRef;

use super::{Change, Claim, Client, Effect, Granted, Job, Ownerless, Slot, Table};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

impl Table {
    /// The first key that a request that has not queued yet cannot have, which would stand at `place`.
    ///
    /// A slot without a holder exists only while somebody waits for its key, and that somebody came first, but where the
    /// request is of a caller that has come back.
    pub(super) fn first_blocked(&self, place: Ticket, keys: &KeySet, claim: &Claim) -> Option<Arc<str>> {
        let blocked = |key: &&Arc<str>| match self.slots.get(*key) {
            None => false,
            Some(Slot {
                holder: Some(holder), ..
            }) => !self.admits(&holder.owner, claim),
            Some(slot) => slot.queue.first().is_some_and(|first| *first < place),
        };
        keys.iter().find(blocked).cloned()
    }

    /// Gives all of `keys` to a request that may have them. The caller looks at the follow-ups.
    pub(super) fn hold(&mut self, now: Moment, granted: Granted, client: Client, keys: KeySet, claim: Claim) {
        let is_job = claim == Claim::Job;
        let (owner, expires_at) = match claim {
            Claim::Job => (Owner::Job(granted.ticket), None),
            Claim::Lock { owner, expire } => (owner, expire.map(|span| now.after(span))),
        };
        // The last key gets the owner itself: most calls name no other.
        for (key, owner) in keys.iter().zip(std::iter::repeat_n(owner, keys.len())) {
            if self.occupy(now, key, owner, granted, expires_at) {
                self.look_at_admitted(key);
            }
        }
        if is_job {
            self.jobs.insert(
                granted.ticket,
                Job {
                    client,
                    keys,
                    lost: false,
                },
            );
        }
    }

    /// After somebody left the queues of `keys`: notes the heads of those that are free, and forgets those that nobody
    /// wants.
    pub(super) fn look_at(&mut self, keys: &KeySet) {
        for key in keys {
            let EntryRef::Occupied(entry) = self.slots.entry_ref(key) else {
                continue;
            };
            let slot = entry.get();
            if slot.holder.is_some() {
                continue;
            }
            match slot.queue.first() {
                Some(head) => drop(self.candidates.insert(*head)),
                None => drop(entry.remove()),
            }
        }
    }

    /// Looks at whom a change or a grant may have let through, first come first, until nothing changes. A loop and
    /// not a recursion: thousands may wait under one name.
    pub(super) fn settle(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some(ticket) = self.candidates.pop_first() {
            self.grant_if_due(now, ticket, out);
        }
    }

    /// Notes those who may have `key` although its holder just got it, wherever in the queue they stand: other waiters
    /// of the same name, because whoever stands before them cannot have the key until this owner releases it
    /// anyway; and with [`Ownerless::Open`] every `acquire`, if nobody owns it.
    fn look_at_admitted(&mut self, key: &Arc<str>) {
        let Some(Slot {
            queue,
            holder: Some(holder),
            ..
        }) = self.slots.get(key)
        else {
            return;
        };
        match &holder.owner {
            Owner::Named(name) => {
                let Some(same_owner) = self.named_waiters.get(name) else {
                    return;
                };
                // Through the shorter one: many may wait for one key, and many under one name.
                let (shorter, longer) = if queue.len() < same_owner.len() {
                    (queue, same_owner)
                } else {
                    (same_owner, queue)
                };
                self.candidates
                    .extend(shorter.iter().filter(|ticket| longer.contains(*ticket)));
            }
            Owner::Anyone if self.ownerless == Ownerless::Open => self.candidates.extend(queue),
            Owner::Anyone | Owner::Job(_) => {}
        }
    }

    /// Grants a waiter if it heads the queue of every key that it does not hold already, and all these are free.
    fn grant_if_due(&mut self, now: Moment, ticket: Ticket, out: &mut Vec<Effect>) {
        let Some(waiter) = self.waiters.get(&ticket) else {
            return;
        };
        if waiter.caller.is_away() {
            return;
        }
        if let Some(index) = self.blocking_from(waiter.kept_by, ticket, waiter) {
            if index != waiter.kept_by
                && let Some(waiter) = self.waiters.get_mut(&ticket)
            {
                waiter.kept_by = index;
            }
            return;
        }
        if let Some(waiter) = self.dequeue(ticket) {
            let granted = Granted {
                ticket: waiter.ticket,
                token: (self.next_token)(),
            };
            out.push(Effect {
                client: waiter.client,
                ticket: granted.ticket,
                change: Change::Granted(granted.token),
            });
            self.hold(now, granted, waiter.client, waiter.keys, waiter.claim);
        }
    }

    /// Whether a key of `holder` may be taken by `claim` without being free.
    pub(super) fn admits(&self, holder: &Owner, claim: &Claim) -> bool {
        match claim {
            Claim::Job => false,
            Claim::Lock { owner, .. } => {
                holder.is_same_named(owner) || (self.ownerless == Ownerless::Open && *holder == Owner::Anyone)
            }
        }
    }
}
