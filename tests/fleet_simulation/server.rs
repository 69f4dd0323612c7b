//! The server: its clock, its keys, its troubles. What its scripts do is in `scripts` and `queues`.
//!
//! Beside what Redis knows, every lock remembers who made it and who took it again. The members never see that; the
//! checks do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use medusa_locking_native::core::fleet::{Answer, Command, Push, ServerError};
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::outcome::Failure;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::ticket::Ticket;

use super::plan::Plan;
use super::records::Record;

/// The server's wall clock when the simulation begins, in microseconds: tokens start here.
const EPOCH_US: u64 = 1_700_000_000_000_000;

/// The node that knows no queue, among the members.
pub const OLD_NODE: usize = usize::MAX;

/// A request of a member: what an owner id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    pub member: usize,
    pub ticket: Ticket,
}

/// What a lock's value says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// With token 0: handed over, not yet claimed.
    Job {
        attempt: Attempt,
        token: u64,
    },
    Named(Box<str>),
    Anyone,
}

#[derive(Clone, Debug)]
pub struct Locked {
    pub holder: Holder,
    /// On the server's clock.
    pub(super) expires_at: Option<u64>,
    /// Who made it, then who took it again as the same owner.
    pub attempts: Vec<Attempt>,
    /// On our clock.
    pub made_at: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Lock(Locked),
    /// A key of another type, which somebody else put there.
    Clutter,
}

/// Since when a lock has been passed on without a pause, or until when it is left free; in us.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reign {
    Since(u64),
    Gap(u64),
}

/// Who waits for a lock, by ticket, and the marks below all tickets.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub line: BTreeSet<(u64, Attempt)>,
    pub reign: Option<Reign>,
    /// Until when a node that knows no queue counts as being about, in us.
    pub old: Option<u64>,
    pub expires_at: u64,
}

#[derive(Clone, Debug)]
pub struct Waiter {
    /// None: a job.
    pub owner: Option<Holder>,
    /// None: it has none.
    pub inbox: Option<usize>,
    pub ticket: u64,
    /// When it asked last, in us.
    pub(super) polled: u64,
    /// Until when it may claim what was handed over to it, in us.
    pub granted: Option<u64>,
    pub keys: KeySet,
    /// Locks of nodes that know no queue, as it found them.
    pub(super) seen: BTreeMap<Arc<str>, Seen>,
    pub(super) expires_at: u64,
}

/// A lock that does not say when it was taken: whose it is, when it ends where nobody's, and since when it was found so, in us.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub holder: Holder,
    pub ends_at: Option<u64>,
    pub since: u64,
}

/// Why the server does not carry out what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No command that needs memory.
    Oom,
    /// No command that writes; clients had better look for another server.
    ReadOnly,
    /// No command at all, nor any new connection.
    Loading,
}

/// Something that changed for attempts, in the order in which it did.
#[derive(Debug)]
pub enum Note {
    /// It holds its keys from now on.
    Took(Attempt),
    /// It does not any more: a release was carried out, which had this ticket.
    Released { by: Attempt, attempt: Attempt },
    /// It cannot count on them any more: everything was released, the server lost its data, or the same owner took
    /// the lock again and set another end to it.
    Void(Attempt),
    /// It may be passed on further: nobody else waits.
    Reserved(Attempt),
    /// It was taken for gone and left its queues.
    Dropped(Attempt),
    /// A script runs for ever.
    Endless,
}

#[derive(Debug, Default)]
pub struct Server {
    pub(super) values: BTreeMap<Arc<str>, Value>,
    pub(super) records: BTreeMap<Arc<str>, Record>,
    pub(super) queues: BTreeMap<Arc<str>, Queue>,
    pub(super) waiters: BTreeMap<Attempt, Waiter>,
    fence: u64,
    now: u64,
    /// What its own clock shows.
    pub(super) clock: u64,
    /// And how many microseconds more.
    us: u64,
    /// How many milliseconds a second its clock gains on ours.
    gains: u64,
    /// A lock without an owner is open to all.
    pub(super) is_open: bool,
    pub trouble: Option<Trouble>,
    /// The running script has written something: it is not stopped any more.
    has_written: bool,
    /// Whose inboxes are listened to, as far as the server knows: until when.
    listeners: BTreeMap<usize, u64>,
    pub(super) calls: Vec<(usize, Push)>,
    pub(super) notes: Vec<Note>,
}

impl Server {
    pub fn new(plan: &Plan) -> Self {
        Server {
            gains: plan.gains,
            is_open: plan.open,
            ..Server::default()
        }
    }

