//! Completions on their way to JavaScript.
//!
//! One mailbox per JavaScript module instance, shared by all [`super::locks::Locks`] made with it. Completions gather
//! in a queue; the first one after the queue was last seen empty schedules one call of the environment's callback,
//! which drains them all. The callback is weak: it never keeps the process alive (JavaScript does that, exactly while
//! a promise is pending). When the environment ends, everything its members waited for or ran is given back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use napi::bindgen_prelude::{Float64ArraySlice, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;
use parking_lot::Mutex;

use super::error::{Result, guard, internal};
use crate::backend::{Completion, Failure, Lock, Outcome, Sink};
use crate::clock;
use crate::core::moment::Moment;

/// A callback without arguments or result, not called with an error, weak, with an unbounded queue (of at most one).
type Callback = ThreadsafeFunction<(), (), (), Status, false, true, 0>;

/// What a member of a mailbox does when the environment ends.
pub trait Resident: Send + Sync {
    /// The environment is gone: leaves every queue and ends every job.
    fn leave(&self);
    /// Afterwards: gives back what was granted and never seen. `unseen` was pushed and never drained, some of it for
    /// others.
    fn take_back(&self, unseen: &[Completion]);
}

/// The part of a mailbox that other threads push to.
pub struct Inbox {
    queue: Mutex<Queue>,
    callback: Callback,
}

#[derive(Default)]
struct Queue {
    completions: VecDeque<Completion>,
    /// The words that go with drained completions, until JavaScript takes them.
    details: HashMap<u64, Failure>,
    inspections: HashMap<u64, Vec<Lock>>,
    /// The callback is on its way, or JavaScript is draining.
    scheduled: bool,
    /// Since when the callback is on its way and JavaScript has not come to drain.
    called_at: Option<Moment>,
    /// The environment is gone: nobody will drain again.
    closed: bool,
    residents: Vec<Weak<dyn Resident>>,
}

impl Inbox {
    /// Adds somebody who is to be told when the environment ends.
    pub fn admit(&self, resident: Weak<dyn Resident>) {
        let mut queue = self.queue.lock();
        queue.residents.retain(|resident| resident.strong_count() > 0);
        queue.residents.push(resident);
    }

    /// The environment ends. What its residents held or waited for is given back.
    ///
    /// In two steps: until a resident has left its queues it may still be granted something, and what it is granted
    /// must be found here.
    fn close(&self) {
        let residents = std::mem::take(&mut self.queue.lock().residents);
        let residents: Vec<Arc<dyn Resident>> = residents.iter().filter_map(Weak::upgrade).collect();
        residents.iter().for_each(|resident| resident.leave());
        let mut queue = self.queue.lock();
        queue.closed = true;
        let unseen = Vec::from(std::mem::take(&mut queue.completions));
        drop(queue);
        residents.iter().for_each(|resident| resident.take_back(&unseen));
    }
}

