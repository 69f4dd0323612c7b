//! One member of a fleet that shares its locks through a server.
//!
//! This is everything that a process decides about locks which live elsewhere: whom to let ask, when to ask again,
//! what to do with an answer that comes too late or not at all, when to renew and when to give up. It does no I/O: it
//! queues [`Command`]s for a link to the server and is told of [`Answer`]s, of the link's end and of its return.
//!
//! Requests that are ready to wait first queue here, so that one request per key set asks the server, however many wait.
//!
//! Invariants:
//! - Nobody is told that it holds a lock before the server said so, nor after the lease of that answer has lapsed.
//!   A lease counts from when its last successful command was *sent*, less a margin.
//! - An attempt whose answer was lost stays on record until it is settled: repeated under its own id if its caller
//!   waits, cancelled under its own id if the caller has gone.
//! - Whoever was told no has nothing locked: an answer that grants to a caller that has gone is given back.
//! - While the link is down nothing is queued for sending; [`Fleet::link_up`] sends what the records say is due:
//!   what gives back first, then what asks, in ticket order; renewals with the next tick.

mod ask;
mod asking;
mod cohort;
mod command;
mod errand;
mod extend;
mod given;
mod kept;
mod lease;
mod local_queue;
mod moving;
mod released;
mod returning;
mod settle;
mod timers;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::core::backoff::Backoff;
use crate::core::error::RequestError;
use crate::core::grants::Grants;
use crate::core::moment::Moment;
use crate::core::outcome::{Completion, Failure, Outcome};
use crate::core::owner::Owner;
use crate::core::patience::Patience;
use crate::core::refusals::Refusals;
use crate::core::table::Limits;
use crate::core::ticket::Ticket;
use ask::Ask;
pub use ask::Wish;
use cohort::Asked;
pub use command::{
    Answer, Command, Given, Held, Keep, Place, Push, Renewal, Reserved, Sent, ServerError, Waiting,
};
use errand::Errand;
pub use errand::ErrandKind;
use kept::KeptLocks;
use lease::Lease;
use local_queue::Lines;
use released::Releases;
use returning::Left;
use timers::{Timer, Timers};

/// How a member behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the server is, for messages.
    pub endpoint: String,
    /// How polls are paced.
    pub backoff: Backoff,
    /// How long a call that does not wait for a lock waits for the server.
    pub command_timeout: Duration,
    /// How long the caller's thread may be stuck before its leases are no longer renewed.
    pub max_stall: Duration,
    /// How long beyond its expiry a lock of `acquire` is kept while this process lives and has not released it; zero: not at
    /// all.
    pub acquire_renew: Duration,
    /// How often a lease is passed on between jobs of this process before it goes back; 0: never.
    pub local_handoffs: u32,
    /// A lock without an owner is open to every `acquire`.
    pub ownerless_open: bool,
    /// What the bounds on waiters are.
    pub limits: Limits,
}

/// Whether there is a server to talk to.
#[derive(Clone, Debug)]
enum Link {
    /// Not made yet, and no try has failed.
    New(Failure),
    Up,
    /// Why not, in words for a caller.
    Down(Failure),
}

/// See the module's description.
#[derive(Debug)]
pub struct Fleet {
    config: Config,
    link: Link,
    lines: Lines,
    asks: HashMap<Ticket, Ask>,
    /// Those of them that wait for a lock of an owner that may take it again, by that owner.
    waiting_as: HashMap<Owner, BTreeSet<Ticket>>,
    /// The requests that ask under the id of an earlier one of the same caller: which.
    attempts: HashMap<Ticket, Ticket>,
    /// Who was refused of late.
    refusals: Refusals<Left>,
    /// By the job that each was granted to.
    leases: HashMap<Ticket, Lease>,
    /// The jobs that run under a lease that was granted to another: which.
    passed: HashMap<Ticket, Ticket>,
    /// The server can call.
    has_inbox: bool,
    errands: HashMap<Ticket, Errand>,
    /// The locks without an owner that were given here.
    given: Grants,
    /// Those of them that were released of late.
    released: Releases,
    /// The locks of `acquire` that are kept beyond their expiry.
    kept: KeptLocks,
    timers: Timers,
    /// For how long the caller's thread had not answered at the last tick.
    stalled: Duration,
    outbox: VecDeque<Command>,
    news: Vec<Completion>,
}

