//! The class that `provider/` drives: one user of locks, on either backend.

use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;

use super::calls::{self, Calls};
use super::error::{Result, guard, internal, invalid_option};
use super::mailbox::{Detail, Inbox, Mailbox, number_of};
use super::options::{CommonOptions, NativeOptions, span};
use crate::backend::mailbox::Resident;
use crate::backend::memory::{self, Space};
use crate::backend::{Outcome, Sink, job_owner_prefix};
use crate::core::key::KeySet;
use crate::core::table::Ownerless;
use crate::core::ticket::Ticket;

#[cfg(feature = "redis")]
use crate::backend::redis::member as redis;

/// Where the locks live.
pub enum Backend {
    /// In this process.
    Memory(Arc<memory::Member>),
    /// On a server.
    #[cfg(feature = "redis")]
    Redis(Arc<redis::Member>),
}

/// A user of locks. All methods answer at once; see `provider/locks.ts` for what the numbers mean.
#[napi(js_name = "NativeLocks")]
pub struct Locks {
    calls: Arc<Calls>,
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
            let backend = open(options, &common, &inbox)?;
            let resident: Arc<dyn Resident> = match &backend {
                Backend::Memory(member) => Arc::clone(member) as Arc<dyn Resident>,
                #[cfg(feature = "redis")]
                Backend::Redis(member) => Arc::clone(member) as Arc<dyn Resident>,
            };
            inbox.admit(Arc::downgrade(&resident));
            Ok(Locks {
                calls: Arc::new(Calls::new(inbox, backend, &common)),
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
        match self.backend() {
            Backend::Memory(_) => None,
            #[cfg(feature = "redis")]
            Backend::Redis(member) => Some(member.settings().endpoint()),
        }
    }

    /// The parameters of the URL that have no effect.
    #[napi(getter)]
    pub fn ignored_parameters(&self) -> Vec<String> {
        match self.backend() {
            Backend::Memory(_) => Vec::new(),
            #[cfg(feature = "redis")]
            Backend::Redis(member) => member.settings().ignored_parameters.clone(),
        }
    }

    /// Whether whoever answers is taken for the Redis server: TLS that looks at no certificate.
    #[napi(getter)]
    pub fn trusts_any_server(&self) -> bool {
        match self.backend() {
            Backend::Memory(_) => false,
            #[cfg(feature = "redis")]
            Backend::Redis(member) => member.settings().trusts_any_server(),
        }
    }

    /// The calls that are made for every lock, as plain functions: calling a method costs as much again as what these
    /// do. Where one answers NaN, [`Locks::take_failure`] says what was wrong.
    #[napi(ts_return_type = "NativeCalls")]
    pub fn calls<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        calls::as_functions(&self.calls, env).map_err(internal)
    }

    /// What was wrong with the last call that answered NaN; once.
    ///
    /// # Errors
    /// Always: it throws what was wrong.
    #[napi]
    pub fn take_failure(&self) -> Result<()> {
        Err(self.calls.take_failure().into())
    }

    /// The key that the last call that answered 0 was refused for.
    #[napi]
    pub fn refused_key(&self) -> String {
        self.calls
            .take_refused_key()
            .map(|key| key.to_string())
            .unwrap_or_default()
    }

    /// What the last release that came after its lock had lapsed is to be told of; once.
    #[napi]
    pub fn take_outlived(&self) -> Option<Detail> {
        self.calls.take_outlived().map(Detail::from)
    }

    /// Releases all locks of `ownerId`, or all locks. Answers as `finish`.
    #[napi]
    pub fn release_all(&self, owner_id: Option<String>) -> Result<f64> {
        guard(|| {
            self.calls.check_open()?;
            Ok(match self.backend() {
                Backend::Memory(member) => calls::given_back(&member.release_all(owner_id.as_deref())),
                #[cfg(feature = "redis")]
                Backend::Redis(member) => calls::pending(member.release_all(owner_id.as_deref())),
            })
        })
    }

    /// The caller of `ticket` has gone: it leaves the queue, and what it would get is given back. False: it is too
    /// late for that, its completion is on its way.
    #[napi]
    pub fn cancel(&self, ticket: f64) -> Result<bool> {
        guard(|| {
            let ticket = Ticket::new(number_of(ticket));
            Ok(match self.backend() {
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
            self.calls.check_open()?;
            let keys = keys
                .map(|keys| KeySet::new(keys.iter().map(String::as_str)))
                .transpose()?;
            Ok(match self.backend() {
                Backend::Memory(member) => self
                    .calls
                    .complete_later(Outcome::Inspected(member.inspect(keys.as_ref()))),
                #[cfg(feature = "redis")]
                Backend::Redis(member) => calls::pending(member.inspect(keys)),
            })
        })
    }

    /// Counts.
    #[napi]
    pub fn stats(&self) -> NativeStats {
        let (backend, (keys, waiting)) = match self.backend() {
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
            self.calls.close();
            match self.backend() {
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
            self.calls.close();
            Ok(match self.backend() {
                Backend::Memory(member) => {
                    member.leave();
                    self.calls.complete_later(Outcome::Done)
                }
                #[cfg(feature = "redis")]
                Backend::Redis(member) => calls::pending(member.close()),
            })
        })
    }

    /// The same for the process's exit event: blocks for `budgetMs` at the most, completes nothing.
    #[napi]
    pub fn close_now(&self, budget_ms: f64) -> Result<()> {
        guard(|| {
            self.calls.close();
            match self.backend() {
                Backend::Memory(member) => member.leave(),
                #[cfg(feature = "redis")]
                Backend::Redis(member) => member.close_now(span(budget_ms)),
            }
            Ok(())
        })
    }
}

impl Locks {
    fn backend(&self) -> &Backend {
        self.calls.backend()
    }
}

/// A client that JavaScript dropped without closing it.
impl Drop for Locks {
    fn drop(&mut self) {
        self.calls.close();
        match self.backend() {
            Backend::Memory(member) => member.leave(),
            #[cfg(feature = "redis")]
            Backend::Redis(member) => member.leave(),
        }
    }
}

fn open(options: NativeOptions, common: &CommonOptions, inbox: &Arc<Inbox>) -> Result<Backend> {
    let sink = Arc::clone(inbox) as Arc<dyn Sink>;
    match options.redis {
        None => Ok(Backend::Memory(Arc::new(open_space(common)?.join(sink)))),
        #[cfg(feature = "redis")]
        Some(redis) => Ok(Backend::Redis(Arc::new(redis.into_member(common, sink)?))),
        #[cfg(not(feature = "redis"))]
        Some(_) => Err(invalid_option(
            "Invalid option \"redisUrl\": this build has no Redis backend".to_owned(),
        )),
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
