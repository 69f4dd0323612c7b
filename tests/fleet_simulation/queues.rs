//! What `queue.lua` does: the queues of waiters. Whom a free lock is handed over to is in `handover`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use medusa_locking_native::core::fleet::{Answer, Place, ServerError, Waiting};
use medusa_locking_native::core::key::KeySet;

use super::server::{Attempt, Holder, Queue, Reign, Seen, Server, Waiter};

/// A waiter that does not ask, and a queue that nobody asks for, live this long, in ms.
pub const KEEP_MS: u64 = 60_000;

/// A queue that is kept for those who follow lives this long without one, in ms.
const FOLLOW_MS: u64 = 2_000;

/// A lock that lapses within this time is watched by whoever comes next, in ms.
const WATCH_MS: u64 = 1_200;

/// How long a lock is passed on without a pause, and how long that is then, in us.
const REIGN_US: u64 = 1_000_000;
const GAP_US: u64 = 30_000;
const OLD_GAP_US: u64 = 250_000;
/// For how long a node that knows no queue counts as being about, in us.
const OLD_US: u64 = 60_000_000;

pub(super) type Done<T = ()> = Result<T, ServerError>;

/// The queues as seen by one call.
pub(super) struct Queues<'s> {
    pub server: &'s mut Server,
    pub(super) me: Option<Attempt>,
    /// Others of its process are right behind it, for these.
    followed: BTreeSet<Arc<str>>,
    /// Whether nobody listens to an inbox, where that is known.
    pub(super) gone: BTreeMap<usize, bool>,
    /// The queues that somebody has left in this call.
    pub(super) left: BTreeSet<Arc<str>>,
    /// The waiters that have been looked at since the last one left.
    pub(super) seen: BTreeSet<Attempt>,
    /// The call is for a waiter that may have its locks.
    pub granted: bool,
    /// Or might, but for this pause, in ms.
    pub(super) pause: u64,
}

impl Server {
    pub(super) fn open_queues(&mut self, me: Option<Attempt>, keys: &[Arc<str>], more: bool) -> Queues<'_> {
        Queues {
            server: self,
            me,
            followed: keys.iter().filter(|_| more).cloned().collect(),
            gone: BTreeMap::new(),
            left: BTreeSet::new(),
            seen: BTreeSet::new(),
            granted: false,
            pause: 0,
        }
    }
}