impl Fleet {
    /// A member that has no link yet.
    pub fn new(config: Config) -> Self {
        let why = Failure {
            code: "REDIS_UNREACHABLE",
            message: format!("Redis at {} is not connected yet", config.endpoint),
            key: None,
        };
        Fleet {
            lines: Lines::new(config.limits),
            config,
            link: Link::New(why),
            asks: HashMap::new(),
            waiting_as: HashMap::new(),
            attempts: HashMap::new(),
            refusals: Refusals::default(),
            leases: HashMap::new(),
            passed: HashMap::new(),
            has_inbox: false,
            errands: HashMap::new(),
            given: Grants::default(),
            released: Releases::default(),
            kept: KeptLocks::default(),
            timers: Timers::default(),
            stalled: Duration::ZERO,
            outbox: VecDeque::new(),
            news: Vec::new(),
        }
    }

    /// Asks for a lock. What becomes of it is news.
    ///
    /// # Errors
    /// As many wait here already as may.
    pub fn request(&mut self, now: Moment, ticket: Ticket, wish: Wish) -> Result<(), RequestError> {
        let patience = wish.patience;
        // A request that does not wait asks the server at once: whether the key is free is the server's to say.
        let queues = wish.is_job() || patience != Patience::Refuse;
        let mut ask = Ask::new(now, ticket, wish, queues);
        if self.comes_back(now, ticket, &mut ask) {
            return Ok(());
        }
        if queues {
            let keys = &ask.wish.keys;
            if !patience.waits_at(now) && self.lines.has(keys) {
                let outcome = self.queue_timed_out(keys);
                self.tell(ticket, outcome);
                return Ok(());
            }
            let keys = keys.clone();
            if !self.take_place(now, ticket, ask.place, &keys)? {
                ask.wait_here();
                self.keep_ask(ticket, ask);
                self.arm_ask(now, ticket);
                self.try_to_extend(ticket);
                self.reserve_more_of(now, &keys);
                return Ok(());
            }
        }
        self.keep_ask(ticket, ask);
        self.arm_ask(now, ticket);
        self.may_ask(now, ticket);
        Ok(())
    }

    /// Does what is due. `stalled` is for how long the caller's thread has not answered.
    pub fn tick(&mut self, now: Moment, stalled: Duration) {
        self.stalled = stalled;
        let mut renews = false;
        while let Some(timer) = self.next_due(now) {
            match timer {
                Timer::AskEnds(ticket) => self.ask_ends(now, ticket),
                Timer::AskAgain(ticket) => self.ask_again(now, ticket),
                Timer::Renew(_) => renews = true,
                Timer::LeaseEnds(ticket) => self.lease_ends(now, ticket),
                Timer::ErrandEnds(ticket) => self.errand_ends(now, ticket),
                Timer::ErrandAgain(ticket) => self.errand_again(ticket),
            }
        }
        if renews {
            self.renew_due(now);
        }
        self.renew_kept(now);
        self.drop_passed_over();
    }

    /// The link to the server stands. `fenced`: nothing that was sent over the link before can run any more. `has_inbox`:
    /// the server can call ([`Fleet::pushed`]).
    pub fn link_up(&mut self, now: Moment, fenced: bool, has_inbox: bool) {
        // Nothing is sent yet: what these come to is sent with the rest.
        self.give_back_idle(now);
        self.link = Link::Up;
        self.has_inbox = has_inbox;
        self.outbox.clear();
        self.resend_cancels(fenced);
        self.resend_errands();
        self.renew_at_next_tick(now);
        self.renew_kept_at_next_tick(now);
        self.resend_asks(now, fenced);
    }

    /// The link broke, or could not be made, for the reason `why`; these commands have no answer and get none.
    pub fn link_down(&mut self, unanswered: impl IntoIterator<Item = Sent>, why: Failure) {
        self.link = Link::Down(why);
        self.outbox.clear();
        self.asks.values_mut().for_each(Ask::link_down);
        for Sent { command, .. } in unanswered {
            if let Command::Release { ticket, .. } = command {
                self.errand_unanswered(ticket);
            }
        }
        self.leases.values_mut().for_each(Lease::link_down);
    }

    /// The commands to send now, in this order, each to be answered or reported unanswered.
    pub fn take_outbox(&mut self, now: Moment, out: &mut Vec<Sent>) {
        let mut outbox = std::mem::take(&mut self.outbox);
        for mut command in outbox.drain(..) {
            self.count_behind(&mut command);
            out.push(Sent { command, at: now });
        }
        self.outbox = outbox;
    }

    /// Whether there is something to send.
    pub fn has_outbox(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What callers must be told.
    pub fn take_news(&mut self) -> std::vec::Drain<'_, Completion> {
        self.news.drain(..)
    }

