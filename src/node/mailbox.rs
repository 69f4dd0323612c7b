//! Completions on their way to JavaScript: the half of the [`mailbox`] that JavaScript sees.
//!
//! One mailbox per JavaScript module instance, shared by all [`super::locks::Locks`] made with it. Its bell is a callback of
//! the environment. The callback is weak: it never keeps the process alive (JavaScript does that, exactly while a promise
//! is pending).

use std::sync::{Arc, Weak};

use napi::bindgen_prelude::{Float64ArraySlice, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;

use super::error::{Result, caught, internal};
use crate::backend::mailbox::{self, Bell};
pub use crate::backend::mailbox::{number_of, to_f64};
use crate::backend::{Failure, Lock};

/// A callback without arguments or result, not called with an error, weak, with an unbounded queue (of at most one).
pub type Callback = ThreadsafeFunction<(), (), (), Status, false, true, 0>;

/// The part of a mailbox that other threads push to.
pub type Inbox = mailbox::Inbox<Callback>;

impl Bell for Callback {
    fn ring(&self) {
        // `Closing` is the only other answer: then the environment's end gives everything back.
        self.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// The receiving end of all completions of one JavaScript module instance.
#[napi]
pub struct Mailbox {
    inbox: Arc<Inbox>,
}

/// The words that go with a completion.
#[napi(object)]
pub struct Detail {
    /// One of the codes that README lists.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The key concerned.
    pub key: Option<String>,
}

/// One held lock.
#[napi(object)]
pub struct InspectedLock {
    /// The key, without the namespace.
    pub key: String,
    /// Absent: taken without an owner.
    pub owner_id: Option<String>,
    /// Absent where it is not known.
    pub fencing_token: Option<f64>,
    /// Milliseconds; absent: until released.
    pub expires_in_ms: Option<f64>,
    /// How many requests wait for it: in memory all of them, on Redis those of this client.
    pub waiting: u32,
}

#[napi]
impl Mailbox {
    /// `onReady` is called on the environment's thread when completions wait.
    #[napi(constructor, ts_args_type = "onReady: () => void")]
    pub fn new(env: Env, on_ready: Function<'_, (), ()>) -> Result<Self> {
        let callback: Callback = on_ready
            .build_threadsafe_function()
            .weak::<true>()
            .build()
            .map_err(internal)?;
        let inbox = Arc::new(Inbox::new(callback));
        env.add_env_cleanup_hook(Arc::downgrade(&inbox), |inbox: Weak<Inbox>| {
            if let Some(inbox) = inbox.upgrade() {
                inbox.close();
            }
        })
        .map_err(internal)?;
        Ok(Mailbox { inbox })
    }

    /// The function that drains, as a plain one: a method takes five times as long, to find its object and to borrow its array.
    ///
    /// It moves up to a third as many completions as `records` has places, each as three numbers: ticket, outcome, value,
    /// and says how many. Call again where these fill `records`.
    #[napi(ts_return_type = "(records: Float64Array) => number")]
    pub fn drainer<'env>(&self, env: &'env Env) -> Result<Function<'env, (), u32>> {
        let inbox = Arc::clone(&self.inbox);
        env.create_function_from_closure("drain", move |ctx| {
            let mut records: Float64ArraySlice<'_> = ctx.get(0)?;
            caught(|| Ok(inbox.drain(places_of(&mut records))))
                .map_err(|failure| napi::Error::from_reason(failure.message))
        })
        .map_err(internal)
    }

    /// The words of a drained completion that refused, lost, failed, or came after its lock had lapsed; once.
    #[napi]
    pub fn take_detail(&self, ticket: f64) -> Option<Detail> {
        self.inbox.take_failure(number_of(ticket)).map(Detail::from)
    }

    /// The locks of a drained inspection; once.
    #[napi]
    pub fn take_inspection(&self, ticket: f64) -> Option<Vec<InspectedLock>> {
        let locks = self.inbox.take_inspection(number_of(ticket))?;
        Some(locks.into_iter().map(InspectedLock::from).collect())
    }
}

impl Mailbox {
    /// The end that others push to.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
}

#[expect(unsafe_code, reason = "napi hands out an array's memory for writing only so")]
fn places_of<'a>(records: &'a mut Float64ArraySlice<'_>) -> &'a mut [f64] {
    // SAFETY: the array belongs to the one JavaScript thread that called in, and no JavaScript runs before that call
    // returns, so nobody else reads or writes it meanwhile.
    unsafe { records.as_mut() }
}

impl From<Failure> for Detail {
    fn from(failure: Failure) -> Self {
        Detail {
            code: failure.code.to_owned(),
            message: failure.message,
            key: failure.key,
        }
    }
}

impl From<Lock> for InspectedLock {
    fn from(lock: Lock) -> Self {
        InspectedLock {
            key: lock.key,
            owner_id: lock.owner_id,
            fencing_token: lock.fencing_token.map(to_f64),
            expires_in_ms: lock.expires_in_ms.map(to_f64),
            waiting: u32::try_from(lock.waiting).unwrap_or(u32::MAX),
        }
    }
}
