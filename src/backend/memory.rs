//! Locks within one process: the table behind a mutex, shared by all worker threads.
//!
//! One [`Space`] per namespace. Every call is one turn under its mutex and makes no thread hop. Completions are
//! pushed while the mutex is held, so each client sees the news of a ticket in the order in which it became true;
//! receivers are woken after it is released. Leases play no part: what would die with a holder dies with the process,
//! and a worker thread that is ended gives back what it held (see [`Member::abandon`]).

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, Weak};

use hashbrown::HashMap;

use super::mailbox::Resident;
use super::{
    Completion, Failure, GivenBack, Lock, Outcome, Sink, Wait, job_of_owner_id, job_owner_id, next_ticket,
};
use crate::clock;
use crate::core::error::RequestError;
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::owner::Owner;
use crate::core::table::{
    Change, Claim, Client, Effect, Limits, LockView, Ownerless, Released, Request, Table, Verdict,
};
use crate::core::ticket::Ticket;
use crate::scheduler::{Alarm, Scheduler, Timed};
use crate::sync::Mutex;

/// The table of one namespace and whoever uses it.
pub struct Space {
    ownerless: Ownerless,
    state: Mutex<State>,
    alarm: OnceLock<Alarm>,
}

struct State {
    table: Table,
    sinks: HashMap<Client, Arc<dyn Sink>>,
    next_client: u32,
    /// Reused from call to call.
    effects: Vec<Effect>,
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// It holds its keys; the ticket is its fencing token.
    Granted(Ticket),
    /// A completion will tell.
    Pending(Ticket),
    /// It holds nothing.
    Refused(Arc<str>),
}

impl Space {
    /// The space of `namespace`, made on first use.
    ///
    /// # Errors
    /// The namespace is in use with another meaning of ownerless locks; the error is that meaning.
    pub fn open(namespace: &str, ownerless: Ownerless) -> Result<Arc<Space>, Ownerless> {
        static SPACES: OnceLock<Mutex<HashMap<String, Arc<Space>>>> = OnceLock::new();
        let mut spaces = SPACES.get_or_init(Mutex::default).lock();
        // Spaces that nobody uses and that hold nothing have no reason to stay.
        spaces.retain(|name, space| name == namespace || Arc::strong_count(space) > 1 || !space.is_empty());
        let space = spaces
            .entry(namespace.to_owned())
            .or_insert_with(|| Space::new(ownerless, Limits::default()));
        if space.ownerless != ownerless && (Arc::strong_count(space) > 1 || !space.is_empty()) {
            return Err(space.ownerless);
        }
        if space.ownerless != ownerless {
            *space = Space::new(ownerless, Limits::default());
        }
        Ok(Arc::clone(space))
    }

    /// A space of its own.
    pub fn new(ownerless: Ownerless, limits: Limits) -> Arc<Space> {
        Space::timed_by(Scheduler::of_process(), ownerless, limits)
    }

    /// The same with another scheduler than the process's.
    pub fn timed_by(scheduler: &Arc<Scheduler>, ownerless: Ownerless, limits: Limits) -> Arc<Space> {
        let table = Table::new(ownerless, limits, next_ticket);
        let state = State {
            table,
            sinks: HashMap::new(),
            next_client: 0,
            effects: Vec::new(),
        };
        let space = Arc::new(Space {
            ownerless,
            state: Mutex::new(state),
            alarm: OnceLock::new(),
        });
        let timed: Weak<dyn Timed> = Arc::downgrade(&(Arc::clone(&space) as Arc<dyn Timed>));
        space.alarm.get_or_init(|| scheduler.register(timed));
        space
    }

    /// A new member, told by `sink`.
    pub fn join(self: &Arc<Self>, sink: Arc<dyn Sink>) -> Member {
        let mut state = self.state.lock();
        let client = Client(state.next_client);
        state.next_client += 1;
        state.sinks.insert(client, sink);
        Member {
            space: Arc::clone(self),
            client,
        }
    }

    fn is_empty(&self) -> bool {
        self.state.lock().table.is_empty()
    }

    /// Runs one turn: `change` under the mutex, then the news to whom it concerns.
    ///
    /// The news of `quiet` is pushed without waking it; the flag says whether there was any.
    fn turn<R>(
        &self,
        quiet: Option<Client>,
        change: impl FnOnce(&mut Table, Moment, &mut Vec<Effect>) -> R,
    ) -> (R, bool) {
        let now = clock::now();
        let mut state = self.state.lock();
        let State {
            table,
            sinks,
            effects,
            ..
        } = &mut *state;
        let result = change(table, now, effects);
        let deadline = table.next_deadline();
        let mut news = false;
        let mut to_wake: Vec<Arc<dyn Sink>> = Vec::new();
        for effect in effects.drain(..) {
            let Some(sink) = sinks.get(&effect.client) else {
                continue;
            };
            let is_quiet = quiet == Some(effect.client);
            news |= is_quiet;
            if sink.push(completion_of(effect)) && !is_quiet {
                to_wake.push(Arc::clone(sink));
            }
        }
        drop(state);
        to_wake.iter().for_each(|sink| sink.wake());
        if let Some(alarm) = self.alarm.get() {
            alarm.set(deadline);
        }
        (result, news)
    }
}

impl Timed for Space {
    fn tick(&self, now: Moment) -> Moment {
        let (next, _) = self.turn(None, |table, _, effects| {
            table.tick(now, effects);
            table.next_deadline()
        });
        next
    }
}

/// One user of a space.
pub struct Member {
    space: Arc<Space>,
    client: Client,
}

