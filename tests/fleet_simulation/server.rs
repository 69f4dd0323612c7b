//! The server: its clock, its keys, its troubles. What its scripts do is in `scripts`.
//!
//! Beside what Redis knows, every lock remembers who made it and who took it again. The members never see that; the
//! checks do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use medusa_locking_native::core::fleet::{Answer, Command, ServerError};
use medusa_locking_native::core::outcome::{Failure, Lock};
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::ticket::Ticket;

/// The server's wall clock when the simulation begins, in microseconds: tokens start here.
const EPOCH_US: u64 = 1_700_000_000_000_000;

/// A request of a member: what an owner id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    pub member: usize,
    pub ticket: Ticket,
}

/// What a lock's value says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Job { attempt: Attempt, token: u64 },
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

/// Which attempts took a lock that is not a job's, and under which token the first one did.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub attempts: Vec<Attempt>,
    /// There were too many to name, so that no cancel releases the lock.
    pub is_kept: bool,
    pub token: u64,
    /// On the server's clock.
    pub expires_at: u64,
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
}

#[derive(Debug, Default)]
pub struct Server {
    pub(super) values: BTreeMap<Arc<str>, Value>,
    pub(super) records: BTreeMap<Arc<str>, Record>,
    fence: u64,
    now: u64,
    /// What its own clock shows.
    pub(super) clock: u64,
    /// How many milliseconds a second its clock gains on ours.
    gains: u64,
    scripts: BTreeSet<&'static str>,
    /// A script was not known, and what was sent after its command has overtaken that.
    pub has_forgotten: bool,
    pub trouble: Option<Trouble>,
    pub(super) notes: Vec<Note>,
}

impl Server {
    pub fn new(gains: u64) -> Self {
        Server {
            gains,
            ..Server::default()
        }
    }

    /// Time passes, and what has lapsed is gone.
    pub fn advance(&mut self, now: u64) {
        self.now = now;
        self.clock = now + now * self.gains / 1000;
        let clock = self.clock;
        self.values.retain(|_, value| match value {
            Value::Lock(lock) => lock.expires_at.is_none_or(|at| at > clock),
            Value::Clutter => true,
        });
        self.records.retain(|_, record| record.expires_at > clock);
    }

    /// It was started again.
    pub fn restart(&mut self, keeps_data: bool) {
        self.scripts.clear();
        if keeps_data {
            return;
        }
        for value in std::mem::take(&mut self.values).into_values() {
            if let Value::Lock(lock) = value {
                self.notes.extend(lock.attempts.into_iter().map(Note::Void));
            }
        }
        self.records.clear();
        self.fence = 0;
    }

    /// Its scripts are forgotten.
    pub fn flush_scripts(&mut self) {
        self.scripts.clear();
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

    /// Whether nothing is left of all that the members wrote, but the counter of tokens.
    pub fn is_clean(&self) -> bool {
        self.values.is_empty() && self.records.is_empty()
    }

    /// Carries out one command; None: its script is not known here.
    pub fn hear(&mut self, member: usize, command: &Command, with_source: bool) -> Option<Answer> {
        if self.trouble == Some(Trouble::Loading) {
            return Some(Answer::Error(passing(
                "LOADING Redis is loading the dataset in memory",
            )));
        }
        if let Some(script) = script_of(command) {
            if !with_source && !self.scripts.contains(script) {
                self.has_forgotten = true;
                return None;
            }
            self.scripts.insert(script);
        }
        Some(self.run(member, command).unwrap_or_else(Answer::Error))
    }

    pub(super) fn inspect(&self, key: &Arc<str>) -> Option<Lock> {
        let lock = self.lock(key)?;
        let (owner_id, fencing_token) = match &lock.holder {
            Holder::Job { attempt, token } => (Some(format!("{attempt:?}")), Some(*token)),
            Holder::Named(name) => (
                Some(name.to_string()),
                self.records.get(key).map(|record| record.token),
            ),
            Holder::Anyone => (None, self.records.get(key).map(|record| record.token)),
        };
        Some(Lock {
            key: key.to_string(),
            owner_id,
            fencing_token,
            expires_in_ms: self.lapses_in(lock).map(ms),
            waiting: 0,
        })
    }

    /// The next token, with some more set aside; it is the first thing that a script writes.
    pub(super) fn mint(&mut self, reserve: u32) -> Result<u64, ServerError> {
        if self.trouble == Some(Trouble::Oom) {
            return Err(passing("OOM command not allowed when used memory > 'maxmemory'."));
        }
        self.may_write()?;
        let token = (self.fence + 1).max(EPOCH_US + self.clock * 1000);
        self.fence = token + u64::from(reserve);
        Ok(token)
    }

    pub(super) fn may_write(&self) -> Result<(), ServerError> {
        match self.trouble {
            Some(Trouble::ReadOnly) => Err(passing("READONLY You can't write against a read only replica.")),
            _ => Ok(()),
        }
    }

    pub(super) fn set(&mut self, key: &Arc<str>, holder: Holder, attempt: Attempt, expire: Option<u64>) {
        let expires_at = expire.map(|span| self.clock + span);
        match self.values.get_mut(key) {
            Some(Value::Lock(lock)) => {
                if expire.is_some() {
                    let others = lock.attempts.iter().filter(|other| **other != attempt);
                    self.notes.extend(others.copied().map(Note::Void));
                }
                lock.holder = holder;
                lock.expires_at = expires_at;
                if !lock.attempts.contains(&attempt) {
                    lock.attempts.push(attempt);
                }
            }
            _ => {
                let lock = Locked {
                    holder,
                    expires_at,
                    attempts: vec![attempt],
                    made_at: self.now,
                };
                self.values.insert(Arc::clone(key), Value::Lock(lock));
            }
        }
    }

    pub(super) fn remove(&mut self, key: &str, note: impl Fn(Attempt) -> Note) {
        if let Some(Value::Lock(lock)) = self.values.remove(key) {
            self.notes.extend(lock.attempts.into_iter().map(note));
        }
        self.records.remove(key);
    }

    pub(super) fn lapses_in(&self, lock: &Locked) -> Option<Duration> {
        lock.expires_at
            .map(|at| Duration::from_millis(at.saturating_sub(self.clock)))
    }
}

/// None: a command of the server's own.
pub fn script_of(command: &Command) -> Option<&'static str> {
    Some(match command {
        Command::Acquire {
            owner: Owner::Job(_), ..
        } => "acquire_job",
        Command::Acquire { .. } => "acquire_lock",
        Command::Cancel {
            owner: Owner::Job(_), ..
        } => "cancel_job",
        Command::Cancel { .. } => "cancel_lock",
        Command::Release { .. } => "release",
        Command::Renew { .. } => "renew",
        Command::Sweep { .. } => "sweep",
        Command::Inspect { .. } => "inspect",
        Command::Scan { .. } => return None,
    })
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
    ServerError {
        failure: failure(words),
        passing: true,
    }
}

pub(super) fn wrong_type(key: &str) -> ServerError {
    ServerError {
        failure: failure(&format!("WRONGTYPE {key}")),
        passing: false,
    }
}

fn failure(words: &str) -> Failure {
    Failure {
        code: "REDIS_ERROR",
        message: words.to_owned(),
        key: None,
    }
}
