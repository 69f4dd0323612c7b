//! Callers that poll: they ask for a lock, are refused, sleep, and ask for the same again.

use medusa_locking_native::core::key::KeySet;

use super::calls::key_set;
use super::claims::{Check, Claim, Stand, What};
use super::ledger::Ledger;
use super::plan::Poll;
use super::returns::COMES_BACK_WITHIN;
use super::server::Attempt;
use super::world::World;

/// One of them.
#[derive(Debug)]
pub struct Poller {
    pub poll: Poll,
    pub keys: KeySet,
    pub member: usize,
    /// Which one of all that polled.
    number: usize,
    began_at: u64,
    /// Its last request; None: that was not even taken.
    pub last: Option<Attempt>,
    /// How often it asks yet.
    left: u32,
    /// After how long it came back last.
    away: Option<u64>,
    /// Since when its request is kept for it whenever it is away.
    pub kept_since: Option<u64>,
    pub is_over: bool,
}

/// For how long a request is kept whose caller stayed away for `last` the time before, in ms.
pub fn absence(last: u64) -> u64 {
    (last + last / 2 + 50).min(COMES_BACK_WITHIN)
}

impl World {
    pub fn begin_to_poll(&mut self, poll: Poll) {
        let mut poller = Poller {
            keys: key_set(&poll.keys),
            member: self.member_at(poll.seat),
            number: self.ledger.pollers_begun,
            began_at: self.now,
            last: None,
            left: poll.times,
            away: None,
            kept_since: None,
            is_over: false,
            poll,
        };
        self.ledger.pollers_begun += 1;
        self.poll_once(&mut poller);
        self.ledger.pollers.push(poller);
    }

    /// A poller comes back, or gives up, or gives back what it got.
    pub fn poller_acts(&mut self, index: usize) {
        let mut poller = self.ledger.pollers.swap_remove(index);
        let claim = poller.last.and_then(|id| self.ledger.claim(id)).cloned();
        match claim {
            Some(claim) if matches!(claim.stand, Stand::Holds { .. }) => {
                self.ledger.see("a poller was served");
                poller.is_over = true;
                self.release(poller.poll.seat, poller.keys.clone(), &poller.poll.owner);
            }
            Some(claim) if claim.stand == Stand::No && poller.left > 0 => {
                let away = self.now - claim.since;
                let is_kept = poller.away.is_some_and(|last| away <= absence(last));
                // Its first request is not kept, but the second is.
                poller.kept_since = match poller.kept_since {
                    since @ Some(_) if is_kept && !claim.has_failed => since,
                    None if is_kept && !claim.has_failed => Some(claim.since),
                    _ => None,
                };
                let is_in_time = away <= COMES_BACK_WITHIN && !claim.has_failed;
                poller.away = is_in_time.then_some(away);
                self.poll_once(&mut poller);
            }
            _ => poller.is_over = true,
        }
        if !poller.is_over {
            self.ledger.pollers.push(poller);
        }
    }

    fn poll_once(&mut self, poller: &mut Poller) {
        let is_there = self.members[poller.member].takes_calls(self.now);
        let Poll { owner, expire, .. } = poller.poll.clone();
        let what = What::Lock { owner, expire };
        poller.last = if is_there {
            self.ask(poller.member, poller.keys.clone(), what, poller.poll.wait)
        } else {
            None
        };
        if let Some(claim) = poller.last.and_then(|id| self.ledger.claim_mut(id)) {
            claim.poller = Some(poller.number);
        }
        poller.left = poller.left.saturating_sub(1);
        poller.is_over = poller.last.is_none();
    }

    /// When a poller does something next; None: it waits for its answer.
    pub fn poller_acts_at(&self, poller: &Poller) -> Option<u64> {
        let Some(claim) = poller.last.and_then(|id| self.ledger.claim(id)) else {
            return Some(self.now);
        };
        let at = match claim.stand {
            Stand::Asks => return None,
            Stand::No => claim.since + poller.poll.pause,
            Stand::Holds { .. } => claim.since + poller.poll.holds_for,
            _ => self.now,
        };
        Some(at.max(self.members[poller.member].stalled_until()))
    }
}

impl Ledger {
    /// Property 9: who keeps asking is served before those who asked when its request was there already.
    pub fn check_pollers(&self, now: u64, claim: &Claim) -> Check {
        if claim.is_job() && claim.under != claim.id {
            // It was passed on, which property 7 is about.
            return Ok(());
        }
        let margin = 4 * self.lag + 5;
        let (member, ticket) = (claim.id.member, claim.place);
        let first = self.claim(Attempt { member, ticket });
        let asked_at = first.map_or(claim.asked_at, |first| first.asked_at);
        let is_overtaken = |poller: &&Poller| {
            let asked_later = poller.kept_since.is_some_and(|since| since + margin < asked_at);
            asked_later && claim.shares_a_key_with(&poller.keys) && self.is_kept_in_the_server(now, poller)
        };
        match self.pollers.iter().find(is_overtaken) {
            Some(poller) => Err(format!("property 9: {claim:?} was served before {poller:?}")),
            None => Ok(()),
        }
    }

    /// The server has lost its queues, or a member has left its own.
    pub fn forget_places(&mut self, of: impl Fn(usize) -> bool) {
        for poller in self.pollers.iter_mut().filter(|poller| of(poller.member)) {
            (poller.away, poller.kept_since) = (None, None);
        }
    }

    fn is_kept_in_the_server(&self, now: u64, poller: &Poller) -> bool {
        let Some(last) = poller.last.and_then(|id| self.claim(id)) else {
            return false;
        };
        let is_there = match last.stand {
            Stand::Asks => true,
            Stand::No => {
                poller.away.is_some_and(|away| now <= last.since + absence(away)) && !last.has_failed
            }
            _ => false,
        };
        // In a local queue it stands behind others of its member, which come to the server one by one.
        let is_beside = !last.queues();
        let spared = self.claims.iter().all(|other| {
            !other.is_like(last)
                || other.asked_at + COMES_BACK_WITHIN < poller.began_at
                || poller.asked(other)
        });
        let since = poller.kept_since.unwrap_or(now);
        is_there && is_beside && spared && self.was_fair_for(poller.member, now, now - since)
    }
}

impl Poller {
    fn asked(&self, claim: &Claim) -> bool {
        claim.poller == Some(self.number)
    }
}
