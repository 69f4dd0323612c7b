//! Asking for a lock: from the right to ask until somebody knows for sure what the server did.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::hash_map::EntryRef;

use super::ask::{Ask, Phase, Wish};
use super::command::{Place, Push, Waiting};
use super::lease::Grant;
use super::{Answer, Command, Fleet, Lease, Timer};
use crate::core::moment::Moment;
use crate::core::outcome::Outcome;
use crate::core::patience::Patience;
use crate::core::table::Claim;
use crate::core::ticket::Ticket;

/// The longest time for which a request that waits on the server does not ask there. Half of the time within which a lock
/// that was handed over must be claimed: whoever comes next has asked by then, and knows when that lapses.
const POLL_MAX: Duration = Duration::from_secs(1);

/// An `acquire` with a shorter expiry is told that it has its lock however late the answer comes.
const SHORTEST_CHECKED: Duration = Duration::from_millis(500);

impl Fleet {
    /// Sets the end of the ask's patience. One that does not wait for the lock still waits for the server.
    pub(super) fn arm_ask(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        let ends_at = match ask.wish.patience {
            Patience::Refuse => Some(now.after(self.config.command_timeout)),
            patience => patience.ends_at(),
        };
        ask.ends_at = ends_at;
        if let Some(at) = ends_at {
            self.arm(at, Timer::AskEnds(ticket));
        }
    }

    /// It is the turn of `ticket` to ask.
    pub(super) fn may_ask(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.phase = Phase::Stuck;
        ask.armed_at = Some(ask.late_until.map_or(now, |at| at.max(now)));
        if ask.extending {
            ask.held_back = true;
        } else {
            self.send_ask(now, ticket);
        }
    }

