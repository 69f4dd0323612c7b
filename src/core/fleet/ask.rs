//! Asking for a lock: from the right to ask until somebody knows for sure what the server did.

use std::sync::Arc;
use std::time::Duration;

use super::lease::Grant;
use super::{Answer, Command, Fleet, Lease, Link, Timer};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::{Failure, Outcome};
use crate::core::owner::Owner;
use crate::core::table::{Claim, Patience};
use crate::core::ticket::Ticket;

/// A request that could not wait for as long as this and got no answer timed out; for a longer one the server is out of
/// reach.
const TELLING_WAIT: Duration = Duration::from_millis(250);

/// What a request wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What to lock.
    pub keys: KeySet,
    /// As what. A job's lease is in `lease`.
    pub claim: Claim,
    /// How long the lock of a job lives between renewals; a job never comes without.
    pub lease: Duration,
    /// How long to wait.
    pub patience: Patience,
}

impl Wish {
    /// Whether a job is to run under the lock.
    pub fn is_job(&self) -> bool {
        self.claim == Claim::Job
    }

    fn owner(&self, ticket: Ticket) -> Owner {
        match &self.claim {
            Claim::Job => Owner::Job(ticket),
            Claim::Lock { owner, .. } => owner.clone(),
        }
    }

    /// How long a grant is good for; None: until released.
    fn expire(&self) -> Option<Duration> {
        match &self.claim {
            Claim::Job => Some(self.lease),
            Claim::Lock { expire, .. } => *expire,
        }
    }
}

/// Where an ask stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In the local queue: it may not ask yet.
    Queued,
    /// Its command is on the way, and so is the answer.
    Sent,
    /// The server said "not now". A timer will ask again.
    Waiting,
    /// Nobody wants the lock any more; the command that gives it back is on the way.
    Cancelling,
    /// The link is down; its return will tell what to do.
    Stuck,
}

/// One request on its way to a lock.
#[derive(Debug)]
pub(super) struct Ask {
    pub wish: Wish,
    /// It has a place in the local table, which it must give up in the end.
    has_place: bool,
    phase: Phase,
    /// Nobody waits for its outcome any more.
    pub caller_gone: bool,
    /// A try of it was sent and its answer will never come: the server may have granted it.
    maybe_ran: bool,
    /// Commands of a broken link may still run after those of the new one: settle twice.
    settle_twice: bool,
    /// A try to extend is on the way; the ask itself is held back until that is answered.
    extending: bool,
    /// It may ask as soon as nothing holds it back.
    held_back: bool,
    /// How often the server said "not now" in a row.
    tries: u32,
    /// The key that it said so for.
    busy: Option<Arc<str>>,
    /// Or the trouble that it had.
    trouble: Option<Failure>,
    /// Since when jobs of this process have followed each other on these keys, if this one does.
    reign_since: Option<Moment>,
    /// Since when its patience counts.
    armed_at: Option<Moment>,
    again_at: Option<Moment>,
    ends_at: Option<Moment>,
}

impl Ask {
    pub(super) fn new(wish: Wish, has_place: bool) -> Self {
        Ask {
            wish,
            has_place,
            phase: Phase::Stuck,
            caller_gone: false,
            maybe_ran: false,
            settle_twice: false,
            extending: false,
            held_back: false,
            tries: 0,
            busy: None,
            trouble: None,
            reign_since: None,
            armed_at: None,
            again_at: None,
            ends_at: None,
        }
    }

    pub(super) fn wait_here(&mut self) {
        self.phase = Phase::Queued;
    }

    /// What was sent, or was just about to be, may have run.
    pub(super) fn link_down(&mut self) {
        if self.extending || matches!(self.phase, Phase::Sent | Phase::Cancelling) {
            self.maybe_ran = true;
        }
        self.extending = false;
        if self.phase != Phase::Queued {
            self.phase = Phase::Stuck;
        }
    }

