//! Asking for a lock: from the right to ask until somebody knows for sure what the server did.

use std::sync::Arc;
use std::time::Duration;

use super::lease::Grant;
use super::{Answer, Command, Fleet, Lease, Timer};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::{Failure, Outcome};
use crate::core::owner::Owner;
use crate::core::table::{Claim, Patience};
use crate::core::ticket::Ticket;

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

    pub(super) fn owner(&self, ticket: Ticket) -> Owner {
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
pub(super) enum Phase {
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
    pub(super) wish: Wish,
    /// It has a place in the local table, which it must give up in the end.
    pub(super) has_place: bool,
    pub(super) phase: Phase,
    /// Nobody waits for its outcome any more.
    pub(super) caller_gone: bool,
    /// A try of it was sent and its answer will never come: the server may have granted it.
    pub(super) maybe_ran: bool,
    /// Commands of a broken link may still run after those of the new one: settle twice.
    pub(super) settle_twice: bool,
    /// A try to extend is on the way; the ask itself is held back until that is answered.
    pub(super) extending: bool,
    /// It may ask as soon as nothing holds it back.
    pub(super) held_back: bool,
    /// How often the server said "not now" in a row.
    pub(super) tries: u32,
    /// The key that it said so for.
    pub(super) busy: Option<Arc<str>>,
    /// Or the trouble that it had.
    pub(super) trouble: Option<Failure>,
    /// Since when jobs of this process have followed each other on these keys, if this one does.
    pub(super) reign_since: Option<Moment>,
    /// Since when its patience counts.
    pub(super) armed_at: Option<Moment>,
    pub(super) again_at: Option<Moment>,
    pub(super) ends_at: Option<Moment>,
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
    pub(super) fn wait(&mut self, now: Moment, ticket: Ticket, lapses_in: Option<Duration>) {
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

    /// The end of an ask: its timers, its record and its local place.
    pub(super) fn forget(&mut self, now: Moment, ticket: Ticket) {
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

    pub(super) fn clear_again(&mut self, ticket: Ticket) {
        let at = self.asks.get_mut(&ticket).and_then(|ask| ask.again_at.take());
        if let Some(at) = at {
            self.timers.remove(&(at, Timer::AskAgain(ticket)));
        }
    }

    /// In ticket order: who came first asks first.
    pub(super) fn tickets_where(&self, condition: impl Fn(&Ask) -> bool) -> Vec<Ticket> {
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

pub(super) fn acquire(ticket: Ticket, wish: &Wish, must_hold: Option<Vec<bool>>, reserve: u32) -> Command {
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