    /// The server's answer to `sent`.
    pub fn answered(&mut self, now: Moment, sent: Sent, answer: Answer) {
        let Sent { command, at } = sent;
        match command {
            Command::Acquire {
                ticket,
                must_hold: true,
                ..
            } => self.extend_answered(now, ticket, at, &answer),
            Command::Acquire { ticket, reserve, .. } => {
                self.acquire_answered(now, ticket, at, reserve, answer);
            }
            Command::Release { ticket, .. } => self.release_answered(now, ticket, answer),
            Command::Cancel { ticket, .. } => self.cancel_answered(now, ticket, answer),
            Command::Renew { leases } => self.renew_answered(now, at, &leases, answer),
            Command::Keep { locks } => self.kept_answered(now, at, &locks, &answer),
            Command::Reserve {
                job,
                keys,
                count,
                passes,
                ..
            } => {
                let keys = &keys;
                self.reserve_answered(now, job, &Asked { keys, count, passes }, &answer);
            }
            Command::Scan { ticket, .. }
            | Command::Sweep { ticket, .. }
            | Command::Inspect { ticket, .. } => {
                self.errand_answered(now, ticket, answer);
            }
        }
    }

    /// The caller of `ticket` has gone: it leaves the queues, and what it gets from now on is given back. False when
    /// there is nothing to end any more: what became of it is news already.
    pub fn cancel(&mut self, now: Moment, ticket: Ticket) -> bool {
        let attempt = self.attempt_of(ticket);
        let ask = self.asks.get(&attempt).filter(|ask| ask.told_as == ticket);
        let waits = ask.is_some_and(Ask::has_caller);
        if waits {
            self.ask_abandoned(now, attempt);
        }
        waits
    }

    /// Ends every wait with an error. Jobs go on, and so does giving back.
    pub fn stop(&mut self, now: Moment) {
        let mut waiting: Vec<Ticket> = self
            .asks
            .iter()
            .filter(|(_, ask)| !ask.caller_gone)
            .map(|(ticket, _)| *ticket)
            .collect();
        // The last one first, so that those that leave are not let ask on the way out. A caller that has come back to an
        // earlier place may be: its request is cancelled as soon as it leaves.
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        for ticket in waiting {
            self.tell_asker(ticket, Outcome::Failed(Failure::closed()));
            self.ask_abandoned(now, ticket);
        }
        self.stop_errands();
    }

    /// Ends everything: waits and jobs. Done when [`Fleet::is_settled`].
    pub fn leave(&mut self, now: Moment) {
        self.stop(now);
        let mut held: Vec<Ticket> = self.leases.keys().copied().collect();
        held.sort_unstable();
        for ticket in held {
            self.give_back(now, ticket, false);
        }
        self.leave_errands();
        // What `acquire` took stays, and ends when it was to end.
        self.kept.clear();
    }

    /// Whether nothing is held, asked, or still to be given back.
    pub fn is_settled(&self) -> bool {
        self.asks.is_empty() && self.leases.is_empty() && self.errands.is_empty()
    }

    /// How many requests wait for a lock.
    pub fn waiting(&self) -> usize {
        self.asks.values().filter(|ask| ask.has_caller()).count()
    }

    /// How many jobs hold a lease.
    pub fn held(&self) -> usize {
        self.leases.values().filter(|lease| !lease.is_idle).count()
    }

    /// How many keys jobs of this member hold, or its requests wait for.
    pub fn keys(&self) -> usize {
        let asked = self
            .asks
            .values()
            .filter(|ask| ask.has_place)
            .map(|ask| &ask.wish.keys);
        let held = self.leases.values().map(Lease::keys);
        asked.chain(held).flatten().collect::<HashSet<_>>().len()
    }

    /// How many requests of this member wait for each key.
    fn waiting_by_key(&self) -> HashMap<Arc<str>, usize> {
        let mut waiting: HashMap<Arc<str>, usize> = HashMap::new();
        let asked = self.asks.values().filter(|ask| ask.has_place);
        for key in asked.flat_map(|ask| &ask.wish.keys) {
            *waiting.entry_ref(key).or_default() += 1;
        }
        waiting
    }

    fn is_up(&self) -> bool {
        matches!(self.link, Link::Up)
    }

    /// Queues `command` for the link. While there is none, the records say what is due when it comes.
    fn send(&mut self, command: Command) {
        if self.is_up() {
            self.outbox.push_back(command);
        }
    }

    fn tell(&mut self, ticket: Ticket, outcome: Outcome) {
        self.news.push(Completion { ticket, outcome });
    }

    /// What a caller is told that the server did not serve in time.
    fn unreachable(&self, waited: &str) -> Failure {
        match &self.link {
            Link::New(why) | Link::Down(why) => why.clone(),
            Link::Up => Failure {
                code: "REDIS_UNREACHABLE",
                message: format!("Redis at {} did not answer {waited}", self.config.endpoint),
                key: None,
            },
        }
    }
}
