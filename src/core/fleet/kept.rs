//! Locks of `acquire` that are kept beyond their expiry, for as long as this process lives and has not released them.
//!
//! Each is renewed for its expiry, again and again, until the time that the configuration grants it beyond that has passed. The
//! server extends only what this member's attempt was the last to take. Whoever finds its lock gone does nothing: the owner
//! learns of it when it releases.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::{Answer, Command, Fleet, Held, Keep};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

/// A lock is renewed when this part of its expiry has passed: two renewals can fail before it lapses.
const RENEW_PART: u32 = 3;

/// Those that are due within this time of each other are renewed together.
const RENEW_SLACK: Duration = Duration::from_millis(250);

/// After a renewal failed, the next is tried after this part of the expiry.
const RETRY_PART: u32 = 10;

/// The most locks in one command: one script call must not hold the server up.
const LOCKS_MAX: usize = 256;

/// One lock that is kept.
#[derive(Debug)]
struct Kept {
    attempt: Ticket,
    owner: Owner,
    span: Duration,
    /// When its time is up.
    until: Moment,
    /// None: a renewal is on its way.
    renew_at: Option<Moment>,
}

/// By key: a key has one lock.
#[derive(Debug, Default)]
pub(super) struct KeptLocks {
    by_key: HashMap<Arc<str>, Kept>,
    due: BTreeSet<(Moment, Arc<str>)>,
}

impl KeptLocks {
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// When the next one is to be renewed.
    pub(super) fn next_deadline(&self) -> Moment {
        self.due.first().map_or(Moment::NEVER, |(at, _)| *at)
    }

    fn insert(&mut self, key: &Arc<str>, kept: Kept) {
        let renew_at = kept.renew_at;
        self.drop_if(key, |_| true);
        self.by_key.insert(Arc::clone(key), kept);
        self.set_due(key, renew_at);
    }

    fn set_due(&mut self, key: &Arc<str>, renew_at: Option<Moment>) {
        let Some(kept) = self.by_key.get_mut(key) else {
            return;
        };
        if let Some(at) = std::mem::replace(&mut kept.renew_at, renew_at) {
            self.due.remove(&(at, Arc::clone(key)));
        }
        if let Some(at) = renew_at {
            self.due.insert((at, Arc::clone(key)));
        }
    }

    fn drop_if(&mut self, key: &Arc<str>, condition: impl Fn(&Kept) -> bool) {
        if self.by_key.get(key).is_some_and(condition) {
            self.set_due(key, None);
            self.by_key.remove(key);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = KeptLocks::default();
    }
}

impl Fleet {
    /// Whether locks of `acquire` are renewed here.
    pub fn keeps(&self) -> bool {
        !self.kept.is_empty()
    }

    /// An `acquire` was granted by the command that was sent then.
    pub(super) fn keep(
        &mut self,
        attempt: Ticket,
        sent_at: Moment,
        keys: &KeySet,
        owner: &Owner,
        expire: Option<Duration>,
    ) {
        if self.config.acquire_renew.is_zero() && self.kept.is_empty() {
            return;
        }
        for key in keys {
            let Some(span) = expire else {
                // Its owner took it again without an expiry: there is nothing to renew.
                self.kept.drop_if(key, |_| true);
                continue;
            };
            let kept = Kept {
                attempt,
                owner: owner.clone(),
                span,
                until: sent_at.after(span).after(self.config.acquire_renew),
                renew_at: Some(sent_at.after(span / RENEW_PART)),
            };
            self.kept.insert(key, kept);
        }
    }

    /// These are to be released: from here on they are not renewed, whatever comes of that.
    pub(super) fn keep_no_longer(&mut self, keys: &KeySet, held: &Held) {
        if self.kept.is_empty() {
            return;
        }
        for (index, key) in keys.iter().enumerate() {
            self.kept.drop_if(key, |kept| match held {
                Held::ByJob { .. } => false,
                Held::ByOwner(owner_id) => kept.owner == Owner::from_id(owner_id.as_deref()),
                Held::ByGrants(given) => {
                    let given = given.get(index).copied().flatten();
                    given.is_some_and(|given| given.attempt == kept.attempt)
                }
            });
        }
    }

    /// What this attempt took is given back.
    pub(super) fn keep_no_more_of(&mut self, attempt: Ticket, keys: &KeySet) {
        for key in keys {
            self.kept.drop_if(key, |kept| kept.attempt == attempt);
        }
    }

    /// Renews what is due, and what is due soon. Nothing is renewed for a caller's thread that has been stuck for too long.
    pub(super) fn renew_kept(&mut self, now: Moment) {
        if self.kept.next_deadline() > now {
            return;
        }
        let soon = now.after(RENEW_SLACK);
        let due = self.kept.due.iter().take_while(|(at, _)| *at <= soon);
        let due: Vec<Arc<str>> = due.map(|(_, key)| Arc::clone(key)).collect();
        let may_renew = self.stalled < self.config.max_stall && self.is_up();
        let mut batch: Vec<Keep> = Vec::new();
        for key in due {
            let Some(kept) = self.kept.by_key.get(&key) else {
                continue;
            };
            let left = kept.until.since(now);
            if left.is_zero() {
                self.kept.drop_if(&key, |_| true);
                continue;
            }
            if !may_renew {
                self.keep_later(now, &key);
                continue;
            }
            batch.push(Keep {
                key: Arc::clone(&key),
                attempt: kept.attempt,
                owner: kept.owner.clone(),
                expire: kept.span.min(left),
            });
            self.kept.set_due(&key, None);
            if batch.len() == LOCKS_MAX {
                let locks = std::mem::take(&mut batch);
                self.send(Command::Keep { locks });
            }
        }
        if !batch.is_empty() {
            self.send(Command::Keep { locks: batch });
        }
    }

    pub(super) fn kept_answered(&mut self, now: Moment, sent_at: Moment, locks: &[Keep], answer: &Answer) {
        for (index, lock) in locks.iter().enumerate() {
            let is_same = |kept: &&Kept| kept.attempt == lock.attempt;
            let Some(kept) = self.kept.by_key.get(&lock.key).filter(is_same) else {
                continue;
            };
            let (span, until) = (kept.span, kept.until);
            match answer {
                Answer::Kept(are_kept) if are_kept.get(index) == Some(&true) => {
                    let lapses_at = sent_at.after(lock.expire);
                    self.given.prolong(&lock.key, lock.attempt, lapses_at);
                    if lapses_at >= until {
                        // It stays for the rest of its time, and ends with that.
                        self.kept.drop_if(&lock.key, |_| true);
                    } else {
                        self.kept
                            .set_due(&lock.key, Some(sent_at.after(span / RENEW_PART)));
                    }
                }
                // It has been released, or has lapsed, or its owner took it again elsewhere.
                Answer::Kept(_) => self.kept.drop_if(&lock.key, |_| true),
                _ => self.keep_later(now, &lock.key),
            }
        }
    }

    fn keep_later(&mut self, now: Moment, key: &Arc<str>) {
        let Some(kept) = self.kept.by_key.get(key) else {
            return;
        };
        let pause = (kept.span / RETRY_PART).max(Duration::from_millis(5));
        self.kept.set_due(key, Some(now.after(pause)));
    }

    /// The link has come back: what was sent over the one before may not have been carried out.
    pub(super) fn renew_kept_at_next_tick(&mut self, now: Moment) {
        let keys: Vec<Arc<str>> = self.kept.by_key.keys().cloned().collect();
        for key in keys {
            self.kept.set_due(&key, Some(now));
        }
    }
}
