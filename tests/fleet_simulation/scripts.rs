//! What the scripts of `src/backend/redis/lua` do, each in one step, on maps instead of in Redis.

use std::sync::Arc;

use medusa_locking_native::core::fleet::{
    Answer, Command, Given, Held, Keep, Place, Renewal, Reserved, ServerError,
};
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::owner::Owner;

use super::plan::KEYS;
use super::queues::Queues;
use super::records::Record;
use super::server::{Attempt, Holder, Locked, Note, Server, Value, holder_of, ms, wrong_type};

/// How long a record lives whose lock does not expire.
pub const RECORD_MS: u64 = 24 * 60 * 60 * 1000;

/// How many keys a page of a scan looks at: so few that a sweep takes several.
const SCAN_COUNT: usize = 2;

/// What an acquire is told.
pub(super) struct Ask<'c> {
    pub attempt: Attempt,
    keys: &'c KeySet,
    /// None: without end.
    pub expire: Option<u64>,
    must_hold: bool,
    reserve: u32,
    wait: Option<Place>,
    inbox: Option<usize>,
    more: bool,
}

impl Server {
    pub(super) fn run(
        &mut self,
        member: usize,
        command: &Command,
        inbox: Option<usize>,
    ) -> Result<Answer, ServerError> {
        let by = |ticket| Attempt { member, ticket };
        match command {
            Command::Acquire {
                ticket,
                keys,
                owner,
                expire,
                must_hold,
                reserve,
                wait,
                more,
            } => {
                let ask = Ask {
                    attempt: by(*ticket),
                    keys,
                    expire: expire.map(ms),
                    must_hold: *must_hold,
                    reserve: *reserve,
                    wait: *wait,
                    inbox,
                    more: *more,
                };
                match owner {
                    Owner::Job(_) => self.acquire_job(&ask),
                    owner => self.acquire_lock(&ask, &holder_of(owner)),
                }
            }
            Command::Release {
                ticket,
                keys,
                held,
                more,
            } => self.release(by(*ticket), keys, held, *more),
            Command::Cancel { ticket, keys, owner } => {
                let owner = (!matches!(owner, Owner::Job(_))).then(|| holder_of(owner));
                self.cancel(by(*ticket), keys, owner.as_ref())
            }
            Command::Renew { leases } => {
                let lost = leases.iter().map(|lease| self.renew(member, lease));
                lost.collect::<Result<_, _>>().map(Answer::Renewed)
            }
            Command::Keep { locks } => self.keep(member, locks),
            Command::Reserve {
                job,
                token,
                keys,
                count,
                ..
            } => {
                let reserved = self.reserve(&job_of(by(*job), *token), keys, *count)?;
                if matches!(reserved, Reserved::From(_)) {
                    self.notes.push(Note::Reserved(by(*job)));
                }
                Ok(Answer::Reserved(reserved))
            }
            Command::Scan { cursor, .. } => Ok(self.scan(*cursor)),
            Command::Sweep { keys, owner_id, .. } => self.sweep(keys, owner_id.as_deref()),
            Command::Inspect { .. } => Ok(Answer::Locks(Vec::new())),
        }
    }

    /// Nobody holds any of the locks or waits for it, nor does this attempt.
    fn are_new(&self, ask: &Ask) -> bool {
        let is_new = |key: &Arc<str>| !self.values.contains_key(key) && !self.queues.contains_key(key);
        ask.keys.iter().all(is_new) && !self.waiters.contains_key(&ask.attempt)
    }

    fn acquire_job(&mut self, ask: &Ask) -> Result<Answer, ServerError> {
        let (keys, is_new) = (ask.keys.as_slice(), self.are_new(ask));
        let (mut mine, mut held) = (Vec::new(), None);
        for (index, key) in keys.iter().enumerate() {
            match self.values.get(key) {
                None => {}
                Some(Value::Clutter) => return Err(wrong_type(key)),
                Some(Value::Lock(lock)) if is_job(&lock.holder, ask.attempt) => mine.push(key),
                Some(Value::Lock(_)) => held = held.or(Some(index)),
            }
        }
        let mut q = self.open_queues(Some(ask.attempt), keys, ask.more);
        if mine.len() < keys.len() && !is_new {
            // Whoever waits holds nothing.
            for key in mine {
                q.server.delete(key, |_| None)?;
            }
            if let Some(busy) = q.wait_or_refuse(ask, None, held)? {
                return Ok(busy);
            }
        }
        let token = q.server.mint(ask.reserve)?;
        for key in keys {
            let holder = Holder::Job {
                attempt: ask.attempt,
                token,
            };
            q.server.set(key, holder, ask.attempt, ask.expire)?;
        }
        q.server.notes.push(Note::Took(ask.attempt));
        q.served(ask.keys, ask.expire, None)?;
        Ok(Answer::Granted(token))
    }