    /// Whether it waits here for a lease of this span that another job of this process held, and for nothing else.
    pub(super) fn may_inherit(&self, span: Duration) -> bool {
        self.phase == Phase::Queued && self.wish.is_job() && self.wish.lease == span
    }

    /// Whether a try to extend is on the way, or was and its answer will never come.
    pub(super) fn may_have_extended(&self) -> bool {
        self.extending || (self.phase == Phase::Queued && self.maybe_ran)
    }

    fn waits(&self) -> bool {
        self.wish.is_job() || self.wish.patience != Patience::Refuse
    }
}

impl Fleet {
    /// Sets the end of the ask's patience. One that does not wait for the lock still waits for the server.
    pub(super) fn arm_ask(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        let ends_at = match ask.wish.patience {
            Patience::Refuse => Some(now.after(self.config.command_timeout)),
            Patience::Until(moment) => Some(moment),
            Patience::Forever => None,
        };
        ask.ends_at = ends_at;
        ask.armed_at = Some(now);
        if let Some(at) = ends_at {
            self.timers.insert((at, Timer::AskEnds(ticket)));
        }
    }

    /// The local table lets `ticket` ask.
    pub(super) fn may_ask(&mut self, now: Moment, ticket: Ticket) {
        self.arm_ask(now, ticket);
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.phase = Phase::Stuck;
        ask.reign_since = self.reign_since;
        if ask.extending {
            ask.held_back = true;
        } else {
            self.send_ask(ticket);
        }
    }

    pub(super) fn send_ask(&mut self, ticket: Ticket) {
        let up = self.is_up();
        let reserve = self.tokens_to_reserve(ticket);
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.phase = if up { Phase::Sent } else { Phase::Stuck };
        ask.held_back = false;
        let command = acquire(ticket, &ask.wish, None, reserve);
        self.clear_again(ticket);
        self.send(command);
    }

