//! One user of a fleet's locks: what callers talk to.
//!
//! Every call takes the mutex, lets the [`Fleet`] decide, and leaves; the I/O task ([`super::link`]) carries out.
//! News is pushed while the mutex is held, so it arrives in the order in which it became true, and the receiver is
//! woken after the mutex is released.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::attention::Attention;
use super::io_thread;
use super::link;
use super::scripts::Scripts;
use super::settings::RedisSettings;
use crate::backend::mailbox::Resident;
use crate::backend::{GivenBack, Sink, job_of_owner_id, job_owner_id, next_ticket};
use crate::clock;
use crate::core::error::RequestError;
use crate::core::fleet::{Config, ErrandKind, Fleet, Held, Sent, Wish};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::{Completion, Failure, Outcome};
use crate::core::patience::Patience;
use crate::core::table::Claim;
use crate::core::ticket::Ticket;
use crate::scheduler::{Alarm, Scheduler, Timed};

/// How long `close` waits for the server to hear what is given back.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// See the module's description. Ends its connection when it is dropped and nothing is left to give back.
pub struct Member {
    shared: Arc<Shared>,
    started: AtomicBool,
}

/// What the callers, the scheduler and the I/O task share.
pub struct Shared {
    pub(super) settings: RedisSettings,
    pub(super) scripts: Scripts,
    fleet: Mutex<Fleet>,
    sink: Arc<dyn Sink>,
    alarm: OnceLock<Alarm>,
    /// By which the I/O task learns that there is something to send, or something else to look at.
    pub(super) attention: Attention,
    /// No more requests; the task ends as soon as all is settled.
    closing: Mutex<Closing>,
    /// Notified when the task has ended.
    ended: Condvar,
}

#[derive(Default)]
struct Closing {
    asked: bool,
    ended: bool,
    /// Whom to tell, and until when at the latest.
    done: Option<Ticket>,
    by: Option<Moment>,
}

impl Member {
    /// A member that connects with its first request.
    pub fn new(settings: RedisSettings, scripts: Scripts, config: Config, sink: Arc<dyn Sink>) -> Self {
        let shared = Arc::new(Shared::new(settings, scripts, config, sink));
        let timed: Weak<dyn Timed> = Arc::downgrade(&(Arc::clone(&shared) as Arc<dyn Timed>));
        shared
            .alarm
            .get_or_init(|| Scheduler::of_process().register(timed));
        Member {
            shared,
            started: AtomicBool::new(false),
        }
    }

    /// Asks for a lock. `wait` as a patience from now on.
    ///
    /// # Errors
    /// Too many wait already, or a key has a name that is ours.
    pub fn request(
        &self,
        keys: KeySet,
        claim: Claim,
        lease: Duration,
        patience: impl FnOnce(Moment) -> Patience,
    ) -> Result<Ticket, RequestError> {
        self.shared.scripts.names().check(&keys)?;
        self.turn(|fleet, now| {
            let ticket = next_ticket();
            let wish = Wish {
                keys,
                claim,
                lease,
                patience: patience(now),
            };
            fleet.request(now, ticket, wish).map(|()| ticket)
        })
    }

    /// Ends a job: what came of it, if that is known at once, as where its lease passed on here. Else news under the same
    /// ticket tells whether its keys were its own until now.
    pub fn finish(&self, job: Ticket) -> Option<GivenBack> {
        let sink = &self.shared.sink;
        let (mut held, mut news, mut wake) = (None, false, false);
        self.shared.turn_with(
            |fleet, now| fleet.finish(now, job),
            |completion| match completion.outcome {
                Outcome::Finished(was_held) if completion.ticket == job => held = Some(was_held),
                _ => (news, wake) = (true, wake | sink.push(completion)),
            },
        );
        if held.is_none() && wake {
            sink.wake();
        }
        held.map(|held| GivenBack {
            held,
            news,
            outlived: None,
        })
    }