    fn acquire_lock(&mut self, ask: &Ask, owner: &Holder) -> Result<Answer, ServerError> {
        let (keys, is_new) = (ask.keys.as_slice(), self.are_new(ask));
        let (mut ours, mut held) = (0, None);
        for (index, key) in keys.iter().enumerate() {
            match self.values.get(key) {
                Some(Value::Clutter) => return Err(wrong_type(key)),
                Some(Value::Lock(lock)) if self.is_ours(key, &lock.holder, owner, ask.attempt) => ours += 1,
                _ if ask.must_hold => return Ok(Answer::Busy(index, self.lapses_in(key))),
                None => {}
                Some(Value::Lock(_)) => held = held.or(Some(index)),
            }
        }
        let mut q = self.open_queues(Some(ask.attempt), keys, ask.more);
        if ours < keys.len() && !is_new {
            // Whoever waits, or is told no, holds nothing of this attempt.
            for key in keys {
                q.server.undo(key, owner, ask.attempt)?;
            }
            if let Some(busy) = q.wait_or_refuse(ask, Some(owner), held)? {
                return Ok(busy);
            }
        }
        let token = q.server.mint(0)?;
        for key in keys {
            let expires_at = q.server.clock + ask.expire.unwrap_or(RECORD_MS);
            let record = q.server.record_of(key, ask, token);
            q.server.set(key, owner.clone(), ask.attempt, ask.expire)?;
            let record = Record { expires_at, ..record };
            q.server.records.insert(Arc::clone(key), record);
        }
        q.server.notes.push(Note::Took(ask.attempt));
        q.served(ask.keys, ask.expire, Some(owner))?;
        Ok(Answer::Granted(token))
    }

    /// Ends an attempt, of a job if it has no owner: it leaves its queues, and what it did is undone.
    fn cancel(
        &mut self,
        attempt: Attempt,
        keys: &KeySet,
        owner: Option<&Holder>,
    ) -> Result<Answer, ServerError> {
        for key in keys {
            match owner {
                Some(owner) => self.undo(key, owner, attempt)?,
                None if self.lock(key).is_some_and(|lock| is_job(&lock.holder, attempt)) => {
                    self.delete(key, |_| None)?;
                }
                None => {}
            }
        }
        let is_waited_for = keys.iter().any(|key| self.queues.contains_key(key));
        if is_waited_for || self.waiters.contains_key(&attempt) {
            let mut q = self.open_queues(Some(attempt), &[], false);
            q.leave(attempt, keys)?;
            q.hand_over(keys.as_slice())?;
        }
        Ok(Answer::Released(true))
    }

    fn release(
        &mut self,
        by: Attempt,
        keys: &KeySet,
        held: &Held,
        more: bool,
    ) -> Result<Answer, ServerError> {
        let is_open = self.is_open && matches!(held, Held::ByOwner(_));
        let is_held = |(index, key): &(usize, &Arc<str>)| {
            let Some(lock) = self.lock(key) else { return false };
            let holder = match held {
                Held::ByJob { job, token } => job_of(Attempt { ticket: *job, ..by }, *token),
                Held::ByOwner(owner_id) => holder_of(&Owner::from_id(owner_id.as_deref())),
                Held::ByGrants(given) => {
                    return given[*index].is_some_and(|given| self.is_given(by, key, lock, given));
                }
            };
            lock.holder == holder || (is_open && lock.holder == Holder::Anyone)
        };
        let freed = keys.iter().enumerate().filter(is_held);
        let freed: Vec<Arc<str>> = freed.map(|(_, key)| Arc::clone(key)).collect();
        for key in &freed {
            self.delete(key, |attempt| Some(Note::Released { by, attempt }))?;
        }
        if freed.iter().any(|key| self.queues.contains_key(key)) {
            self.open_queues(None, &freed, more).hand_over(&freed)?;
        } else if more {
            self.open_queues(None, &freed, true).begin_passing(&freed)?;
        }
        Ok(Answer::Released(freed.len() == keys.len()))
    }

    /// Whether this lock is the one without an owner that was given to this member.
    fn is_given(&self, by: Attempt, key: &str, lock: &Locked, given: Given) -> bool {
        let attempt = Attempt {
            ticket: given.attempt,
            ..by
        };
        let is_recorded = self.records.get(key).is_some_and(|record| {
            let ends_with_it = lock.expires_at.is_none_or(|at| at == record.expires_at);
            ends_with_it && record.attempts.contains(&Some(attempt))
        });
        lock.holder == Holder::Anyone && is_recorded && lock.expires_at.is_none() == given.is_endless
    }