impl Queues<'_> {
    /// Marks a queue, which then exists.
    fn mark(&mut self, key: &Arc<str>, set: impl FnOnce(&mut Queue)) -> Done {
        self.server.write(false)?;
        let expires_at = self.server.clock + KEEP_MS;
        let queue = self.server.queues.entry(Arc::clone(key)).or_default();
        queue.expires_at = expires_at;
        set(queue);
        Ok(())
    }

    /// Marks do not outlive the waiters, but where others are about to come.
    pub(super) fn tidy(&mut self, key: &str) -> Done {
        if self.server.head(key).is_some() {
            return Ok(());
        }
        self.server.write(false)?;
        if self.followed.contains(key) {
            self.keep(key, FOLLOW_MS);
        } else {
            self.server.queues.remove(key);
        }
        Ok(())
    }

    fn keep(&mut self, key: &str, ms: u64) {
        let expires_at = self.server.clock + ms;
        if let Some(queue) = self.server.queues.get_mut(key) {
            queue.expires_at = expires_at;
        }
    }

    /// Takes a name out of one queue. One without members and marks is no more.
    pub(super) fn strike(&mut self, key: &str, name: Attempt) {
        if let Some(queue) = self.server.queues.get_mut(key) {
            queue.line.retain(|(_, other)| *other != name);
            if queue.line.is_empty() && queue.reign.is_none() && queue.old.is_none() {
                self.server.queues.remove(key);
            }
        }
    }

    /// A waiter leaves its queues.
    pub fn leave(&mut self, name: Attempt, keys: &KeySet) -> Done {
        self.server.write(false)?;
        keys.iter().for_each(|key| self.strike(key, name));
        self.left.extend(keys.iter().cloned());
        self.server.waiters.remove(&name);
        Ok(())
    }

    /// Whom the lock comes to next: the first waiter that is there and has not been handed it already.
    fn next_of(&mut self, key: &str) -> Option<Attempt> {
        let line: Vec<Attempt> = self
            .server
            .queues
            .get(key)?
            .line
            .iter()
            .map(|(_, name)| *name)
            .collect();
        line.into_iter().find(|name| {
            let waiter = self
                .server
                .waiters
                .get(name)
                .map(|waiter| (waiter.inbox, waiter.granted));
            Some(*name) == self.me
                || waiter.is_some_and(|(inbox, granted)| granted.is_none() && self.listens(inbox))
        })
    }

    /// Has the next one look when the lock lapses, if that is before it asks by itself.
    pub(super) fn warn(&mut self, key: &str, lapses_in: Option<u64>) {
        let (Some(ms), Some(name)) = (
            lapses_in.filter(|ms| (1..WATCH_MS).contains(ms)),
            self.next_of(key),
        ) else {
            return;
        };
        if let Some(waiter) = self.server.waiters.get(&name).filter(|_| Some(name) != self.me) {
            self.say(name, waiter.inbox, Some(ms));
        }
    }

    pub(super) fn is_own(&self, waiter: &Waiter, holder: &Holder) -> bool {
        match holder {
            Holder::Anyone => self.server.is_open && waiter.owner.is_some(),
            holder => waiter.owner.as_ref() == Some(holder),
        }
    }

    /// For how many ms the locks are to be left free before they are passed on once more; 0: not at all.
    pub fn pause_of(&mut self, keys: &[Arc<str>]) -> Done<u64> {
        let now = self.server.now_us();
        let (mut pause, mut due, mut rested) = (0, Vec::new(), Vec::new());
        for key in keys {
            let (reign, old) = match self.server.queues.get(key) {
                Some(queue) => (queue.reign, queue.old.unwrap_or(0)),
                None => (None, 0),
            };
            match reign {
                Some(Reign::Gap(until)) if until > now => pause = pause.max((until - now).div_ceil(1000)),
                Some(Reign::Since(since)) if now - since >= REIGN_US => {
                    due.push((key, if old > now { OLD_GAP_US } else { GAP_US }));
                }
                Some(Reign::Since(_)) => {}
                Some(Reign::Gap(_)) | None => rested.push(key),
            }
        }
        for (key, us) in due {
            self.mark(key, |queue| queue.reign = Some(Reign::Gap(now + us)))?;
            pause = pause.max(us / 1000);
        }
        if pause == 0 {
            for key in rested {
                self.mark(key, |queue| queue.reign = Some(Reign::Since(now)))?;
            }
        }
        Ok(pause)
    }

    pub fn are_empty(&self, keys: &[Arc<str>]) -> bool {
        keys.iter().all(|key| self.server.head(key).is_none())
    }

    /// Puts `me` into its queues, at the ticket that it has, or had, or at a new one.
    pub fn enter(
        &mut self,
        keys: &KeySet,
        place: Place,
        owner: Option<Holder>,
        inbox: Option<usize>,
    ) -> Done<u64> {
        let Some(me) = self.me else { return Ok(0) };
        let ticket = match (self.server.waiters.get(&me), place.ticket) {
            (Some(waiter), _) => waiter.ticket,
            (None, 0) => self.server.mint(0)? - u64::try_from(place.age.as_micros()).unwrap_or(u64::MAX),
            (None, ticket) => ticket,
        };
        self.server.write(true)?;
        let expires_at = self.server.clock + KEEP_MS;
        let seen = self.server.waiters.get(&me).map(|waiter| waiter.seen.clone());
        let waiter = Waiter {
            owner,
            inbox,
            ticket,
            polled: self.server.now_us(),
            granted: None,
            keys: keys.clone(),
            seen: seen.unwrap_or_default(),
            expires_at,
        };
        self.server.waiters.insert(me, waiter);
        for key in keys {
            let queue = self.server.queues.entry(Arc::clone(key)).or_default();
            queue.line.retain(|(_, other)| *other != me);
            queue.line.insert((ticket, me));
            queue.expires_at = expires_at;
        }
        Ok(ticket)
    }

    /// A node that knows no queue holds the lock: it tells nobody when it releases it.
    fn is_silent(&mut self, key: &Arc<str>, holder: &Holder) -> Done<bool> {
        if matches!(holder, Holder::Job { .. }) || self.server.records.contains_key(key) {
            return Ok(false);
        }
        let now = self.server.now_us();
        self.mark(key, |queue| {
            queue.reign = None;
            if queue.old.unwrap_or(0) < now + OLD_US / 2 {
                queue.old = Some(now + OLD_US);
            }
        })?;
        Ok(true)
    }

    pub fn wait_reply(&mut self, keys: &KeySet, ticket: u64) -> Done<Answer> {
        let me = self.me.and_then(|me| self.server.waiters.get(&me).cloned());
        let (mut index, mut silent) = (None, false);
        let (mut look, mut is_endless) = (Some(self.pause).filter(|ms| *ms > 0), false);
        let (now, mut firsts) = (self.server.now_us(), BTreeSet::new());
        let mut oldest = now;
        for (i, key) in keys.iter().enumerate() {
            let holder = match (self.server.values.get(key), self.server.lock(key)) {
                (None, _) => {
                    // Who is first for a free lock waits for others of its own.
                    firsts.extend(self.server.head(key).filter(|first| Some(*first) != self.me));
                    continue;
                }
                (_, lock) => lock.map(|lock| lock.holder.clone()),
            };
            if let (Some(me), Some(holder)) = (&me, &holder)
                && self.is_own(me, holder)
            {
                continue;
            }
            index = index.or(Some(i));
            if self.next_of(key) == self.me {
                match holder.as_ref().and_then(|_| self.server.lapses_in(key)) {
                    Some(span) => look = look.max(Some(super::server::ms(span))),
                    None => is_endless = true,
                }
                if let Some(holder) = &holder {
                    silent |= self.is_silent(key, holder)?;
                }
            }
            if let (Some(me), Some(holder)) = (self.me, &holder) {
                oldest = oldest.min(self.held_since(me, key, holder));
            }
        }
        for first in firsts {
            oldest = oldest.min(self.all_held_since(first));
        }
        Ok(Answer::Waiting(Waiting {
            key: index.unwrap_or(0),
            look_in: look.filter(|_| !is_endless).map(Duration::from_millis),
            ticket,
            silent,
            held_for: Duration::from_millis((now - oldest) / 1000),
        }))
    }

    /// Since when (us) a lock that is held against this waiter has been its holder's.
    fn held_since(&mut self, name: Attempt, key: &Arc<str>, holder: &Holder) -> u64 {
        let now = self.server.now_us();
        let token = match holder {
            Holder::Job { token, .. } => Some(*token),
            _ => self.server.records.get(key).map(|record| record.token),
        };
        match token.or_else(|| self.seen_since(name, key, holder)) {
            // It has just been handed over.
            None | Some(0) => now,
            Some(since) => since.min(now),
        }
    }

    /// Since when a waiter has found the same lock of a node that knows no queue. Two of nobody differ by when they end.
    fn seen_since(&mut self, name: Attempt, key: &Arc<str>, holder: &Holder) -> Option<u64> {
        let now = self.server.now_us();
        let ends_at = self.server.lock(key).and_then(|lock| lock.expires_at);
        let ends_at = ends_at.filter(|_| *holder == Holder::Anyone);
        let seen = &mut self.server.waiters.get_mut(&name)?.seen;
        let is_same = |seen: &&Seen| seen.holder == *holder && seen.ends_at == ends_at;
        if let Some(seen) = seen.get(key).filter(is_same) {
            return Some(seen.since);
        }
        let (holder, since) = (holder.clone(), now);
        let found = Seen {
            holder,
            ends_at,
            since,
        };
        seen.insert(Arc::clone(key), found);
        Some(now)
    }

    /// The same of all locks that are held against this waiter: the earliest, for one that stays is what counts.
    fn all_held_since(&mut self, name: Attempt) -> u64 {
        let mut oldest = self.server.now_us();
        let Some(waiter) = self.server.waiters.get(&name).cloned() else {
            return oldest;
        };
        for key in &waiter.keys {
            let holder = self.server.lock(key).map(|lock| lock.holder.clone());
            if let Some(holder) = holder.filter(|holder| !self.is_own(&waiter, holder)) {
                oldest = oldest.min(self.held_since(name, key, &holder));
            }
        }
        oldest
    }

    /// `me` has its locks for `lapses_in` ms, as `owner` (None: a job): it leaves its queues. Whoever comes next is told
    /// if they may lapse before it looks, or if it is of the same owner.
    pub fn served(&mut self, keys: &KeySet, lapses_in: Option<u64>, owner: Option<&Holder>) -> Done {
        if let Some(me) = self.me {
            self.leave(me, keys)?;
        }
        for key in keys {
            let next = self
                .server
                .head(key)
                .and_then(|name| self.server.waiters.get_key_value(&name));
            if let Some((&name, waiter)) = next {
                let is_same = owner.is_some() && waiter.owner.as_ref() == owner;
                if is_same {
                    self.say(name, waiter.inbox, Some(0));
                } else {
                    self.warn(key, lapses_in);
                }
            }
            self.tidy(key)?;
            if self.followed.contains(key) {
                self.keep(key, KEEP_MS);
            }
        }
        Ok(())
    }

    /// Locks that nobody waits for have been released: they are passed on to those who follow.
    pub fn begin_passing(&mut self, keys: &[Arc<str>]) -> Done {
        self.pause_of(keys)?;
        keys.iter().try_for_each(|key| self.tidy(key))
    }
}
