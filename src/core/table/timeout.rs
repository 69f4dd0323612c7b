//! The end of a waiter's patience.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Change, Effect, Slot, Table, Waiter};
use crate::core::moment::Moment;
use crate::core::ticket::Ticket;

impl Table {
    /// The deadline of a waiter has come: it waits on where the keys that keep it change hands, else it is told.
    pub(super) fn time_out(&mut self, now: Moment, ticket: Ticket, out: &mut Vec<Effect>) {
        let Some(waiter) = self.waiters.get(&ticket) else {
            return;
        };
        let is_away = waiter.caller.is_away();
        if let Some(later) = self.prolonged(now, ticket, waiter).filter(|_| !is_away) {
            self.set_deadline(ticket, later);
            return;
        }
        let blocked = self.blocking(ticket, waiter);
        let Some(waiter) = self.dequeue(ticket) else {
            return;
        };
        let keys = waiter.keys.clone();
        // A waiter is never left grantable, so one of its keys was blocked; if not, the first names it well enough.
        let key = blocked.or_else(|| keys.iter().next().cloned());
        if let Some(key) = key.filter(|_| !is_away) {
            out.push(Effect {
                client: waiter.client,
                ticket: waiter.ticket,
                change: Change::TimedOut(key),
            });
        }
        if is_away || !self.stays(now, ticket, waiter) {
            self.look_at(&keys);
            self.settle(now, out);
        }
    }

    /// Until when a waiter waits on because what keeps it has changed hands a short while ago.
    fn prolonged(&self, now: Moment, ticket: Ticket, waiter: &Waiter) -> Option<Moment> {
        waiter.patience.prolonged(now)?;
        let (mut moved_at, heads) = self.held_against(ticket, waiter);
        for head in heads {
            if let Some(first) = self.waiters.get(&head) {
                moved_at = moved_at.min(self.held_against(head, first).0);
            }
        }
        // Nobody holds any of it: it is free for a moment, and may be held from the next one on.
        let moved_at = moved_at.min(now);
        waiter.patience.prolonged(moved_at).filter(|later| *later > now)
    }

    /// When the keys that others hold against a waiter last changed hands: of several the one that has been still for longest
    /// counts, for a lock that one holder keeps is to be given up on. And who stands before it at those that are free: they
    /// wait for others of their keys.
    fn held_against(&self, ticket: Ticket, waiter: &Waiter) -> (Moment, BTreeSet<Ticket>) {
        let mut still_since = Moment::NEVER;
        let mut heads = BTreeSet::new();
        let slots = waiter.keys.iter().filter_map(|key| self.slots.get(key));
        for slot in slots.filter(|slot| !self.may_have(ticket, waiter, slot)) {
            if slot.holder.is_some() {
                still_since = still_since.min(slot.changed_at);
            } else {
                heads.extend(slot.queue.first());
            }
        }
        (still_since, heads)
    }

    fn set_deadline(&mut self, ticket: Ticket, at: Moment) {
        if let Some(waiter) = self.waiters.get_mut(&ticket) {
            if let Some(before) = waiter.deadline.replace(at) {
                self.timeouts.remove(&(before, ticket));
            }
            self.timeouts.insert((at, ticket));
        }
    }

    /// The first key that a waiter cannot have yet.
    pub(super) fn blocking(&self, ticket: Ticket, waiter: &Waiter) -> Option<Arc<str>> {
        let index = self.blocking_from(0, ticket, waiter)?;
        waiter.keys.as_slice().get(index).cloned()
    }

    /// The index of a key that a waiter cannot have yet: the first from `start` on, or else before.
    pub(super) fn blocking_from(&self, start: usize, ticket: Ticket, waiter: &Waiter) -> Option<usize> {
        let keys = waiter.keys.as_slice();
        let is_free_for = |slot: &Slot| self.may_have(ticket, waiter, slot);
        let mut indexes = (start..keys.len()).chain(0..start);
        indexes.find(|index| !self.slots.get(&keys[*index]).is_some_and(is_free_for))
    }

    /// Whether a waiter may have this key of its set now.
    fn may_have(&self, ticket: Ticket, waiter: &Waiter, slot: &Slot) -> bool {
        match &slot.holder {
            None => slot.queue.first() == Some(&ticket),
            Some(holder) => self.admits(&holder.owner, &waiter.claim),
        }
    }
}