    /// Asks the server: for the first time, again, or to claim what was handed over.
    pub(super) fn send_ask(&mut self, now: Moment, ticket: Ticket) {
        let up = self.is_up();
        let handoffs = self.config.local_handoffs;
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.held_back = false;
        ask.again_at = None;
        if ask.visit.is_away() {
            // Its caller decides, when it comes back.
            ask.phase = if up && ask.may_hold {
                Phase::Waiting
            } else {
                Phase::Stuck
            };
            return;
        }
        if let Some(at) = ask.late_until.filter(|at| *at > now) {
            return self.ask_later(now, ticket, at.since(now));
        }
        ask.phase = if up { Phase::Sent } else { Phase::Stuck };
        // In strict order a request counts from when it was made, else from when its process lets it ask: a process with
        // many waiters shall not come before all others.
        let age = if handoffs == 0 {
            now.since(ask.asked_at)
        } else {
            Duration::ZERO
        };
        let command = Command::Acquire {
            ticket,
            keys: ask.wish.keys.clone(),
            owner: ask.wish.owner(ticket),
            expire: ask.wish.expire(),
            must_hold: false,
            reserve: 0,
            wait: ask.waits().then_some(Place {
                ticket: ask.server_ticket,
                age,
            }),
            more: false,
        };
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
                ask.may_hold = false;
                let grant = Grant {
                    sent_at,
                    token,
                    reserved,
                    is_contended: ask.server_ticket != 0,
                };
                self.granted(now, ticket, &grant);
            }
            Answer::Busy(key, lapses_in) => {
                ask.trouble = None;
                ask.busy = ask.wish.keys.as_slice().get(key).cloned();
                self.busy(now, ticket, lapses_in);
            }
            Answer::Waiting(waiting) => {
                ask.trouble = None;
                ask.busy = ask.wish.keys.as_slice().get(waiting.key).cloned();
                ask.server_ticket = waiting.ticket;
                ask.may_hold = true;
                if ask.caller_gone {
                    return self.start_cancel(ticket);
                }
                if !self.goes_away(now, ticket) {
                    self.wait_in_line(now, ticket, &waiting);
                    self.line_seen(now, ticket, waiting.held_for);
                }
            }
            Answer::Error(error) => {
                // A script that fails half-way has done the first half. What passes is said before anything is written.
                ask.may_hold |= !error.passing;
                if ask.caller_gone {
                    self.let_go(now, ticket);
                } else if error.passing && ask.is_patient() {
                    ask.trouble = Some(error.failure);
                    self.wait(now, ticket, None);
                } else {
                    self.tell_asker(ticket, Outcome::Failed(error.failure));
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
        if ask.visit.is_away() {
            return self.keep_for_caller(now, ticket);
        }
        if is_over(&ask.wish, grant.sent_at, now) {
            // The answer took longer than the lease lasts. Asking again under the same id extends it, if it is still
            // there, and takes it if it is free.
            if let Some(ask) = self.asks.get_mut(&ticket) {
                ask.may_hold = true;
            }
            return self.wait(now, ticket, None);
        }
        let Some(ask) = self.remove_ask(ticket) else {
            return;
        };
        let (has_place, told_as) = (ask.has_place, ask.told_as);
        if has_place {
            self.lines.moved(now, &ask.wish.keys);
        }
        let Wish {
            keys, claim, lease, ..
        } = ask.wish;
        match claim {
            Claim::Job => {
                self.tell(ticket, Outcome::Granted(grant.token));
                self.hold_lease(now, ticket, grant, keys, lease);
            }
            Claim::Lock { owner, expire } => {
                let place = keys.clone();
                self.note_given(now, ticket, grant.sent_at, &keys, &owner, expire);
                self.keep(ticket, grant.sent_at, &keys, &owner, expire);
                self.look_at_same_owner(now, &owner);
                self.tell(
                    told_as,
                    Outcome::Acquired {
                        attempt: ticket,
                        token: grant.token,
                        keys,
                        owner,
                    },
                );
                if has_place {
                    // The lock belongs to its owner, who may release it from anywhere. The next one here may ask.
                    self.give_up_place(now, ticket, &place);
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
        if !ask.is_patient() {
            self.refuse(now, ticket);
            return self.let_go(now, ticket);
        }
        self.wait(now, ticket, lapses_in);
    }

    /// Asks again when whoever is before it may have lost the lock; and now and then, in case the server's call is lost.
    fn wait_in_line(&mut self, now: Moment, ticket: Ticket, waiting: &Waiting) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        let longest = self.config.backoff.longest.min(POLL_MAX);
        let pause = if waiting.silent || !self.has_inbox {
            ask.tries = ask.tries.saturating_add(1);
            // Never shorter than the backoff says: what polls cost is promised.
            self.config.backoff.pause(ask.tries, 0.0).min(longest)
        } else {
            ask.tries = 0;
            longest
        };
        let pause = waiting
            .look_in
            .map_or(pause, |span| pause.min(span + Duration::from_millis(1)));
        self.ask_later(now, ticket, pause);
    }

    /// Asks again after a pause, or when the blocking lock lapses, whichever comes first.
    pub(super) fn wait(&mut self, now: Moment, ticket: Ticket, lapses_in: Option<Duration>) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        let pause = self.config.backoff.pause(ask.tries, jitter(ticket, ask.tries));
        let pause = lapses_in.map_or(pause, |span| pause.min(span + Duration::from_millis(1)));
        let pause = pause.min(POLL_MAX);
        ask.tries = ask.tries.saturating_add(1);
        self.ask_later(now, ticket, pause);
    }

    fn ask_later(&mut self, now: Moment, ticket: Ticket, pause: Duration) {
        let at = now.after(pause);
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.phase = Phase::Waiting;
            ask.again_at = Some(at);
            self.arm(at, Timer::AskAgain(ticket));
        }
    }

    /// The server called. Answers and calls come in the order in which the server made them, so one that comes while a
    /// command of the same request is on its way says nothing that its answer will not.
    pub fn pushed(&mut self, now: Moment, push: Push) {
        let Push { ticket, look_in } = push;
        let Some(ask) = self.asks.get(&ticket) else {
            return;
        };
        if ask.phase != Phase::Waiting || ask.caller_gone {
            return;
        }
        match look_in {
            None => self.send_ask(now, ticket),
            Some(span) => {
                let at = now.after(span + Duration::from_millis(1));
                if ask.again_at.is_none_or(|before| at < before) {
                    self.ask_later(now, ticket, at.since(now));
                }
            }
        }
    }

    pub(super) fn ask_again(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.again_at = None;
        match ask.phase {
            Phase::Waiting => self.send_ask(now, ticket),
            Phase::Cancelling => self.start_cancel(ticket),
            Phase::Queued => self.try_to_extend(ticket),
            Phase::Sent | Phase::Stuck => {}
        }
    }

    /// Somebody here released `keys`: whoever waits for one of them asks at once, right behind the release. Where the server
    /// calls, it does so for whoever is next in the fleet.
    pub(super) fn kick(&mut self, now: Moment, keys: &[Arc<str>]) {
        if self.has_inbox {
            return;
        }
        let wants = |ask: &Ask| ask.wish.keys.iter().any(|key| keys.contains(key));
        for ticket in self.tickets_where(|ask| ask.phase == Phase::Waiting && !ask.caller_gone && wants(ask))
        {
            self.send_ask(now, ticket);
        }
    }

    /// The same after all locks were released.
    pub(super) fn kick_all(&mut self, now: Moment) {
        if self.has_inbox {
            return;
        }
        let mut waiting = self.tickets_where(|ask| ask.phase == Phase::Waiting && !ask.caller_gone);
        waiting.drain(..).for_each(|ticket| self.send_ask(now, ticket));
    }

    /// The end of an ask: its timers, its record and its local place.
    pub(super) fn forget(&mut self, now: Moment, ticket: Ticket) {
        if let Some(ask) = self.remove_ask(ticket)
            && ask.has_place
        {
            self.give_up_place(now, ticket, &ask.wish.keys);
        }
    }

    pub(super) fn keep_ask(&mut self, ticket: Ticket, ask: Ask) {
        if let Some(owner) = ask.waits_as().filter(|owner| self.takes_again(owner)) {
            self.waiting_as.entry_ref(owner).or_default().insert(ticket);
        }
        self.asks.insert(ticket, ask);
    }

    pub(super) fn remove_ask(&mut self, ticket: Ticket) -> Option<Ask> {
        let ask = self.asks.remove(&ticket)?;
        self.attempts.remove(&ask.told_as);
        if let Some(owner) = ask.waits_as().filter(|owner| self.takes_again(owner))
            && let EntryRef::Occupied(mut tickets) = self.waiting_as.entry_ref(owner)
        {
            tickets.get_mut().remove(&ticket);
            if tickets.get().is_empty() {
                tickets.remove();
            }
        }
        Some(ask)
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

/// Whether a lock that was granted by a command sent then may have lapsed by now.
pub(super) fn is_over(wish: &Wish, sent_at: Moment, now: Moment) -> bool {
    match &wish.claim {
        Claim::Job => Lease::good_until(sent_at, wish.lease) <= now,
        // One that is shorter than an answer takes would be asked for for ever.
        Claim::Lock { expire, .. } => {
            expire.is_some_and(|span| sent_at.after(span.max(SHORTEST_CHECKED)) <= now)
        }
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
