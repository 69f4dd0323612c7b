//! The calls that are made for every lock: asking, finishing, acquiring, releasing.
//!
//! They are plain functions that carry their client with them. As methods of the class each would first have to find
//! its object, which took as long as the lock itself. What is wrong with a call is a value here as well: it answers
//! NaN, and the class says what was wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{FunctionCallContext, JsObjectValue, Object};
use napi_derive::napi;
use parking_lot::Mutex;

use super::error::caught;
use super::locks::Backend;
use super::mailbox::{Inbox, number_of, to_f64};
use super::options::{CommonOptions, span};
use super::text_arguments::{KeyArgument, OwnerArgument};
use crate::backend::memory::Asked;
use crate::backend::{Completion, Failure, GivenBack, Outcome, Sink, Wait, next_ticket};
use crate::core::owner::Owner;
use crate::core::table::Claim;
use crate::core::ticket::Ticket;

/// Keys as JavaScript passes them.
#[napi]
#[expect(dead_code, reason = "declares a type for index.d.ts; KeyArgument reads it")]
pub type Keys = napi::Either<String, Vec<String>>;

/// The functions that [`super::locks::Locks::calls`] answers, for the type declarations.
#[napi(object, object_from_js = false, object_to_js = false)]
#[expect(dead_code, reason = "declares a type for index.d.ts; as_functions makes it")]
pub struct NativeCalls {
    /// Asks for `keys` for a job whose lease is `expireMs` (0: the default). `timeoutMs` -2: the option's. A number above 0: granted, and that is
    /// the ticket and the fencing token; below 0: pending under the ticket of that amount; 0: refused; NaN: failed.
    #[napi(ts_type = "(keys: Keys, timeoutMs: number, expireMs: number) => number")]
    pub execute: (),
    /// Asks for `keys` as a lock of `ownerId`; absent: of nobody. `expireMs` 0: no expiry. `waitMs` 0: at once or not
    /// at all; -1: for ever; -2: the option's. Answers as `execute`.
    #[napi(ts_type = "(keys: Keys, expireMs: number, waitMs: number, ownerId?: string) => number")]
    pub acquire: (),
    /// Ends the job of `ticket`. A number from 0: done; bit 0: its keys were held until now; bit 1: completions wait
    /// to be drained. Below 0: pending under the ticket of that amount; NaN: failed.
    #[napi(ts_type = "(ticket: number) => number")]
    pub finish: (),
    /// Releases the locks of `ownerId` on `keys`; absent: those of nobody. Answers as `finish`; bit 0: all were released;
    /// bit 2: the holder came after its lock had lapsed, and `takeOutlived` tells of it.
    #[napi(ts_type = "(keys: Keys, ownerId?: string) => number")]
    pub release: (),
}

/// `waitMs` that means "for ever".
const FOREVER: f64 = -1.0;

/// `waitMs` that means the client's own wait for such a call, and on while the line moves.
const DEFAULT_WAIT: f64 = -2.0;

/// How long a client's calls wait that do not say so themselves.
#[derive(Clone, Copy, Debug)]
pub struct DefaultWaits {
    /// `execute`.
    pub execute: Duration,
    /// `acquire`.
    pub acquire: Duration,
    /// How long in all behind locks that change hands.
    pub while_moving: Duration,
}

/// The shortest lease. It only decides how long keys stay locked when a process dies, and a shorter one could not be
/// renewed reliably.
const LEASE_MS_MIN: f64 = 100.0;

/// What the functions carry with them.
pub struct Calls {
    inbox: Arc<Inbox>,
    backend: Backend,
    lease: Duration,
    waits: DefaultWaits,
    /// How long beyond its expiry a lock is kept.
    kept: Duration,
    closed: AtomicBool,
    /// The key that the last refused call was refused for.
    refused: Mutex<Option<Arc<str>>>,
    /// What was wrong with the last failed call.
    failure: Mutex<Option<Failure>>,
    /// What the last release that came too late is to be told of.
    outlived: Mutex<Option<Failure>>,
}

impl Calls {
    /// For a client of `backend` with these options.
    pub fn new(inbox: Arc<Inbox>, backend: Backend, options: &CommonOptions) -> Self {
        // In one process nothing has to be renewed for a lock to be kept: the table ends with the process.
        let kept = match &backend {
            Backend::Memory(_) => options.acquire_renew,
            #[cfg(feature = "redis")]
            Backend::Redis(_) => Duration::ZERO,
        };
        Calls {
            inbox,
            backend,
            lease: options.lease,
            waits: options.waits,
            kept,
            closed: AtomicBool::new(false),
            refused: Mutex::default(),
            failure: Mutex::default(),
            outlived: Mutex::default(),
        }
    }

    /// Where the locks live.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// From here on, every request fails.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// `CLOSED`.
    pub fn check_open(&self) -> Result<(), Failure> {
        if self.closed.load(Ordering::Relaxed) {
            Err(Failure::closed())
        } else {
            Ok(())
        }
    }

    /// The key that the last refused call was refused for, once.
    pub fn take_refused_key(&self) -> Option<Arc<str>> {
        self.refused.lock().take()
    }

    /// What was wrong with the last failed call, once.
    pub fn take_failure(&self) -> Failure {
        let none = || Failure {
            code: "INTERNAL",
            message: "No call has failed".to_owned(),
            key: None,
        };
        self.failure.lock().take().unwrap_or_else(none)
    }

    /// What the last release that came after its lock had lapsed is to be told of, once.
    pub fn take_outlived(&self) -> Option<Failure> {
        self.outlived.lock().take()
    }

