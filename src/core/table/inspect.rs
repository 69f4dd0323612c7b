//! Looking at the table without changing it.

use std::time::Duration;

use super::Table;
use super::slot::Slot;
use crate::core::moment::Moment;
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

/// One held key, as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockView {
    /// The key.
    pub key: String,
    /// Who holds it.
    pub owner: Owner,
    /// The request that took it.
    pub grant: Ticket,
    /// The fencing token that it was granted under.
    pub token: Ticket,
    /// How long until it expires; None: until released.
    pub expires_in: Option<Duration>,
    /// How many wait for it here.
    pub waiting: usize,
}

impl Table {
    /// The lock on `key`, if it is held.
    pub fn inspect_key(&self, now: Moment, key: &str) -> Option<LockView> {
        view(now, key, self.slots.get(key)?)
    }

    /// Every lock that is held, in no order.
    pub fn inspect_all(&self, now: Moment) -> Vec<LockView> {
        self.slots
            .iter()
            .filter_map(|(key, slot)| view(now, key, slot))
            .collect()
    }

    /// How many requests wait, those whose caller is away for a moment among them.
    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// How many wait for `key`.
    pub fn waiters_of(&self, key: &str) -> usize {
        self.slots.get(key).map_or(0, |slot| slot.queue.len())
    }

    /// How many jobs run.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// How many keys are held or waited for.
    pub fn keys(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is held and nobody waits.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.jobs.is_empty()
    }

    /// Whether `ticket` waits here.
    pub fn is_waiting(&self, ticket: Ticket) -> bool {
        let waiter = self.waiters.get(&self.place_of(ticket));
        waiter.is_some_and(|waiter| waiter.ticket == ticket && !waiter.caller.is_away())
    }
}

/// An expired lock that nobody has touched yet is not held.
fn view(now: Moment, key: &str, slot: &Slot) -> Option<LockView> {
    let holder = slot.holder.as_ref()?;
    if holder.expires_at.is_some_and(|at| at <= now) {
        return None;
    }
    Some(LockView {
        key: key.to_owned(),
        owner: holder.owner.clone(),
        grant: holder.grant,
        token: holder.token,
        expires_in: holder.expires_at.map(|at| at.since(now)),
        waiting: slot.queue.len(),
    })
}