impl Member {
    /// Asks for `keys`, for a job or as a lock.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn request(&self, keys: KeySet, claim: Claim, patience: Wait) -> Result<Asked, RequestError> {
        let client = self.client;
        let (asked, _) = self.space.turn(None, |table, now, effects| {
            let ticket = next_ticket();
            let patience = patience.from(now);
            let verdict = table.request(
                now,
                Request {
                    ticket,
                    client,
                    keys,
                    claim,
                    patience,
                },
                effects,
            )?;
            Ok(match verdict {
                Verdict::Granted => Asked::Granted(ticket),
                Verdict::Queued => Asked::Pending(ticket),
                Verdict::Refused(key) => Asked::Refused(key),
            })
        });
        asked
    }

    /// Ends a job.
    pub fn finish(&self, ticket: Ticket) -> GivenBack {
        self.give_back(|table, now, effects| table.finish(now, ticket, effects))
    }

    /// Releases the locks of `owner` on `keys`.
    pub fn release(&self, keys: &KeySet, owner: Owner) -> GivenBack {
        let owner = owner_meant(owner);
        let (released, news) = self.space.turn(Some(self.client), |table, now, effects| {
            table.release(now, keys, &owner, effects)
        });
        let outlived = match &released {
            Released::Outlived(key, late) => Some(Failure::outlived(key, *late)),
            Released::All | Released::Less => None,
        };
        GivenBack {
            held: released == Released::All,
            news,
            outlived,
        }
    }

    /// Releases all locks of `owner_id`, or all locks.
    pub fn release_all(&self, owner_id: Option<&str>) -> GivenBack {
        let owner = owner_id.map(|id| owner_meant(Owner::from_id(Some(id))));
        self.give_back(|table, now, effects| {
            table.release_all(now, owner.as_ref(), effects);
            true
        })
    }

    /// The caller of `ticket` has gone. False: it has its answer already.
    pub fn cancel(&self, ticket: Ticket) -> bool {
        let (waited, _) = self.space.turn(None, |table, now, effects| {
            let waited = table.is_waiting(ticket);
            if waited {
                table.cancel(now, ticket, effects);
            }
            waited
        });
        waited
    }

    /// Ends every wait of this member with an error. Its jobs go on.
    pub fn stop(&self) {
        let client = self.client;
        let (waiting, _) = self.space.turn(None, |table, now, effects| {
            table.leave_queues(now, client, effects)
        });
        let mut state = self.space.state.lock();
        let Some(sink) = state.sinks.get_mut(&client).map(|sink| Arc::clone(sink)) else {
            return;
        };
        let mut wake = false;
        for ticket in waiting {
            wake |= sink.push(Completion {
                ticket,
                outcome: Outcome::Failed(Failure::closed()),
            });
        }
        drop(state);
        if wake {
            sink.wake();
        }
    }

    /// Leaves: ends every wait and every job, tells nobody.
    pub fn leave(&self) {
        let client = self.client;
        self.space
            .turn(None, |table, now, effects| table.leave(now, client, effects));
        self.space.state.lock().sinks.remove(&client);
    }

    /// For a receiver that is gone for good: gives back the locks that `unseen`, news that it never saw, granted.
    pub fn take_back(&self, unseen: &[Completion]) {
        let granted: HashSet<Ticket> = unseen
            .iter()
            .filter(|completion| matches!(completion.outcome, Outcome::Granted(_)))
            .map(|completion| completion.ticket)
            .collect();
        if !granted.is_empty() {
            self.space.turn(None, |table, now, effects| {
                table.take_back(now, &granted, effects)
            });
        }
    }

    /// The locks on `keys`, or all locks, by key.
    pub fn inspect(&self, keys: Option<&KeySet>) -> Vec<Lock> {
        let now = clock::now();
        let state = self.space.state.lock();
        let views: Vec<LockView> = match keys {
            Some(keys) => keys
                .iter()
                .filter_map(|key| state.table.inspect_key(now, key))
                .collect(),
            None => state.table.inspect_all(now),
        };
        drop(state);
        let mut locks: Vec<Lock> = views.into_iter().map(lock_of).collect();
        locks.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        locks
    }

    /// How many keys are held or waited for, and how many requests wait, in the whole space.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.space.state.lock();
        (state.table.keys(), state.table.waiters())
    }

    fn give_back(&self, change: impl FnOnce(&mut Table, Moment, &mut Vec<Effect>) -> bool) -> GivenBack {
        let (held, news) = self.space.turn(Some(self.client), change);
        GivenBack {
            held,
            news,
            outlived: None,
        }
    }
}

impl Resident for Member {
    fn leave(&self) {
        Member::leave(self);
    }

    fn take_back(&self, unseen: &[Completion]) {
        Member::take_back(self, unseen);
    }
}

fn completion_of(effect: Effect) -> Completion {
    let Effect { ticket, change, .. } = effect;
    let outcome = match change {
        Change::Granted(token) => Outcome::Granted(token.number()),
        Change::TimedOut(key) => Outcome::TimedOut(key),
        Change::Lost(key) => Outcome::Lost(Failure::lost(&key, "another caller released it")),
    };
    Completion { ticket, outcome }
}

/// A job's own id, as it stands in `HeldLock`, names the job; everything else a caller.
fn owner_meant(owner: Owner) -> Owner {
    match owner.name().and_then(job_of_owner_id) {
        Some(ticket) => Owner::Job(ticket),
        None => owner,
    }
}

fn lock_of(view: LockView) -> Lock {
    let owner_id = match view.owner {
        Owner::Anyone => None,
        Owner::Named(name) => Some(name.into()),
        Owner::Job(ticket) => Some(job_owner_id(ticket, view.token.number())),
    };
    Lock {
        key: view.key,
        owner_id,
        fencing_token: Some(view.token.number()),
        expires_in_ms: view
            .expires_in
            .map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        waiting: view.waiting,
    }
}
