//! What the scripts of `src/backend/redis/lua` do, each in one step, on maps instead of in Redis.

use std::sync::Arc;
use std::time::Duration;

use medusa_locking_native::core::fleet::{Answer, Command, Held, Renewal, ServerError};
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::owner::Owner;

use super::plan::KEYS;
use super::server::{Attempt, Holder, Locked, Note, Record, Server, Value, holder_of, ms, wrong_type};

/// How long a record lives whose lock does not expire.
const RECORD_MS: u64 = 24 * 60 * 60 * 1000;

/// How many keys a page of a scan looks at: so few that a sweep takes several.
const SCAN_COUNT: usize = 2;

/// The most attempts that a record names.
const ATTEMPTS_MAX: usize = 16;

impl Record {
    fn add(&mut self, attempt: Attempt) {
        if self.is_kept || self.attempts.contains(&attempt) {
            return;
        }
        if self.attempts.len() >= ATTEMPTS_MAX {
            self.attempts.clear();
            self.is_kept = true;
        }
        self.attempts.push(attempt);
    }

    /// Whether nobody is left who counts on the lock.
    fn remove(&mut self, attempt: Attempt) -> bool {
        self.attempts.retain(|other| *other != attempt);
        self.attempts.is_empty() && !self.is_kept
    }
}

impl Server {
    pub(super) fn run(&mut self, member: usize, command: &Command) -> Result<Answer, ServerError> {
        match command {
            Command::Acquire {
                ticket,
                keys,
                owner,
                expire,
                extend_only,
                reserve,
            } => {
                let attempt = Attempt {
                    member,
                    ticket: *ticket,
                };
                let expire = expire.map(ms);
                match owner {
                    Owner::Job(_) => self.acquire_job(attempt, keys, expire.unwrap_or(1), *reserve),
                    owner => self.acquire_lock(attempt, keys, &holder_of(owner), expire, *extend_only),
                }
            }
            Command::Release { ticket, keys, held } => self.release(
                Attempt {
                    member,
                    ticket: *ticket,
                },
                keys,
                held,
            ),
            Command::Cancel { ticket, keys, owner } => {
                let attempt = Attempt {
                    member,
                    ticket: *ticket,
                };
                match owner {
                    Owner::Job(_) => self.cancel_job(attempt, keys)?,
                    owner => self.cancel_lock(attempt, keys, &holder_of(owner))?,
                }
                Ok(Answer::Released(true))
            }
            Command::Renew { leases } => {
                let lost = leases.iter().map(|lease| self.renew(member, lease));
                lost.collect::<Result<_, _>>().map(Answer::Renewed)
            }
            Command::Scan { cursor, .. } => Ok(self.scan(*cursor)),
            Command::Sweep { keys, owner_id, .. } => self.sweep(keys, owner_id.as_deref()),
            Command::Inspect { keys, .. } => Ok(Answer::Locks(
                keys.iter().filter_map(|key| self.inspect(key)).collect(),
            )),
        }
    }

    fn acquire_job(
        &mut self,
        attempt: Attempt,
        keys: &KeySet,
        lease: u64,
        reserve: u32,
    ) -> Result<Answer, ServerError> {
        for (index, key) in keys.iter().enumerate() {
            match self.values.get(key) {
                None => {}
                Some(Value::Clutter) => return Err(wrong_type(key)),
                Some(Value::Lock(lock)) if is_job(&lock.holder, attempt) => {}
                Some(Value::Lock(lock)) => {
                    let lapses_in = self.lapses_in(lock);
                    self.cancel_job(attempt, keys)?;
                    return Ok(Answer::Busy(index, lapses_in));
                }
            }
        }
        let token = self.mint(reserve)?;
        for key in keys {
            self.set(key, Holder::Job { attempt, token }, attempt, Some(lease));
        }
        self.notes.push(Note::Took(attempt));
        Ok(Answer::Granted(token))
    }

