//! Looking at the table without changing it.

use std::time::Duration;

use super::Table;
use super::slot::Slot;
use crate::core::key::KeySet;
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
    /// The request that took it: in one process, its fencing token.
    pub grant: Ticket,
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

    /// How many requests wait.
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
        self.waiters.contains_key(&ticket)
    }

    /// The waiter that will have the keys of `job` after it, if that wants exactly the same ones and is the next for
    /// each of them.
    pub fn heir_of(&self, job: Ticket) -> Option<Ticket> {
        let keys = &self.jobs.get(&job)?.keys;
        let next_for = |key| self.slots.get(key).and_then(|slot| slot.queue.first().copied());
        let heir = next_for(keys.iter().next()?)?;
        let same = self.waiters.get(&heir)?.keys == *keys;
        (same && keys.iter().all(|key| next_for(key) == Some(heir))).then_some(heir)
    }

    /// Whether somebody here has `key`, or waits for it since before `waiter` does.
    pub fn is_wanted_before(&self, key: &str, waiter: Ticket) -> bool {
        self.slots.get(key).is_some_and(|slot| {
            slot.holder.is_some() || slot.queue.first().is_some_and(|first| *first < waiter)
        })
    }

    /// What `job` holds.
    pub fn keys_of(&self, job: Ticket) -> Option<&KeySet> {
        self.jobs.get(&job).map(|job| &job.keys)
    }

    /// Whether anybody waits for a key of `job`.
    pub fn is_waited_for(&self, job: Ticket) -> bool {
        let keys = self.jobs.get(&job).map(|job| &job.keys);
        keys.is_some_and(|keys| keys.iter().any(|key| self.waiters_of(key) > 0))
    }

    /// The job that holds `key`, if a job does.
    pub fn job_of(&self, key: &str) -> Option<Ticket> {
        match self.slots.get(key)?.holder.as_ref()?.owner {
            Owner::Job(ticket) => Some(ticket),
            _ => None,
        }
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
        expires_in: holder.expires_at.map(|at| at.since(now)),
        waiting: slot.queue.len(),
    })
}
