//! Giving up on a lock: until nothing that was asked for can still be taken.
//!
//! An attempt that the server may have carried out stays on record until a cancel under its own id has been answered.

use std::sync::Arc;
use std::time::Duration;

use super::ask::{Ask, Phase, Wish};
use super::{Answer, Command, Fleet, Link, Timer};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::Outcome;
use crate::core::owner::Owner;
use crate::core::patience::Patience;
use crate::core::table::Claim;
use crate::core::ticket::Ticket;

/// A request that could not wait for as long as this and got no answer timed out; for a longer one the server is out of
/// reach.
const TELLING_WAIT: Duration = Duration::from_millis(250);

impl Fleet {
    /// The ask's patience ends.
    pub(super) fn ask_ends(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get(&ticket) else { return };
        if ask.visit.is_away() {
            return self.ask_abandoned(now, ticket);
        }
        if ask.caller_gone || self.waits_on(now, ticket) {
            return;
        }
        let Some(ask) = self.asks.get(&ticket) else { return };
        // Too short a wait says nothing about the server.
        let says_nothing = ask.armed_at.is_none_or(|at| now.since(at) < TELLING_WAIT);
        let first_key = ask.wish.keys.iter().next().filter(|_| says_nothing);
        let outcome = match (&ask.trouble, &ask.busy.as_ref().or(first_key), &self.link) {
            (_, _, Link::Down(why)) => Outcome::Failed(why.clone()),
            (Some(trouble), ..) => Outcome::Failed(trouble.clone()),
            (None, Some(key), _) => Outcome::TimedOut(Arc::clone(key)),
            (None, None, _) => Outcome::Failed(self.unreachable("in time")),
        };
        let may_come_back = matches!(outcome, Outcome::TimedOut(_));
        self.tell_asker(ticket, outcome);
        if !may_come_back || !self.stays(now, ticket) {
            self.ask_abandoned(now, ticket);
        }
    }

    /// Nobody waits for `ticket` any more. Its place goes to the next one here, and what it may hold is given back.
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
            Phase::Sent | Phase::Cancelling => self.give_up_place_of(now, ticket),
            Phase::Stuck if ask.may_hold => self.give_up_place_of(now, ticket),
            Phase::Waiting if ask.may_hold => self.cancel_and_give_up_place(now, ticket),
            Phase::Queued | Phase::Waiting | Phase::Stuck => self.forget(now, ticket),
        }
    }

    /// What the try to extend does is not wanted any more. The ask leaves the queue and stays until that is undone.
    pub(super) fn abandon_extending(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        let is_on_its_way = ask.extending;
        ask.phase = if is_on_its_way { Phase::Sent } else { Phase::Stuck };
        ask.may_hold = true;
        self.give_up_place_of(now, ticket);
        if !is_on_its_way {
            self.start_cancel(ticket);
        }
    }

    /// The same where the last try has been answered, but an earlier one may not have been.
    pub(super) fn let_go(&mut self, now: Moment, ticket: Ticket) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.caller_gone = true;
        if ask.may_hold {
            self.cancel_and_give_up_place(now, ticket);
        } else {
            self.forget(now, ticket);
        }
    }

    /// In strict order the next one here asks before the server hears of the cancellation: it may have come before those
    /// who wait elsewhere. Else it asks behind them.
    fn cancel_and_give_up_place(&mut self, now: Moment, ticket: Ticket) {
        if self.config.local_handoffs == 0 {
            self.give_up_place_of(now, ticket);
            self.start_cancel(ticket);
        } else {
            self.start_cancel(ticket);
            self.give_up_place_of(now, ticket);
        }
    }

    fn give_up_place_of(&mut self, now: Moment, ticket: Ticket) {
        if let Some(ask) = self.asks.get_mut(&ticket)
            && std::mem::take(&mut ask.has_place)
        {
            let keys = ask.wish.keys.clone();
            self.give_up_place(now, ticket, &keys);
        }
    }

    pub(super) fn start_cancel(&mut self, ticket: Ticket) {
        let up = self.is_up();
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.may_hold = true;
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
                self.arm(at, Timer::AskAgain(ticket));
            }
            None => self.forget(now, ticket),
        }
    }

    /// A lock was granted to a caller that never heard of it: what this attempt took is given back.
    pub fn take_back(&mut self, now: Moment, ticket: Ticket, keys: KeySet, owner: Owner) {
        for key in &keys {
            self.given.settle(key, ticket, false);
        }
        self.keep_no_more_of(ticket, &keys);
        let claim = Claim::Lock { owner, expire: None };
        let wish = Wish {
            keys,
            claim,
            lease: Duration::ZERO,
            patience: Patience::Refuse,
        };
        let mut ask = Ask::new(now, ticket, wish, false);
        ask.caller_gone = true;
        self.asks.insert(ticket, ask);
        self.start_cancel(ticket);
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
    pub(super) fn resend_asks(&mut self, now: Moment, fenced: bool) {
        for ticket in self.tickets_where(|ask| ask.phase == Phase::Stuck && !ask.caller_gone) {
            if let Some(ask) = self.asks.get_mut(&ticket) {
                ask.settle_twice |= ask.may_hold && !fenced;
                let is_late = std::mem::take(&mut ask.was_sent) || ask.late_until.is_some_and(|at| at > now);
                let late_until = now.after(self.config.command_timeout);
                ask.late_until = (is_late && !fenced).then_some(late_until);
            }
            self.send_ask(now, ticket);
        }
        for ticket in self.tickets_where(|ask| ask.phase == Phase::Queued && !ask.caller_gone) {
            if let Some(ask) = self.asks.get_mut(&ticket) {
                ask.settle_twice |= ask.may_hold && !fenced;
            }
            self.try_to_extend(ticket);
        }
    }
}