    /// Time passes, and what has lapsed is gone.
    pub fn advance(&mut self, now: u64) {
        self.now = now;
        self.clock = now + now * self.gains / 1000;
        self.us = 0;
        let clock = self.clock;
        self.values.retain(|_, value| match value {
            Value::Lock(lock) => lock.expires_at.is_none_or(|at| at >= clock),
            Value::Clutter => true,
        });
        self.records.retain(|_, record| record.expires_at >= clock);
        self.queues.retain(|_, queue| queue.expires_at >= clock);
        self.waiters.retain(|_, waiter| waiter.expires_at >= clock);
        self.listeners.retain(|_, until| *until > now);
    }

    /// All data is lost.
    pub fn flush_all(&mut self) {
        for value in std::mem::take(&mut self.values).into_values() {
            if let Value::Lock(lock) = value {
                self.notes.extend(lock.attempts.into_iter().map(Note::Void));
            }
        }
        self.records.clear();
        self.queues.clear();
        self.waiters.clear();
        self.fence = 0;
        self.us += 100;
    }

    /// Puts something that is no lock where nothing is, or takes it away.
    pub fn clutter(&mut self, key: &str, there: bool) {
        let is_clutter = matches!(self.values.get(key), Some(Value::Clutter));
        if there && !self.values.contains_key(key) {
            self.values.insert(key.into(), Value::Clutter);
        } else if !there && is_clutter {
            self.values.remove(key);
        }
    }

    /// Somebody listens to the inbox of `member`, as far as the server knows, until then.
    pub fn listens(&mut self, member: usize, until: u64) {
        self.listeners.insert(member, until);
    }

    pub(super) fn has_listener(&self, member: usize) -> bool {
        self.listeners.contains_key(&member)
    }

    pub fn take_calls(&mut self) -> Vec<(usize, Push)> {
        std::mem::take(&mut self.calls)
    }

    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    pub fn lock(&self, key: &str) -> Option<&Locked> {
        match self.values.get(key)? {
            Value::Lock(lock) => Some(lock),
            Value::Clutter => None,
        }
    }

    pub fn locks(&self) -> impl Iterator<Item = (&Arc<str>, &Locked)> {
        self.values.iter().filter_map(|(key, value)| match value {
            Value::Lock(lock) => Some((key, lock)),
            Value::Clutter => None,
        })
    }

    /// Whether this lock was handed over and has not been claimed.
    pub fn is_unclaimed(&self, key: &str, lock: &Locked) -> bool {
        match lock.holder {
            Holder::Job { token, .. } => token == 0,
            _ => self
                .records
                .get(key)
                .is_some_and(|record| record.token == 0 && record.again.is_none()),
        }
    }

    /// The token of a lock's grant; 0: it is handed over, or a node that knows no queue took it.
    pub fn token_of(&self, key: &str, lock: &Locked) -> u64 {
        match lock.holder {
            Holder::Job { token, .. } => token,
            _ => self.records.get(key).map_or(0, |record| record.token),
        }
    }

    /// The waiters that may have all that they wait for: every lock is free, and they are the first for it.
    pub fn entitled(&self) -> impl Iterator<Item = Attempt> {
        let may_have = |name: &Attempt, waiter: &Waiter| {
            let is_first = |key: &Arc<str>| !self.values.contains_key(key) && self.head(key) == Some(*name);
            waiter.keys.iter().all(is_first)
        };
        let waiters = self.waiters.iter();
        waiters
            .filter(move |(name, waiter)| may_have(name, waiter))
            .map(|(name, _)| *name)
    }

    /// Whether somebody who stands in the queue of one of `keys` waits for this key as well.
    pub fn is_wanted_beside(&self, key: &str, keys: &KeySet) -> bool {
        let wants = |waiter: &Waiter, key: &str| waiter.keys.iter().any(|wanted| **wanted == *key);
        let beside = |waiter: &Waiter| wants(waiter, key) && keys.iter().any(|other| wants(waiter, other));
        self.waiters.values().any(beside)
    }

    pub(super) fn head(&self, key: &str) -> Option<Attempt> {
        let (_, name) = self.queues.get(key)?.line.first()?;
        Some(*name)
    }

    /// Whether nothing is left of all that the members wrote, but the counter of tokens.
    pub fn is_clean(&self) -> bool {
        self.values.is_empty() && self.records.is_empty() && self.queues.is_empty() && self.waiters.is_empty()
    }