    fn acquire_lock(
        &mut self,
        attempt: Attempt,
        keys: &KeySet,
        owner: &Holder,
        expire: Option<u64>,
        extend_only: bool,
    ) -> Result<Answer, ServerError> {
        let mut free = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let lapses_in = match self.values.get(key) {
                None if extend_only => Some(Duration::ZERO),
                None => {
                    free.push(Arc::clone(key));
                    continue;
                }
                Some(Value::Clutter) => return Err(wrong_type(key)),
                Some(Value::Lock(lock)) if self.is_own(key, lock, owner, attempt) => continue,
                Some(Value::Lock(lock)) => self.lapses_in(lock),
            };
            self.cancel_lock(attempt, keys, owner)?;
            return Ok(Answer::Busy(index, lapses_in));
        }
        let token = self.mint(0)?;
        let record_expires_at = self.clock + expire.unwrap_or(RECORD_MS);
        for key in keys {
            self.set(key, owner.clone(), attempt, expire);
            if free.contains(key) {
                let record = Record {
                    attempts: vec![attempt],
                    is_kept: false,
                    token,
                    expires_at: record_expires_at,
                };
                self.records.insert(Arc::clone(key), record);
            } else if let Some(record) = self.records.get_mut(key) {
                record.expires_at = record_expires_at;
                record.add(attempt);
            }
        }
        self.notes.push(Note::Took(attempt));
        Ok(Answer::Granted(token))
    }

    /// Whether the owner may take its lock again; one without an owner, only the attempt that took it.
    fn is_own(&self, key: &str, lock: &Locked, owner: &Holder, attempt: Attempt) -> bool {
        let took = || {
            self.records
                .get(key)
                .is_some_and(|record| record.attempts.contains(&attempt))
        };
        lock.holder == *owner && (lock.holder != Holder::Anyone || took())
    }

    fn cancel_job(&mut self, attempt: Attempt, keys: &KeySet) -> Result<(), ServerError> {
        for key in keys {
            if self.lock(key).is_some_and(|lock| is_job(&lock.holder, attempt)) {
                self.may_write()?;
                self.values.remove(key);
            }
        }
        Ok(())
    }

    fn cancel_lock(&mut self, attempt: Attempt, keys: &KeySet, owner: &Holder) -> Result<(), ServerError> {
        for key in keys {
            let took = self
                .records
                .get(key)
                .is_some_and(|record| record.attempts.contains(&attempt));
            if !took || self.lock(key).is_none_or(|lock| lock.holder != *owner) {
                continue;
            }
            self.may_write()?;
            if self
                .records
                .get_mut(key)
                .is_some_and(|record| record.remove(attempt))
            {
                self.values.remove(key);
                self.records.remove(key);
            }
        }
        Ok(())
    }

    fn release(&mut self, by: Attempt, keys: &KeySet, held: &Held) -> Result<Answer, ServerError> {
        let holder = match held {
            Held::ByJob { job, token } => Holder::Job {
                attempt: Attempt { ticket: *job, ..by },
                token: *token,
            },
            Held::ByOwner(owner_id) => holder_of(&Owner::from_id(owner_id.as_deref())),
        };
        let mut all = true;
        for key in keys {
            if self.lock(key).is_none_or(|lock| lock.holder != holder) {
                all = false;
                continue;
            }
            self.may_write()?;
            self.remove(key, |attempt| Note::Released { by, attempt });
        }
        Ok(Answer::Released(all))
    }

    fn renew(&mut self, member: usize, renewal: &Renewal) -> Result<Option<usize>, ServerError> {
        let holder = Holder::Job {
            attempt: Attempt {
                member,
                ticket: renewal.job,
            },
            token: renewal.token,
        };
        let is_lost = |key: &Arc<str>| self.lock(key).is_none_or(|lock| lock.holder != holder);
        if let Some(index) = renewal.keys.iter().position(is_lost) {
            return Ok(Some(index));
        }
        self.may_write()?;
        let expires_at = Some(self.clock + ms(renewal.lease));
        for key in &renewal.keys {
            if let Some(Value::Lock(lock)) = self.values.get_mut(key) {
                lock.expires_at = expires_at;
            }
        }
        Ok(None)
    }

    fn scan(&self, cursor: u64) -> Answer {
        let start = usize::try_from(cursor).unwrap_or(KEYS.len());
        let page = KEYS.iter().skip(start).take(SCAN_COUNT);
        let keys = page
            .filter(|key| self.values.contains_key(**key))
            .map(|key| Arc::from(*key));
        let next = start + SCAN_COUNT;
        Answer::Page(if next < KEYS.len() { next as u64 } else { 0 }, keys.collect())
    }

    fn sweep(&mut self, keys: &[Arc<str>], owner_id: Option<&str>) -> Result<Answer, ServerError> {
        let owner = owner_id.map(|owner_id| holder_of(&Owner::from_id(Some(owner_id))));
        for key in keys {
            let Some(lock) = self.lock(key) else { continue };
            if owner.as_ref().is_none_or(|owner| lock.holder == *owner) {
                self.may_write()?;
                self.remove(key, Note::Void);
            }
        }
        Ok(Answer::Released(true))
    }
}

fn is_job(holder: &Holder, of: Attempt) -> bool {
    matches!(holder, Holder::Job { attempt, .. } if *attempt == of)
}
