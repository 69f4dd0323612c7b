//! The class that `provider/` drives: one user of locks, on either backend.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use napi::Either;
use napi_derive::napi;

use super::error::{Result, guard, invalid_option};
use super::mailbox::{Inbox, Mailbox, Resident, number_of, to_f64};
use super::options::{CommonOptions, NativeOptions, span};
use crate::backend::memory::{self, Asked, GivenBack, Space};
use crate::backend::{Completion, Failure, Outcome, Sink, Wait, job_owner_prefix, next_ticket};
use crate::core::key::KeySet;
use crate::core::owner::Owner;
use crate::core::table::{Claim, Ownerless};
use crate::core::ticket::Ticket;

#[cfg(feature = "redis")]
use crate::backend::redis::member as redis;

/// Keys as JavaScript passes them.
#[napi]
pub type Keys = Either<String, Vec<String>>;

/// `waitMs` that means "for ever".
const FOREVER: f64 = -1.0;

/// The shortest lease. It only decides how long keys stay locked when a process dies, and a shorter one could not be
/// renewed reliably.
const LEASE_MS_MIN: f64 = 100.0;

/// Where the locks live.
enum Backend {
    Memory(Arc<memory::Member>),
    #[cfg(feature = "redis")]
    Redis(Arc<redis::Member>),
}

/// A user of locks. All methods answer at once; see `provider/locks.ts` for what the numbers mean.
#[napi(js_name = "NativeLocks")]
pub struct Locks {
    inbox: Arc<Inbox>,
    backend: Backend,
    common: CommonOptions,
    /// The key that the last refused call was refused for.
    refused: RefCell<Option<Arc<str>>>,
    closed: Cell<bool>,
}

/// How much there is of what.
#[napi(object)]
pub struct NativeStats {
    /// `memory` or `redis`.
    pub backend: String,
    /// In memory, how many keys of the namespace are held or waited for; on Redis, the same of this client's jobs.
    pub keys: u32,
    /// Requests that wait: in memory, of the namespace; on Redis, of this client.
    pub waiting: u32,
}

#[napi]
impl Locks {
    /// # Errors
    /// `INVALID_OPTION`: an option is out of its range, or contradicts another user of the same namespace.
    #[napi(constructor)]
    pub fn new(mailbox: &Mailbox, options: NativeOptions) -> Result<Self> {
        guard(|| {
            let common = CommonOptions::from_options(&options)?;
            let inbox = Arc::clone(mailbox.inbox());
            let backend = match options.redis {
                None => Backend::Memory(Arc::new(
                    open_space(&common)?.join(Arc::clone(&inbox) as Arc<dyn Sink>),
                )),
                #[cfg(feature = "redis")]
                Some(redis) => Backend::Redis(Arc::new(
                    redis.into_member(&common, Arc::clone(&inbox) as Arc<dyn Sink>)?,
                )),
                #[cfg(not(feature = "redis"))]
                Some(_) => {
                    return Err(invalid_option(
                        "Invalid option \"redisUrl\": this build has no Redis backend".to_owned(),
                    ));
                }
            };
            let resident: Arc<dyn Resident> = match &backend {
                Backend::Memory(member) => Arc::clone(member) as Arc<dyn Resident>,
                #[cfg(feature = "redis")]
                Backend::Redis(member) => Arc::clone(member) as Arc<dyn Resident>,
            };
            inbox.admit(Arc::downgrade(&resident));
            Ok(Locks {
                inbox,
                backend,
                common,
                refused: RefCell::new(None),
                closed: Cell::new(false),
            })
        })
    }