    fn renew(&mut self, member: usize, renewal: &Renewal) -> Result<Option<usize>, ServerError> {
        let ticket = renewal.job;
        let holder = job_of(Attempt { member, ticket }, renewal.token);
        if let Some(index) = self.first_lost(&renewal.keys, &holder) {
            return Ok(Some(index));
        }
        self.write(false)?;
        let expires_at = Some(self.clock + ms(renewal.lease));
        for key in &renewal.keys {
            if let Some(Value::Lock(lock)) = self.values.get_mut(key) {
                lock.expires_at = expires_at;
            }
        }
        Ok(None)
    }

    fn keep(&mut self, member: usize, locks: &[Keep]) -> Result<Answer, ServerError> {
        let mut kept = Vec::new();
        for lock in locks {
            let attempt = Attempt {
                member,
                ticket: lock.attempt,
            };
            let is_its = self.lock(&lock.key).is_some_and(|held| {
                let is_recorded = self.records.get(&lock.key).is_some_and(|record| {
                    let again = record.again.as_ref().map(|again| Some(again.attempt));
                    let last = again.or_else(|| record.attempts.last().copied());
                    last == Some(Some(attempt)) && held.expires_at == Some(record.expires_at)
                });
                held.holder == holder_of(&lock.owner) && is_recorded
            });
            if is_its {
                self.write(false)?;
                let before = self.lock(&lock.key).and_then(|held| held.expires_at);
                let expires_at = before.max(Some(self.clock + ms(lock.expire))).unwrap_or(0);
                if let Some(Value::Lock(held)) = self.values.get_mut(&lock.key) {
                    held.expires_at = Some(expires_at);
                }
                if let Some(record) = self.records.get_mut(&lock.key) {
                    record.expires_at = expires_at;
                }
            }
            kept.push(is_its);
        }
        Ok(Answer::Kept(kept))
    }

    fn reserve(&mut self, holder: &Holder, keys: &KeySet, count: u32) -> Result<Reserved, ServerError> {
        if let Some(index) = self.first_lost(keys, holder) {
            return Ok(Reserved::Lost(index));
        }
        if !self.open_queues(None, &[], false).are_empty(keys.as_slice()) {
            return Ok(Reserved::OthersWait);
        }
        self.mint(count - 1).map(Reserved::From)
    }

    /// The first of these keys that is not this holder's.
    fn first_lost(&self, keys: &KeySet, holder: &Holder) -> Option<usize> {
        let is_lost = |key: &Arc<str>| self.lock(key).is_none_or(|lock| lock.holder != *holder);
        keys.iter().position(is_lost)
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
        let mut waited_for = Vec::new();
        for key in keys {
            let Some(lock) = self.lock(key) else { continue };
            if owner.as_ref().is_none_or(|owner| lock.holder == *owner) {
                self.delete(key, |attempt| Some(Note::Void(attempt)))?;
                waited_for.extend(self.queues.contains_key(key).then(|| Arc::clone(key)));
            }
        }
        self.open_queues(None, &[], false).hand_over(&waited_for)?;
        Ok(Answer::Released(true))
    }
}

impl Queues<'_> {
    /// What an attempt is told that does not have all its locks already; None: it may take them. `held`: the first of
    /// them that somebody else holds.
    fn wait_or_refuse(
        &mut self,
        ask: &Ask,
        owner: Option<&Holder>,
        held: Option<usize>,
    ) -> Result<Option<Answer>, ServerError> {
        let keys = ask.keys.as_slice();
        let Some(place) = ask.wait else {
            self.hand_over(keys)?;
            let is_others = |key: &Arc<str>| match (self.server.values.get(key), owner) {
                (None, _) => self.server.head(key).is_some(),
                (Some(Value::Lock(lock)), Some(owner)) => {
                    !self.server.is_ours(key, &lock.holder, owner, ask.attempt)
                }
                (Some(_), _) => true,
            };
            let busy = keys.iter().position(is_others);
            return Ok(busy.map(|index| Answer::Busy(index, self.server.lapses_in(&keys[index]))));
        };
        if held.is_none() && self.are_empty(keys) && self.pause_of(keys)? == 0 {
            return Ok(None);
        }
        let ticket = self.enter(ask.keys, place, owner.cloned(), ask.inbox)?;
        self.hand_over(keys)?;
        if self.granted {
            return Ok(None);
        }
        self.wait_reply(ask.keys, ticket).map(Some)
    }
}

fn job_of(attempt: Attempt, token: u64) -> Holder {
    Holder::Job { attempt, token }
}

fn is_job(holder: &Holder, of: Attempt) -> bool {
    matches!(holder, Holder::Job { attempt, .. } if *attempt == of)
}