    /// Releases the locks of `owner_id` on `keys`.
    ///
    /// # Errors
    /// A key has a name that is ours.
    pub fn release(&self, keys: KeySet, owner_id: Option<&str>) -> Result<Ticket, RequestError> {
        self.shared.scripts.names().check(&keys)?;
        if let Some((owner_id, job)) = owner_id.and_then(|id| Some((id, job_of_owner_id(id)?))) {
            return Ok(self.turn(|fleet, now| {
                let ticket = next_ticket();
                fleet.release_job(now, ticket, keys, job, owner_id);
                ticket
            }));
        }
        let Some(owner_id) = owner_id else {
            return Ok(self.turn(|fleet, now| {
                let ticket = next_ticket();
                fleet.release_ownerless(now, ticket, keys);
                ticket
            }));
        };
        let held = Held::ByOwner(Some(owner_id.into()));
        Ok(self.run(ErrandKind::Release { keys, held }))
    }

    /// Releases all locks of `owner_id`, or all locks.
    pub fn release_all(&self, owner_id: Option<&str>) -> Ticket {
        self.turn(|fleet, now| {
            let ticket = next_ticket();
            fleet.release_all(
                now,
                ticket,
                owner_id,
                owner_id.and_then(job_of_owner_id),
                job_owner_id,
            );
            ticket
        })
    }

    /// Looks up the locks on `keys`, or all locks.
    pub fn inspect(&self, keys: Option<KeySet>) -> Ticket {
        self.run(ErrandKind::Inspect {
            keys,
            cursor: 0,
            found: Vec::new(),
            rest: Vec::new(),
        })
    }

    /// The caller of `ticket` has gone. False: it has its answer already.
    pub fn cancel(&self, ticket: Ticket) -> bool {
        self.turn(|fleet, now| fleet.cancel(now, ticket))
    }

    /// Ends every wait with an error. Jobs go on.
    pub fn stop(&self) {
        self.turn(|fleet, now| fleet.stop(now));
    }

    /// Gives back everything and ends the connection. News tells when that is done, or has taken too long.
    pub fn close(&self) -> Ticket {
        let ticket = self.turn(|fleet, now| {
            fleet.leave(now);
            next_ticket()
        });
        self.end(Some(ticket));
        ticket
    }

    /// The same for a process that ends: blocks, for `budget` at the most.
    pub fn close_now(&self, budget: Duration) {
        self.leave();
        if self.started.load(Ordering::Acquire) {
            let mut closing = self.shared.closing.lock();
            if !closing.ended {
                self.shared.ended.wait_for(&mut closing, budget);
            }
        }
    }

    /// The same without waiting: the I/O thread goes on for as long as there is something to give back.
    pub fn leave(&self) {
        self.turn(|fleet, now| fleet.leave(now));
        self.end(None);
    }

    /// Ends everything here, told to nobody; the connection stays until [`Member::take_back`] or [`Member::leave`].
    pub fn leave_queues(&self) {
        self.turn(|fleet, now| fleet.leave(now));
    }

    /// For a receiver that is gone for good: gives back the locks that `unseen`, news that it never saw, granted, and
    /// leaves.
    pub fn take_back(&self, unseen: &[Completion]) {
        self.turn(|fleet, now| {
            for completion in unseen {
                if let Outcome::Acquired {
                    attempt, keys, owner, ..
                } = &completion.outcome
                {
                    fleet.take_back(now, *attempt, keys.clone(), owner.clone());
                }
            }
        });
        self.leave();
    }

    /// Where the server is and how it is talked to.
    pub fn settings(&self) -> &RedisSettings {
        &self.shared.settings
    }

    /// How many keys jobs hold or wait for here, and how many requests wait.
    pub fn counts(&self) -> (usize, usize) {
        let fleet = self.shared.fleet.lock();
        (fleet.keys(), fleet.waiting())
    }

    fn run(&self, kind: ErrandKind) -> Ticket {
        self.turn(|fleet, now| {
            let ticket = next_ticket();
            fleet.run(now, ticket, kind);
            ticket
        })
    }

    fn turn<R>(&self, change: impl FnOnce(&mut Fleet, Moment) -> R) -> R {
        let result = self.shared.turn(change);
        if !self.started.load(Ordering::Acquire) && !self.shared.is_settled() {
            self.start();
        }
        result
    }