    /// How the owner id of every `execute` of this process begins.
    #[napi(getter)]
    pub fn owner_prefix(&self) -> &'static str {
        job_owner_prefix()
    }

    /// Where Redis is, without any secret; absent: locks hold within this process.
    #[napi(getter)]
    pub fn endpoint(&self) -> Option<String> {
        match &self.backend {
            Backend::Memory(_) => None,
            #[cfg(feature = "redis")]
            Backend::Redis(member) => Some(member.settings().endpoint()),
        }
    }

    /// The parameters of the URL that have no effect.
    #[napi(getter)]
    pub fn ignored_parameters(&self) -> Vec<String> {
        match &self.backend {
            Backend::Memory(_) => Vec::new(),
            #[cfg(feature = "redis")]
            Backend::Redis(member) => member.settings().ignored_parameters.clone(),
        }
    }

    /// Asks for `keys` for a job whose lease is `expireMs` (0: the default). A number above 0: granted, and that is
    /// the ticket and the fencing token; below 0: pending under the ticket of that amount; 0: refused.
    #[napi]
    pub fn execute(&self, keys: Keys, timeout_ms: f64, expire_ms: f64) -> Result<f64> {
        guard(|| self.ask(keys, Claim::Job, expire_ms, timeout_ms))
    }

    /// Asks for `keys` as a lock of `ownerId`. `expireMs` 0: no expiry. `waitMs` 0: at once or not at all; -1: for
    /// ever. Answers as `execute`.
    #[napi]
    pub fn acquire(&self, keys: Keys, owner_id: Option<String>, expire_ms: f64, wait_ms: f64) -> Result<f64> {
        guard(|| {
            let owner = Owner::from_id(owner_id.as_deref());
            let expire = (expire_ms > 0.0).then(|| span(expire_ms));
            self.ask(keys, Claim::Lock { owner, expire }, 0.0, wait_ms)
        })
    }

    /// Ends the job of `ticket`. A number from 0: done; bit 0: its keys were held until now; bit 1: completions wait
    /// to be drained. Below 0: pending under the ticket of that amount.
    #[napi]
    pub fn finish(&self, ticket: f64) -> Result<f64> {
        guard(|| {
            let job = Ticket::new(number_of(ticket));
            Ok(match &self.backend {
                Backend::Memory(member) => given_back(member.finish(job)),
                #[cfg(feature = "redis")]
                Backend::Redis(member) => {
                    member.finish(job);
                    pending(job)
                }
            })
        })
    }

    /// Releases the locks of `ownerId` on `keys`. Answers as `finish`; bit 0: all were released.
    #[napi]
    pub fn release(&self, keys: Keys, owner_id: Option<String>) -> Result<f64> {
        guard(|| {
            self.check_open()?;
            let keys = key_set(keys)?;
            Ok(match &self.backend {
                Backend::Memory(member) => given_back(member.release(&keys, owner_id.as_deref())),
                #[cfg(feature = "redis")]
                Backend::Redis(member) => pending(member.release(keys, owner_id.as_deref())?),
            })
        })
    }

    /// Releases all locks of `ownerId`, or all locks. Answers as `finish`.
    #[napi]
    pub fn release_all(&self, owner_id: Option<String>) -> Result<f64> {
        guard(|| {
            self.check_open()?;
            Ok(match &self.backend {
                Backend::Memory(member) => given_back(member.release_all(owner_id.as_deref())),
                #[cfg(feature = "redis")]
                Backend::Redis(member) => pending(member.release_all(owner_id.as_deref())),
            })
        })
    }

    /// The caller of `ticket` has gone: it leaves the queue, and what it would get is given back. False: it is too
    /// late for that, its completion is on its way.
    #[napi]
    pub fn cancel(&self, ticket: f64) -> Result<bool> {
        guard(|| {
            let ticket = Ticket::new(number_of(ticket));
            Ok(match &self.backend {
                Backend::Memory(member) => member.cancel(ticket),
                #[cfg(feature = "redis")]
                Backend::Redis(member) => member.cancel(ticket),
            })
        })
    }

    /// Looks up the locks on `keys`, or all. Always pending.
    #[napi]
    pub fn inspect(&self, keys: Option<Vec<String>>) -> Result<f64> {
        guard(|| {
            self.check_open()?;
            let keys = keys.map(|keys| key_set(Either::B(keys))).transpose()?;
            Ok(match &self.backend {
                Backend::Memory(member) => {
                    self.complete_later(Outcome::Inspected(member.inspect(keys.as_ref())))
                }
                #[cfg(feature = "redis")]
                Backend::Redis(member) => pending(member.inspect(keys)),
            })
        })
    }

    /// The key that the last call that answered 0 was refused for.
    #[napi]
    pub fn refused_key(&self) -> String {
        self.refused.take().map(|key| key.to_string()).unwrap_or_default()
    }

    /// Counts.
    #[napi]
    pub fn stats(&self) -> NativeStats {
        let (backend, (keys, waiting)) = match &self.backend {
            Backend::Memory(member) => ("memory", member.counts()),
            #[cfg(feature = "redis")]
            Backend::Redis(member) => ("redis", member.counts()),
        };
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        NativeStats {
            backend: backend.to_owned(),
            keys: count(keys),
            waiting: count(waiting),
        }
    }

    /// Takes no more requests, and ends every wait with an error. Jobs go on and can be finished.
    #[napi]
    pub fn stop(&self) -> Result<()> {
        guard(|| {
            self.closed.set(true);
            match &self.backend {
                Backend::Memory(member) => member.stop(),
                #[cfg(feature = "redis")]
                Backend::Redis(member) => member.stop(),
            }
            Ok(())
        })
    }

    /// Gives back everything that is left, and lets go of the backend. Always pending.
    #[napi]
    pub fn close(&self) -> Result<f64> {
        guard(|| {
            self.closed.set(true);
            Ok(match &self.backend {
                Backend::Memory(member) => {
                    member.leave();
                    self.complete_later(Outcome::Done)
                }
                #[cfg(feature = "redis")]
                Backend::Redis(member) => pending(member.close()),
            })
        })
    }

    /// The same for the process's exit event: blocks for `budgetMs` at the most, completes nothing.
    #[napi]
    pub fn close_now(&self, budget_ms: f64) -> Result<()> {
        guard(|| {
            self.closed.set(true);
            match &self.backend {
                Backend::Memory(member) => member.leave(),
                #[cfg(feature = "redis")]
                Backend::Redis(member) => member.close_now(span(budget_ms)),
            }
            Ok(())
        })
    }
}