    /// Carries out one command. `inbox`: it comes from a connection on which the server can call.
    pub fn hear(&mut self, member: usize, command: &Command, inbox: bool) -> Answer {
        if self.trouble == Some(Trouble::Loading) {
            return Answer::Error(passing("LOADING Redis is loading the dataset in memory"));
        }
        self.us += 1;
        self.has_written = false;
        self.run(member, command, inbox.then_some(member))
            .unwrap_or_else(Answer::Error)
    }

    pub(super) fn now_us(&self) -> u64 {
        EPOCH_US + self.clock * 1000 + self.us
    }

    /// The next token, with some more set aside.
    pub(super) fn mint(&mut self, reserve: u32) -> Result<u64, ServerError> {
        self.write(true)?;
        let token = (self.fence + 1).max(self.now_us());
        self.fence = token + u64::from(reserve);
        Ok(token)
    }

    /// The running script is about to write. A server in trouble stops it at its first write, or its first one that
    /// `grows` what is stored.
    pub(super) fn write(&mut self, grows: bool) -> Result<(), ServerError> {
        match self.trouble {
            Some(Trouble::ReadOnly) => {
                return Err(passing("READONLY You can't write against a read only replica."));
            }
            Some(Trouble::Oom) if grows && !self.has_written => {
                return Err(passing("OOM command not allowed when used memory > 'maxmemory'."));
            }
            _ => {}
        }
        self.has_written = true;
        Ok(())
    }

    pub(super) fn set(
        &mut self,
        key: &Arc<str>,
        holder: Holder,
        attempt: Attempt,
        expire: Option<u64>,
    ) -> Result<(), ServerError> {
        self.write(true)?;
        let expires_at = expire.map(|span| self.clock + span);
        let made_at = self.now;
        if let Some(Value::Lock(lock)) = self.values.get_mut(key) {
            if expire.is_some() || lock.holder != holder || (lock.holder == Holder::Anyone && self.is_open) {
                let others = lock.attempts.iter().filter(|other| **other != attempt);
                self.notes.extend(others.copied().map(Note::Void));
            }
            if lock.holder != holder {
                lock.made_at = made_at;
            }
            lock.holder = holder;
            lock.expires_at = expires_at;
            if !lock.attempts.contains(&attempt) {
                lock.attempts.push(attempt);
            }
        } else {
            let lock = Locked {
                holder,
                expires_at,
                attempts: vec![attempt],
                made_at,
            };
            self.values.insert(Arc::clone(key), Value::Lock(lock));
        }
        Ok(())
    }

    /// Deletes a lock and its record.
    pub(super) fn delete(
        &mut self,
        key: &str,
        note: impl Fn(Attempt) -> Option<Note>,
    ) -> Result<(), ServerError> {
        self.write(false)?;
        if let Some(Value::Lock(lock)) = self.values.remove(key) {
            self.notes.extend(lock.attempts.into_iter().filter_map(note));
        }
        self.records.remove(key);
        Ok(())
    }

    /// None: it has no end.
    pub(super) fn lapses_in(&self, key: &str) -> Option<Duration> {
        let expires_at = match self.lock(key) {
            Some(lock) => lock.expires_at?,
            None => 0,
        };
        Some(Duration::from_millis(expires_at.saturating_sub(self.clock)))
    }

    /// The node that knows no queue takes a lock that is free.
    pub fn old_takes(&mut self, key: &Arc<str>, by: Attempt, holder: &Holder, expire: Option<u64>) -> bool {
        let is_free = self.trouble.is_none() && !self.values.contains_key(key);
        is_free && self.set(key, holder.clone(), by, expire).is_ok()
    }

    /// It releases a lock, as its owner.
    pub fn old_releases(&mut self, key: &str, by: Attempt) {
        if self.lock(key).is_some_and(|lock| lock.attempts[0] == by) {
            self.values.remove(key);
        }
    }
}

/// The holder that an `acquire` by `owner` makes.
pub fn holder_of(owner: &Owner) -> Holder {
    match owner {
        Owner::Named(name) => Holder::Named(name.clone()),
        Owner::Anyone | Owner::Job(_) => Holder::Anyone,
    }
}

pub(super) fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn passing(words: &str) -> ServerError {
    server_error(words, true)
}

pub(super) fn wrong_type(key: &str) -> ServerError {
    server_error(&format!("WRONGTYPE {key}"), false)
}

fn server_error(words: &str, passing: bool) -> ServerError {
    let failure = Failure {
        code: "REDIS_ERROR",
        message: words.to_owned(),
        key: None,
    };
    ServerError { failure, passing }
}
