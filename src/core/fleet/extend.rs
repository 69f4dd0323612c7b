//! An owner that holds keys already and asks again: past the local queue, where that is right.

use super::ask::Phase;
use super::asking::is_over;
use super::{Answer, Command, Fleet, Timer};
use crate::core::moment::Moment;
use crate::core::outcome::Outcome;
use crate::core::owner::Owner;
use crate::core::table::Claim;
use crate::core::ticket::Ticket;

impl Fleet {
    /// The owner that waits may be the holder already: then its lock is to be extended, past the local queue, whose
    /// first cannot have the keys before this owner releases them.
    pub(super) fn try_to_extend(&mut self, ticket: Ticket) {
        let up = self.is_up();
        let Some(ask) = self.asks.get(&ticket) else {
            return;
        };
        let may_extend = match &ask.wish.claim {
            Claim::Lock { owner, .. } => self.takes_again(owner),
            Claim::Job => false,
        };
        if !may_extend || ask.extending || !up || ask.visit.is_away() {
            return;
        }
        let command = Command::Acquire {
            ticket,
            keys: ask.wish.keys.clone(),
            owner: ask.wish.owner(ticket),
            expire: ask.wish.expire(),
            must_hold: true,
            reserve: 0,
            wait: None,
            more: false,
        };
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.extending = true;
        }
        self.send(command);
    }

    /// Whether what this owner holds may be taken again as the same owner's.
    pub(super) fn takes_again(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Named(_) => true,
            Owner::Anyone => self.config.ownerless_open,
            Owner::Job(_) => false,
        }
    }

    pub(super) fn extend_answered(&mut self, now: Moment, ticket: Ticket, sent_at: Moment, answer: &Answer) {
        let Some(ask) = self.asks.get_mut(&ticket) else {
            return;
        };
        ask.extending = false;
        if ask.caller_gone {
            return self.let_go(now, ticket);
        }
        if ask.visit.is_away() {
            // What it did is undone if its caller does not come back.
            ask.may_hold |= matches!(answer, Answer::Granted(_) | Answer::Error(_));
            if ask.phase != Phase::Queued {
                self.send_ask(now, ticket);
            }
            return;
        }
        if matches!(answer, Answer::Granted(_)) && is_over(&ask.wish, sent_at, now) {
            // The answer took longer than the expiry lasts: what it says may be over.
            ask.may_hold = true;
            return if ask.held_back {
                self.send_ask(now, ticket);
            } else {
                self.try_to_extend(ticket);
            };
        }
        match (answer, &ask.wish.claim) {
            (Answer::Granted(token), Claim::Lock { owner, expire }) => {
                let (token, keys, owner, expire) = (*token, ask.wish.keys.clone(), owner.clone(), *expire);
                let (named, told_as, attempt) = (owner.clone(), ask.told_as, ticket);
                self.keep(ticket, sent_at, &keys, &owner, expire);
                self.tell(
                    told_as,
                    Outcome::Acquired {
                        attempt,
                        token,
                        keys,
                        owner,
                    },
                );
                self.forget(now, ticket);
                self.look_at_same_owner(now, &named);
            }
            _ if ask.held_back => self.send_ask(now, ticket),
            (Answer::Error(error), _) => {
                ask.may_hold |= !error.passing;
                let at = now.after(self.config.backoff.longest);
                ask.again_at = Some(at);
                self.arm(at, Timer::AskAgain(ticket));
            }
            _ => {}
        }
    }

    /// `owner` got a lock: others of the same name that wait here may now hold what they lack.
    pub(super) fn look_at_same_owner(&mut self, now: Moment, owner: &Owner) {
        let Some(waiting) = self.waiting_as.get(owner) else {
            return;
        };
        let mut behind = Vec::new();
        let mut on_the_server = Vec::new();
        for ticket in waiting {
            match self.asks.get(ticket).map(|ask| ask.phase) {
                Some(Phase::Queued) => behind.push(*ticket),
                Some(Phase::Waiting) => on_the_server.push(*ticket),
                _ => {}
            }
        }
        for ticket in behind {
            self.try_to_extend(ticket);
        }
        for ticket in on_the_server {
            self.send_ask(now, ticket);
        }
    }
}