impl Locks {
    fn ask(&self, keys: Keys, claim: Claim, lease_ms: f64, wait_ms: f64) -> Result<f64> {
        self.check_open()?;
        let (keys, wait) = (key_set(keys)?, wait_of(wait_ms));
        let lease = if lease_ms > 0.0 {
            span(lease_ms.max(LEASE_MS_MIN))
        } else {
            self.common.lease
        };
        match &self.backend {
            // In one process a lease would outlive nothing that its job does not.
            Backend::Memory(member) => Ok(match member.request(keys, claim, wait)? {
                Asked::Granted(ticket) => to_f64(ticket.number()),
                Asked::Pending(ticket) => pending(ticket),
                Asked::Refused(key) => {
                    self.refused.replace(Some(key));
                    0.0
                }
            }),
            #[cfg(feature = "redis")]
            Backend::Redis(member) => Ok(pending(member.request(keys, claim, lease, |now| wait.from(now))?)),
        }
    }

    /// An answer that is known already, by the way that JavaScript expects.
    fn complete_later(&self, outcome: Outcome) -> f64 {
        let ticket = next_ticket();
        if self.inbox.push(Completion { ticket, outcome }) {
            self.inbox.wake();
        }
        pending(ticket)
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.get() {
            Err(Failure::closed().into())
        } else {
            Ok(())
        }
    }
}

/// A client that JavaScript dropped without closing it.
impl Drop for Locks {
    fn drop(&mut self) {
        match &self.backend {
            Backend::Memory(member) => member.leave(),
            #[cfg(feature = "redis")]
            Backend::Redis(member) => member.leave(),
        }
    }
}

impl Resident for memory::Member {
    fn abandon(&self, unseen: &[Completion]) {
        memory::Member::abandon(self, unseen);
    }
}

#[cfg(feature = "redis")]
impl Resident for redis::Member {
    fn abandon(&self, unseen: &[Completion]) {
        redis::Member::abandon(self, unseen);
    }
}

fn open_space(common: &CommonOptions) -> Result<Arc<Space>> {
    Space::open(&common.namespace, common.ownerless).map_err(|in_use| {
        let name = |ownerless| if ownerless == Ownerless::Open { "open" } else { "exclusive" };
        invalid_option(format!(
            "Invalid option \"ownerless\": \"{}\", but namespace \"{}\" is in use in this process with \"{}\"",
            name(common.ownerless),
            common.namespace,
            name(in_use)
        ))
    })
}

fn pending(ticket: Ticket) -> f64 {
    -to_f64(ticket.number())
}

fn given_back(given: GivenBack) -> f64 {
    f64::from(u8::from(given.held) | (u8::from(given.news) << 1))
}

fn key_set(keys: Keys) -> Result<KeySet> {
    Ok(match keys {
        Either::A(key) => KeySet::one(&key)?,
        Either::B(keys) => KeySet::new(keys.iter().map(String::as_str))?,
    })
}

fn wait_of(wait_ms: f64) -> Wait {
    if wait_ms <= FOREVER {
        Wait::Forever
    } else if wait_ms <= 0.0 {
        Wait::Refuse
    } else {
        Wait::For(span(wait_ms))
    }
}