    /// The owner that waits may be the holder already: then its lock is to be extended, past the local queue, whose
    /// first cannot have the key before this owner releases it. Keys that nobody before it waits for may be free.
    pub(super) fn try_to_extend(&mut self, ticket: Ticket) {
        let up = self.is_up();
        let Some(ask) = self.asks.get(&ticket) else {
            return;
        };
        let may_extend = match &ask.wish.claim {
            Claim::Lock {
                owner: Owner::Named(_),
                ..
            } => true,
            Claim::Lock {
                owner: Owner::Anyone, ..
            } => self.config.ownerless_open,
            _ => false,
        };
        if !may_extend || ask.extending || !up {
            return;
        }
        let is_wanted = |key: &Arc<str>| self.table.is_wanted_before(key, ticket);
        let must_hold = ask.wish.keys.iter().map(is_wanted).collect();
        let command = acquire(ticket, &ask.wish, Some(must_hold), 0);
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.extending = true;
        }
        self.send(command);
    }

    pub(super) fn acquire_answered(
        &mut self,
        now: Moment,
        ticket: Ticket,
        sent_at: Moment,
        reserved: u32,
        answer: Answer,
    ) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        match answer {
            Answer::Granted(token) => {
                ask.maybe_ran = false;
                let reign_since = ask.reign_since;
                self.granted(
                    now,
                    ticket,
                    &Grant {
                        sent_at,
                        token,
                        reserved,
                        reign_since,
                    },
                );
            }
            Answer::Busy(key, lapses_in) => {
                // An earlier try whose answer was lost may have taken some of the keys, and lost others since: whoever is
                // told no in the end gives back what is left of it.
                ask.trouble = None;
                ask.reign_since = None;
                ask.busy = ask.wish.keys.as_slice().get(key).cloned();
                self.busy(now, ticket, lapses_in);
            }
            Answer::Error(error) => {
                if ask.caller_gone {
                    self.let_go(now, ticket);
                } else if error.passing && ask.waits() {
                    ask.trouble = Some(error.failure);
                    self.wait(now, ticket, None);
                } else {
                    self.tell(ticket, Outcome::Failed(error.failure));
                    self.let_go(now, ticket);
                }
            }
            // No other answer belongs to this command; the link takes it for a broken one before it gets here.
            _ => {}
        }
    }

    fn granted(&mut self, now: Moment, ticket: Ticket, grant: &Grant) {
        let Some(ask) = self.asks.get(&ticket) else { return };
        if ask.caller_gone {
            return self.start_cancel(ticket);
        }
        if ask.wish.is_job() && Lease::good_until(grant.sent_at, ask.wish.lease) <= now {
            // The answer took longer than the lease lasts. Asking again under the same id extends it, if it is still
            // there, and takes it if it is free.
            return self.wait(now, ticket, None);
        }
        let Some(ask) = self.remove_ask(ticket) else {
            return;
        };
        let has_place = ask.has_place;
        let Wish {
            keys, claim, lease, ..
        } = ask.wish;
        match claim {
            Claim::Job => {
                self.tell(ticket, Outcome::Granted(grant.token));
                self.hold_lease(now, ticket, grant, keys, lease);
            }
            Claim::Lock { owner, .. } => {
                self.look_at_same_owner(&owner);
                self.tell(
                    ticket,
                    Outcome::Acquired {
                        token: grant.token,
                        keys,
                        owner,
                    },
                );
                if has_place {
                    // The lock belongs to its owner, who may release it from anywhere. The next one here may ask.
                    self.leave_table(now, ticket);
                }
            }
        }
    }

    /// A lock was granted to a caller that never heard of it: what this attempt took is given back.
    pub fn take_back(&mut self, ticket: Ticket, keys: KeySet, owner: Owner) {
        let claim = Claim::Lock { owner, expire: None };
        let wish = Wish {
            keys,
            claim,
            lease: Duration::ZERO,
            patience: Patience::Refuse,
        };
        let mut ask = Ask::new(wish, false);
        ask.caller_gone = true;
        self.asks.insert(ticket, ask);
        self.start_cancel(ticket);
    }

    fn busy(&mut self, now: Moment, ticket: Ticket, lapses_in: Option<Duration>) {
        let Some(ask) = self.asks.get(&ticket) else {
            return;
        };
        if ask.caller_gone {
            return self.let_go(now, ticket);
        }
        if ask.wish.patience == Patience::Refuse {
            let is_job = ask.wish.is_job();
            if let Some(key) = ask.busy.clone() {
                self.tell(
                    ticket,
                    if is_job {
                        Outcome::TimedOut(key)
                    } else {
                        Outcome::Refused(key)
                    },
                );
            }
            return self.let_go(now, ticket);
        }
        self.wait(now, ticket, lapses_in);
    }

    /// Asks again after a pause, or when the blocking lock lapses, whichever comes first.
    fn wait(&mut self, now: Moment, ticket: Ticket, lapses_in: Option<Duration>) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        let pause = self.config.backoff.pause(ask.tries, jitter(ticket, ask.tries));
        let pause = lapses_in.map_or(pause, |span| pause.min(span + Duration::from_millis(1)));
        ask.tries = ask.tries.saturating_add(1);
        ask.phase = Phase::Waiting;
        let at = now.after(pause);
        ask.again_at = Some(at);
        self.timers.insert((at, Timer::AskAgain(ticket)));
    }

    pub(super) fn ask_again(&mut self, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.again_at = None;
        match ask.phase {
            Phase::Waiting => self.send_ask(ticket),
            Phase::Cancelling => self.start_cancel(ticket),
            Phase::Queued => self.try_to_extend(ticket),
            Phase::Sent | Phase::Stuck => {}
        }
    }

    /// Somebody here released `keys`: whoever waits for one of them asks at once, right behind the release.
    pub(super) fn kick(&mut self, keys: &[Arc<str>]) {
        for key in keys {
            if let Some(ticket) = self.table.job_of(key)
                && self
                    .asks
                    .get(&ticket)
                    .is_some_and(|ask| ask.phase == Phase::Waiting && !ask.caller_gone)
            {
                self.send_ask(ticket);
            }
        }
    }

    /// The same after all locks were released.
    pub(super) fn kick_all(&mut self) {
        let mut waiting = self.tickets_where(|ask| ask.phase == Phase::Waiting && !ask.caller_gone);
        waiting.drain(..).for_each(|ticket| self.send_ask(ticket));
    }

    /// The ask's patience ends.
    pub(super) fn ask_ends(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get(&ticket) else { return };
        if ask.caller_gone {
            return;
        }
        // Too short a wait says nothing about the server.
        let says_nothing = ask.armed_at.is_some_and(|at| now.since(at) < TELLING_WAIT);
        let first_key = ask.wish.keys.iter().next().filter(|_| says_nothing);
        let outcome = match (&ask.trouble, &ask.busy.as_ref().or(first_key), &self.link) {
            (_, _, Link::Down(why)) => Outcome::Failed(why.clone()),
            (Some(trouble), ..) => Outcome::Failed(trouble.clone()),
            (None, Some(key), _) => Outcome::TimedOut(Arc::clone(key)),
            (None, None, _) => Outcome::Failed(self.unreachable("in time")),
        };
        self.tell(ticket, outcome);
        self.ask_abandoned(now, ticket);
    }

    /// Nobody waits for `ticket` any more.
    pub(super) fn ask_abandoned(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.caller_gone = true;
        if ask.may_have_extended() {
            return self.abandon_extending(now, ticket);
        }
        match ask.phase {
            // Its answer will tell whether there is something to give back.
            Phase::Sent | Phase::Cancelling => {}
            Phase::Waiting if ask.maybe_ran => self.start_cancel(ticket),
            Phase::Stuck if ask.maybe_ran => {}
            Phase::Queued | Phase::Waiting | Phase::Stuck => self.forget(now, ticket),
        }
    }

    /// What the try to extend does is not wanted any more. The ask leaves the queue and stays until that is undone.
    fn abandon_extending(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        let is_on_its_way = ask.extending;
        ask.phase = if is_on_its_way { Phase::Sent } else { Phase::Stuck };
        ask.maybe_ran = true;
        if std::mem::take(&mut ask.has_place) {
            self.leave_table(now, ticket);
        }
        if !is_on_its_way {
            self.start_cancel(ticket);
        }
    }

    /// The same where the last try has been answered, but an earlier one may not have been.
    fn let_go(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.caller_gone = true;
        if ask.maybe_ran {
            self.start_cancel(ticket);
        } else {
            self.forget(now, ticket);
        }
    }

    fn start_cancel(&mut self, ticket: Ticket) {
        let up = self.is_up();
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.maybe_ran = true;
        ask.phase = if up { Phase::Cancelling } else { Phase::Stuck };
        let command = Command::Cancel {
            ticket,
            keys: ask.wish.keys.clone(),
            owner: ask.wish.owner(ticket),
        };
        self.send(command);
    }

    pub(super) fn cancel_answered(&mut self, now: Moment, ticket: Ticket, answer: Answer) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        let again_after = match answer {
            Answer::Error(error) if error.passing => Some(self.config.backoff.longest),
            _ if std::mem::take(&mut ask.settle_twice) => Some(self.config.command_timeout),
            _ => None,
        };
        match again_after {
            Some(pause) => {
                let at = now.after(pause);
                ask.again_at = Some(at);
                self.timers.insert((at, Timer::AskAgain(ticket)));
            }
            None => self.forget(now, ticket),
        }
    }

    /// After the link has come back: settles what nobody waits for.
    pub(super) fn resend_cancels(&mut self, fenced: bool) {
        for ticket in self.tickets_where(|ask| ask.caller_gone) {
            if let Some(ask) = self.asks.get_mut(&ticket) {
                ask.settle_twice = !fenced;
            }
            self.start_cancel(ticket);
        }
    }

    /// After the link has come back: asks for what somebody waits for, and whether those who hold keys already may have
    /// more.
    pub(super) fn resend_asks(&mut self, fenced: bool) {
        for ticket in self.tickets_where(|ask| ask.phase == Phase::Stuck && !ask.caller_gone) {
            if let Some(ask) = self.asks.get_mut(&ticket) {
                ask.settle_twice |= ask.maybe_ran && !fenced;
            }
            self.send_ask(ticket);
        }
        for ticket in self.tickets_where(|ask| ask.phase == Phase::Queued && !ask.caller_gone) {
            self.try_to_extend(ticket);
        }
    }

    pub(super) fn extend_answered(&mut self, now: Moment, ticket: Ticket, answer: &Answer) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.extending = false;
        if ask.caller_gone {
            return self.let_go(now, ticket);
        }
        match (answer, &ask.wish.claim) {
            (Answer::Granted(token), Claim::Lock { owner, .. }) => {
                let (token, keys, owner) = (*token, ask.wish.keys.clone(), owner.clone());
                self.tell(ticket, Outcome::Acquired { token, keys, owner });
                self.forget(now, ticket);
            }
            _ if ask.held_back => self.send_ask(ticket),
            (Answer::Error(_), _) => {
                let at = now.after(self.config.backoff.longest);
                ask.again_at = Some(at);
                self.timers.insert((at, Timer::AskAgain(ticket)));
            }
            _ => {}
        }
    }

    /// `owner` got a lock: others of the same name that wait here may now hold what they lack.
    fn look_at_same_owner(&mut self, owner: &Owner) {
        if matches!(owner, Owner::Anyone) && !self.config.ownerless_open {
            return;
        }
        let same = |claim: &Claim| matches!(claim, Claim::Lock { owner: other, .. } if other == owner);
        for ticket in self.tickets_where(|ask| ask.phase == Phase::Queued && same(&ask.wish.claim)) {
            self.try_to_extend(ticket);
        }
    }

    /// The end of an ask: its timers, its record and its local place.
    fn forget(&mut self, now: Moment, ticket: Ticket) {
        if self.remove_ask(ticket).is_some_and(|ask| ask.has_place) {
            self.leave_table(now, ticket);
        }
    }

    pub(super) fn remove_ask(&mut self, ticket: Ticket) -> Option<Ask> {
        self.clear_again(ticket);
        let ask = self.asks.remove(&ticket)?;
        if let Some(at) = ask.ends_at {
            self.timers.remove(&(at, Timer::AskEnds(ticket)));
        }
        Some(ask)
    }

    fn clear_again(&mut self, ticket: Ticket) {
        let at = self.asks.get_mut(&ticket).and_then(|ask| ask.again_at.take());
        if let Some(at) = at {
            self.timers.remove(&(at, Timer::AskAgain(ticket)));
        }
    }

    /// In ticket order: who came first asks first.
    fn tickets_where(&self, condition: impl Fn(&Ask) -> bool) -> Vec<Ticket> {
        let mut tickets: Vec<Ticket> = self
            .asks
            .iter()
            .filter(|(_, ask)| condition(ask))
            .map(|(ticket, _)| *ticket)
            .collect();
        tickets.sort_unstable();
        tickets
    }
}

fn acquire(ticket: Ticket, wish: &Wish, must_hold: Option<Vec<bool>>, reserve: u32) -> Command {
    Command::Acquire {
        ticket,
        keys: wish.keys.clone(),
        owner: wish.owner(ticket),
        expire: wish.expire(),
        must_hold,
        reserve,
    }
}

/// A number of [0, 1) that differs from ask to ask and from try to try (SplitMix64's mixing function, by Steele, Lea
/// and Flood, OOPSLA 2014).
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn jitter(ticket: Ticket, tries: u32) -> f64 {
    let mut z = ticket
        .number()
        .wrapping_add(u64::from(tries) << 32)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