impl Sink for Inbox {
    fn push(&self, completion: Completion) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        queue.completions.push_back(completion);
        !std::mem::replace(&mut queue.scheduled, true)
    }

    fn wake(&self) {
        self.queue.lock().called_at.get_or_insert_with(clock::now);
        // `Closing` is the only other answer: then the environment's end gives everything back.
        self.callback.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }

    fn probe(&self, now: Moment) {
        let mut queue = self.queue.lock();
        if queue.closed || queue.called_at.is_some() {
            return;
        }
        queue.called_at = Some(now);
        drop(queue);
        self.callback.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }

    fn stalled(&self, now: Moment) -> Duration {
        self.queue
            .lock()
            .called_at
            .map_or(Duration::ZERO, |at| now.since(at))
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
        let inbox = Arc::new(Inbox {
            queue: Mutex::default(),
            callback,
        });
        env.add_env_cleanup_hook(Arc::downgrade(&inbox), |inbox: Weak<Inbox>| {
            if let Some(inbox) = inbox.upgrade() {
                inbox.close();
            }
        })
        .map_err(internal)?;
        Ok(Mailbox { inbox })
    }

    /// Moves up to a third as many completions as `records` has places, each as three numbers: ticket, outcome, value.
    /// Says how many. Call again until it says 0.
    #[napi]
    pub fn drain(&self, mut records: Float64ArraySlice<'_>) -> Result<u32> {
        guard(|| {
            let mut queue = self.inbox.queue.lock();
            queue.called_at = None;
            let mut moved = 0;
            for record in places_of(&mut records).chunks_exact_mut(3) {
                let Some(completion) = queue.completions.pop_front() else {
                    break;
                };
                queue.write(completion, record);
                moved += 1;
            }
            if moved == 0 {
                queue.scheduled = false;
            }
            Ok(moved)
        })
    }

    /// The words of a drained completion that refused, lost or failed; once.
    #[napi]
    pub fn take_detail(&self, ticket: f64) -> Option<Detail> {
        let failure = self.inbox.queue.lock().details.remove(&number_of(ticket))?;
        Some(Detail {
            code: failure.code.to_owned(),
            message: failure.message,
            key: failure.key,
        })
    }

    /// The locks of a drained inspection; once.
    #[napi]
    pub fn take_inspection(&self, ticket: f64) -> Option<Vec<InspectedLock>> {
        let locks = self.inbox.queue.lock().inspections.remove(&number_of(ticket))?;
        Some(locks.into_iter().map(InspectedLock::from).collect())
    }
}

impl Mailbox {
    /// The end that others push to.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
}

impl Queue {
    /// The numbers of the outcomes are known to `provider/completions.ts`.
    fn write(&mut self, completion: Completion, record: &mut [f64]) {
        let number = completion.ticket.number();
        let (outcome, value) = match completion.outcome {
            Outcome::Granted(token) | Outcome::Acquired { token, .. } => (1.0, to_f64(token)),
            Outcome::Refused(key) => (2.0, self.keep(number, blocked("LOCK_HELD", &key))),
            Outcome::TimedOut(key) => (3.0, self.keep(number, blocked("LOCK_TIMEOUT", &key))),
            Outcome::Lost(failure) => (4.0, self.keep(number, failure)),
            Outcome::Released(all) => (5.0, f64::from(u8::from(all))),
            Outcome::Failed(failure) => (6.0, self.keep(number, failure)),
            Outcome::Finished(held) => (7.0, f64::from(u8::from(held))),
            Outcome::Inspected(locks) => {
                self.inspections.insert(number, locks);
                (8.0, 0.0)
            }
            Outcome::Done => (9.0, 0.0),
        };
        record.copy_from_slice(&[to_f64(number), outcome, value]);
    }

    fn keep(&mut self, number: u64, failure: Failure) -> f64 {
        self.details.insert(number, failure);
        0.0
    }
}

#[expect(unsafe_code, reason = "napi hands out an array's memory for writing only so")]
fn places_of<'a>(records: &'a mut Float64ArraySlice<'_>) -> &'a mut [f64] {
    // SAFETY: the array belongs to the one JavaScript thread that called in, and no JavaScript runs before that call
    // returns, so nobody else reads or writes it meanwhile.
    unsafe { records.as_mut() }
}

fn blocked(code: &'static str, key: &str) -> Failure {
    let message = match code {
        "LOCK_HELD" => format!("Failed to acquire lock for key \"{key}\""),
        _ => "Timed-out acquiring lock.".to_owned(),
    };
    Failure {
        code,
        message,
        key: Some(key.to_owned()),
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

/// Tickets, tokens and times stay below 2^53, where every integer is a JavaScript number.
#[expect(
    clippy::cast_precision_loss,
    reason = "below 2^53 by construction, see Ticket::MAX"
)]
pub fn to_f64(number: u64) -> f64 {
    number as f64
}

/// The reverse of [`to_f64`]; what is not a ticket becomes one that nobody has.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturating; 0 is nobody's ticket"
)]
pub fn number_of(ticket: f64) -> u64 {
    ticket as u64
}
