//! What `queue.lua` does with a lock that is free: whom it is handed over to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use medusa_locking_native::core::fleet::Push;

use super::queues::{Done, Queues};
use super::records::Record;
use super::server::{Attempt, Holder, Note, Waiter};

/// What was handed over must be claimed within this time, in ms.
pub const CLAIM_MS: u64 = 2_000;

/// A waiter that has not polled for this long is frozen, in us.
const STALE_US: u64 = 2_000_000;

/// A script that looks at more queues than this does so for ever.
const LOOKS_MAX: usize = 1_000;

/// What became of a waiter that was looked at.
#[derive(PartialEq, Eq)]
enum Fate {
    Gone,
    Waits,
    /// Its locks have been handed over to it.
    Has,
}

impl Queues<'_> {
    pub(super) fn say(&mut self, name: Attempt, inbox: Option<usize>, look_in: Option<u64>) {
        let look_in = look_in.map(Duration::from_millis);
        let push = Push {
            ticket: name.ticket,
            look_in,
        };
        self.server.calls.extend(inbox.map(|inbox| (inbox, push)));
    }

    pub(super) fn listens(&mut self, inbox: Option<usize>) -> bool {
        let Some(inbox) = inbox else { return true };
        let server = &*self.server;
        !*self
            .gone
            .entry(inbox)
            .or_insert_with(|| !server.has_listener(inbox))
    }

    /// Each lock is free and the waiter the first for it, or its owner holds the lock already.
    fn may_have(&self, name: Attempt, waiter: &Waiter) -> bool {
        waiter.keys.iter().all(|key| self.may_have_one(name, waiter, key))
    }

    fn may_have_one(&self, name: Attempt, waiter: &Waiter, key: &Arc<str>) -> bool {
        match (self.server.values.get(key), self.server.lock(key)) {
            (None, _) => self.server.head(key) == Some(name),
            (_, Some(lock)) => self.is_own(waiter, &lock.holder),
            (_, None) => false,
        }
    }

    /// The waiter has some time to claim its locks, and no more if they are released before it has. It keeps its places
    /// until then.
    fn grant(&mut self, name: Attempt, waiter: &Waiter) -> Done {
        let now = self.server.now_us();
        let until = waiter.granted.unwrap_or(now + CLAIM_MS * 1000);
        let left = (until - now).div_ceil(1000).max(1);
        for key in &waiter.keys {
            if self.server.values.contains_key(key) {
                continue;
            }
            let Some(owner) = &waiter.owner else {
                let holder = Holder::Job {
                    attempt: name,
                    token: 0,
                };
                self.server.set(key, holder, name, Some(left))?;
                continue;
            };
            self.server.set(key, owner.clone(), name, Some(left))?;
            let record = Record {
                attempts: vec![Some(name)],
                token: 0,
                again: None,
                expires_at: self.server.clock + left,
            };
            self.server.records.insert(Arc::clone(key), record);
        }
        self.server.write(true)?;
        if let Some(waiter) = self.server.waiters.get_mut(&name) {
            waiter.granted = Some(until);
        }
        Ok(())
    }

    /// What becomes of the first waiter of a free lock.
    fn serve(&mut self, name: Attempt, waiter: &Waiter) -> Done<Fate> {
        if self.me == Some(name) {
            if self.may_have(name, waiter) {
                self.pause = self.pause_of(waiter.keys.as_slice())?;
                self.granted = self.pause == 0;
            }
            return Ok(Fate::Waits);
        }
        if waiter.granted.is_some_and(|until| until <= self.server.now_us()) {
            // Its claim has lapsed: its process is frozen, whatever else it waits for.
            self.gone.extend(waiter.inbox.map(|inbox| (inbox, true)));
            return Ok(Fate::Gone);
        }
        if !self.listens(waiter.inbox) {
            return Ok(Fate::Gone);
        }
        if !self.may_have(name, waiter) {
            // Others shall not wait for a free lock behind one that is frozen.
            let is_frozen = self.server.now_us() - waiter.polled >= STALE_US;
            return Ok(if is_frozen { Fate::Gone } else { Fate::Waits });
        }
        let pause = self.pause_of(waiter.keys.as_slice())?;
        if pause > 0 {
            self.say(name, waiter.inbox, Some(pause));
            return Ok(Fate::Waits);
        }
        self.say(name, waiter.inbox, None);
        self.grant(name, waiter)?;
        Ok(Fate::Has)
    }

    /// Looks at the first waiter of each of these queues whose lock is free, until nobody is left who could have what
    /// is free. Those that are gone leave all their queues, which are then looked at too.
    pub fn hand_over(&mut self, keys: &[Arc<str>]) -> Done {
        let mut work: Vec<Arc<str>> = Vec::new();
        note(&mut work, keys);
        let mut looks = 0;
        while let Some(key) = work.pop() {
            looks += 1;
            if looks > LOOKS_MAX {
                self.server.notes.push(Note::Endless);
                return Ok(());
            }
            let Some(name) = self.server.head(&key) else {
                self.tidy(&key)?;
                continue;
            };
            if self.seen.contains(&name) || self.server.values.contains_key(&key) {
                // Whoever knew when the lock lapses is not next any more.
                if self.left.remove(&key) {
                    let lapses_in = self.server.lapses_in(&key).map(super::server::ms);
                    self.warn(&key, lapses_in);
                }
                continue;
            }
            let Some(waiter) = self.server.waiters.get(&name).cloned() else {
                self.server.write(false)?;
                self.strike(&key, name);
                note(&mut work, [&key]);
                continue;
            };
            let fate = self.serve(name, &waiter)?;
            if fate == Fate::Gone {
                self.seen.clear();
                self.leave(name, &waiter.keys)?;
                self.server.notes.push(Note::Dropped(name));
                note(&mut work, &waiter.keys);
            } else if fate == Fate::Has && waiter.owner.is_some() {
                // Others of the same owner may now have what they were refused.
                self.seen = BTreeSet::from([name]);
                note(&mut work, keys);
            } else {
                self.seen.insert(name);
                // It may stand behind one that is gone in a queue that nobody else would look at. When that one leaves, it is
                // looked at again, and may stand behind the next one.
                let keeping = waiter
                    .keys
                    .iter()
                    .find(|key| !self.may_have_one(name, &waiter, key));
                note(
                    &mut work,
                    keeping.filter(|key| !self.server.values.contains_key(*key)),
                );
            }
        }
        Ok(())
    }
}

/// Adds to `work` what is not in it.
fn note<'k>(work: &mut Vec<Arc<str>>, keys: impl IntoIterator<Item = &'k Arc<str>>) {
    for key in keys {
        if !work.contains(key) {
            work.push(Arc::clone(key));
        }
    }
}