    /// An answer that is known already, by the way that JavaScript expects.
    pub fn complete_later(&self, outcome: Outcome) -> f64 {
        let ticket = next_ticket();
        if self.inbox.push(Completion { ticket, outcome }) {
            self.inbox.wake();
        }
        pending(ticket)
    }

    fn execute(&self, ctx: &FunctionCallContext<'_>) -> Result<f64, Failure> {
        let expire_ms: f64 = argument(ctx, 2)?;
        let lease = if expire_ms > 0.0 {
            span(expire_ms.max(LEASE_MS_MIN))
        } else {
            self.lease
        };
        let wait = self.wait_of(argument(ctx, 1)?, self.waits.execute);
        self.ask(argument(ctx, 0)?, Claim::Job, lease, wait)
    }

    fn acquire(&self, ctx: &FunctionCallContext<'_>) -> Result<f64, Failure> {
        let owner = owner_argument(ctx, 3)?;
        let expire_ms: f64 = argument(ctx, 1)?;
        let expire = (expire_ms > 0.0).then(|| span(expire_ms) + self.kept);
        let wait = self.wait_of(argument(ctx, 2)?, self.waits.acquire);
        self.ask(
            argument(ctx, 0)?,
            Claim::Lock { owner, expire },
            Duration::ZERO,
            wait,
        )
    }

    fn ask(&self, keys: KeyArgument, claim: Claim, lease: Duration, wait: Wait) -> Result<f64, Failure> {
        self.check_open()?;
        let keys = keys.0?;
        match &self.backend {
            // In one process a lease would outlive nothing that its job does not.
            Backend::Memory(member) => Ok(match member.request(keys, claim, wait)? {
                Asked::Granted(ticket) => to_f64(ticket.number()),
                Asked::Pending(ticket) => pending(ticket),
                Asked::Refused(key) => {
                    *self.refused.lock() = Some(key);
                    0.0
                }
            }),
            #[cfg(feature = "redis")]
            Backend::Redis(member) => Ok(pending(member.request(keys, claim, lease, |now| wait.from(now))?)),
        }
    }

    fn wait_of(&self, wait_ms: f64, default: Duration) -> Wait {
        if wait_ms <= DEFAULT_WAIT {
            Wait::WhileMoving(default, self.waits.while_moving)
        } else if wait_ms <= FOREVER {
            Wait::Forever
        } else if wait_ms <= 0.0 {
            Wait::Refuse
        } else {
            Wait::For(span(wait_ms))
        }
    }

    fn finish(&self, ctx: &FunctionCallContext<'_>) -> Result<f64, Failure> {
        let job = Ticket::new(number_of(argument(ctx, 0)?));
        Ok(match &self.backend {
            Backend::Memory(member) => given_back(&member.finish(job)),
            #[cfg(feature = "redis")]
            Backend::Redis(member) => member
                .finish(job)
                .map_or_else(|| pending(job), |given| given_back(&given)),
        })
    }

    fn release(&self, ctx: &FunctionCallContext<'_>) -> Result<f64, Failure> {
        self.check_open()?;
        let keys = argument::<KeyArgument>(ctx, 0)?.0?;
        let owner = owner_argument(ctx, 1)?;
        Ok(match &self.backend {
            Backend::Memory(member) => {
                let mut given = member.release(&keys, owner);
                let outlived = given.outlived.take();
                let bit = u8::from(outlived.is_some()) << 2;
                if outlived.is_some() {
                    *self.outlived.lock() = outlived;
                }
                given_back(&given) + f64::from(bit)
            }
            #[cfg(feature = "redis")]
            Backend::Redis(member) => pending(member.release(keys, owner.name())?),
        })
    }

    /// The number of a call's answer: NaN where it failed, or panicked.
    fn answer(&self, call: impl FnOnce() -> Result<f64, Failure>) -> f64 {
        caught(call).unwrap_or_else(|failure| {
            *self.failure.lock() = Some(failure);
            f64::NAN
        })
    }
}

/// The functions, as the properties of an object.
///
/// # Errors
/// Node-API could not make them.
pub fn as_functions<'env>(calls: &Arc<Calls>, env: &'env Env) -> napi::Result<Object<'env>> {
    let mut object = Object::new(env)?;
    let mut add = |name: &'static str, call: fn(&Calls, &FunctionCallContext<'_>) -> Result<f64, Failure>| {
        let calls = Arc::clone(calls);
        let function = env.create_function_from_closure::<(), f64, _>(name, move |ctx| {
            Ok(calls.answer(|| call(&calls, &ctx)))
        })?;
        object.set_named_property(name, function)
    };
    add("execute", Calls::execute)?;
    add("acquire", Calls::acquire)?;
    add("finish", Calls::finish)?;
    add("release", Calls::release)?;
    Ok(object)
}

/// A pending answer: its ticket, below 0.
pub fn pending(ticket: Ticket) -> f64 {
    -to_f64(ticket.number())
}

/// An answer at once to giving something back.
pub fn given_back(given: &GivenBack) -> f64 {
    f64::from(u8::from(given.held) | (u8::from(given.news) << 1))
}

fn argument<T: napi::bindgen_prelude::FromNapiValue>(
    ctx: &FunctionCallContext<'_>,
    index: usize,
) -> Result<T, Failure> {
    ctx.get(index).map_err(|error| Failure {
        code: "INVALID_ARGUMENT",
        message: format!("Invalid argument {index} of the addon: {}", error.reason),
        key: None,
    })
}

/// What is not passed need not be read: looking at a null takes as long as reading a short text.
fn owner_argument(ctx: &FunctionCallContext<'_>, index: usize) -> Result<Owner, Failure> {
    if index < ctx.length() {
        argument(ctx, index).map(|OwnerArgument(owner)| owner)
    } else {
        Ok(Owner::Anyone)
    }
}
