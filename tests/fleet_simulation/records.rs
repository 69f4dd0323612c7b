//! What `record.lua` does: which attempts count on an owner's lock, and how one of them is undone.

use std::sync::Arc;

use medusa_locking_native::core::fleet::ServerError;

use super::scripts::{Ask, RECORD_MS};
use super::server::{Attempt, Holder, Server, Value};

/// Which attempts count on a lock that is not a job's, under which token, and which one took it again.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// All but the last one, if that took it again; None: somebody who left no record.
    pub attempts: Vec<Option<Attempt>>,
    /// 0: handed over, not yet claimed.
    pub token: u64,
    pub again: Option<Again>,
    /// On the server's clock.
    pub expires_at: u64,
}

/// Who took a lock again, and what the lock was without that.
#[derive(Clone, Debug)]
pub(super) struct Again {
    pub attempt: Attempt,
    pub expired_at: Option<u64>,
    pub holder: Holder,
}

impl Server {
    /// Whether the owner may take this lock again; one without an owner, only the attempt that took it.
    pub(super) fn is_ours(&self, key: &str, holder: &Holder, owner: &Holder, attempt: Attempt) -> bool {
        let took = |record: &Record| record.attempts.contains(&Some(attempt));
        match holder {
            Holder::Anyone if self.is_open => true,
            Holder::Anyone => *owner == Holder::Anyone && self.records.get(key).is_some_and(took),
            holder => holder == owner,
        }
    }

    /// The record of a lock that `attempt` takes: with what it takes to undo that.
    pub(super) fn record_of(&self, key: &str, ask: &Ask, token: u64) -> Record {
        let attempt = Some(ask.attempt);
        let new = |first| Record {
            attempts: vec![first],
            token,
            again: None,
            expires_at: 0,
        };
        let Some(lock) = self.lock(key) else {
            return new(attempt);
        };
        let mut record = self.records.get(key).cloned().unwrap_or(new(None));
        if record.token == 0 {
            record.token = token;
        }
        let counts = record.attempts.contains(&attempt);
        match &mut record.again {
            Some(again) if Some(again.attempt) == attempt => {}
            // Without the last one the lock would be as this one wants it.
            Some(again) if counts => again.expired_at = ask.expire.map(|span| self.clock + span),
            None if counts => record.token = token,
            again => {
                record
                    .attempts
                    .extend(again.take().map(|again| Some(again.attempt)));
                record.again = Some(Again {
                    attempt: ask.attempt,
                    expired_at: lock.expires_at,
                    holder: lock.holder.clone(),
                });
            }
        }
        record
    }

    /// Undoes what an owner's attempt did to a lock, if it did anything.
    pub(super) fn undo(
        &mut self,
        key: &Arc<str>,
        owner: &Holder,
        attempt: Attempt,
    ) -> Result<(), ServerError> {
        let is_owners = self.lock(key).is_some_and(|lock| lock.holder == *owner);
        let Some(mut left) = self.records.get(key).filter(|_| is_owners).cloned() else {
            return Ok(());
        };
        let is_last = left.again.as_ref().is_some_and(|again| again.attempt == attempt);
        if !is_last && !left.attempts.contains(&Some(attempt)) {
            return Ok(());
        }
        left.attempts.retain(|other| *other != Some(attempt));
        let undone = if is_last { left.again.take() } else { None };
        let has_lapsed = |again: &Again| again.expired_at.is_some_and(|at| at <= self.clock);
        if left.attempts.is_empty() && left.again.is_none() || undone.as_ref().is_some_and(has_lapsed) {
            return self.delete(key, |_| None);
        }
        self.write(true)?;
        if let (Some(again), Some(Value::Lock(lock))) = (undone, self.values.get_mut(key)) {
            left.expires_at = again.expired_at.unwrap_or(self.clock + RECORD_MS);
            (lock.holder, lock.expires_at) = (again.holder, again.expired_at);
        } else if left.attempts.is_empty() {
            // What is left is the last one's alone.
            left.attempts
                .extend(left.again.take().map(|again| Some(again.attempt)));
        }
        self.records.insert(Arc::clone(key), left);
        Ok(())
    }
}