    /// Connects, with the first request that needs it.
    fn start(&self) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(problem) = io_thread::spawn(link::keep(Arc::clone(&self.shared))) {
            let message = format!("Redis at {}: {problem}", self.shared.settings.endpoint());
            self.shared.turn(|fleet, _| {
                fleet.link_down(
                    [],
                    Failure {
                        code: "INTERNAL",
                        message,
                        key: None,
                    },
                );
            });
            self.started.store(false, Ordering::Release);
        }
    }

    fn end(&self, done: Option<Ticket>) {
        let started = self.started.load(Ordering::Acquire);
        let mut closing = self.shared.closing.lock();
        closing.asked = true;
        if started && !closing.ended {
            closing.done = done.or(closing.done);
            let by = clock::now().after(CLOSE_MAX);
            closing.by = Some(closing.by.map_or(by, |before| before.min(by)));
            drop(closing);
            self.shared.attention.call();
        } else {
            closing.ended = true;
            drop(closing);
            if let Some(ticket) = done {
                self.shared.push_and_wake(Completion {
                    ticket,
                    outcome: Outcome::Done,
                });
            }
        }
    }
}

impl Resident for Member {
    fn leave(&self) {
        self.leave_queues();
    }

    fn take_back(&self, unseen: &[Completion]) {
        Member::take_back(self, unseen);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Shared {
    pub(super) fn new(
        settings: RedisSettings,
        scripts: Scripts,
        config: Config,
        sink: Arc<dyn Sink>,
    ) -> Self {
        Shared {
            settings,
            scripts,
            fleet: Mutex::new(Fleet::new(config)),
            sink,
            alarm: OnceLock::new(),
            attention: Attention::default(),
            closing: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    /// Runs one turn of the fleet: then its news, its next deadline and its commands go where they belong.
    pub(super) fn turn<R>(&self, change: impl FnOnce(&mut Fleet, Moment) -> R) -> R {
        let mut wake = false;
        let result = self.turn_with(change, |completion| wake |= self.sink.push(completion));
        if wake {
            self.sink.wake();
        }
        result
    }

    /// The same, with its news to `deliver`, in order and while the fleet is locked.
    fn turn_with<R>(
        &self,
        change: impl FnOnce(&mut Fleet, Moment) -> R,
        deliver: impl FnMut(Completion),
    ) -> R {
        let now = clock::now();
        let mut fleet = self.fleet.lock();
        let result = change(&mut fleet, now);
        fleet.take_news().for_each(deliver);
        let deadline = fleet.next_deadline();
        let has_outbox = fleet.has_outbox();
        drop(fleet);
        if let Some(alarm) = self.alarm.get() {
            alarm.set(deadline);
        }
        if has_outbox {
            self.attention.call();
        }
        result
    }

    /// What is to be sent, in order; the time of sending is now.
    pub(super) fn take_outbox(&self, out: &mut Vec<Sent>) {
        self.fleet.lock().take_outbox(clock::now(), out);
    }

    /// Whether the I/O task has nothing left to do: the member closes, and all is given back or has taken too long.
    pub(super) fn may_end(&self) -> bool {
        let closing = self.closing.lock();
        closing.asked && (closing.by.is_some_and(|by| by <= clock::now()) || self.is_settled())
    }

    /// When [`Shared::may_end`] is to be asked again at the latest.
    pub(super) fn end_by(&self) -> Option<Moment> {
        self.closing.lock().by
    }

    /// The I/O task has ended.
    pub(super) fn ended(&self) {
        let mut closing = self.closing.lock();
        closing.ended = true;
        let done = closing.done.take();
        drop(closing);
        self.ended.notify_all();
        if let Some(ticket) = done {
            self.push_and_wake(Completion {
                ticket,
                outcome: Outcome::Done,
            });
        }
    }

    fn is_settled(&self) -> bool {
        self.fleet.lock().is_settled()
    }

    fn push_and_wake(&self, completion: Completion) {
        if self.sink.push(completion) {
            self.sink.wake();
        }
    }
}

impl Timed for Shared {
    fn tick(&self, now: Moment) -> Moment {
        let stalled = self.sink.stalled(now);
        self.turn(|fleet, now| {
            fleet.tick(now, stalled);
            // Nothing else may have asked the caller's thread anything for minutes.
            if fleet.held() > 0 || fleet.keeps() {
                self.sink.probe(now);
            }
            fleet.next_deadline()
        })
    }
}
