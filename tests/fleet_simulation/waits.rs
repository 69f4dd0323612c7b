//! Default waits: they end where the lock is stuck, and go on while it changes hands.

use std::collections::BTreeMap;
use std::sync::Arc;

use medusa_locking_native::core::owner::Owner;

use super::claims::{Check, Claim, Stand};
use super::ledger::{FAIR_RTT, Ledger};
use super::member::COMMAND_TIMEOUT;
use super::plan::{KEYS, Wait};
use super::returns::COMES_BACK_WITHIN;
use super::server::{Attempt, Holder, OLD_NODE, Server, holder_of};

/// How long the end of a wait is put off for one more look at the lock, in ms.
const LAST_LOOK: u64 = 150;

/// When a key changed hands.
#[derive(Debug, Default)]
pub struct Hands {
    /// Who took the lock, under which token; None: it is free, or handed over and not claimed. Who takes it again, or adopts an
    /// open one, changes neither.
    held_as: Option<(Attempt, u64)>,
    changed_at: u64,
    /// From when to when it was held before that.
    before: Vec<(u64, u64)>,
    /// When a job was told last at each member that it has the key: a grant that is passed on changes nothing in the server.
    told: BTreeMap<usize, u64>,
    /// When anybody was.
    told_at: u64,
}

impl Hands {
    fn changed_for(&self, member: usize) -> u64 {
        let told_at = self.told.get(&member).copied().unwrap_or(0);
        self.changed_at.max(told_at)
    }

    fn changed_for_anybody(&self) -> u64 {
        self.changed_at.max(self.told_at)
    }

    /// Whether it is with one holder for `span` at `now`, or was when somebody may have looked last, `looked` ms ago.
    fn is_stuck_for(&self, member: usize, now: u64, span: u64, looked: u64) -> bool {
        let span = span - (span * 20 / 1000).min(span) - 2.min(span);
        let is_held = self.held_as.is_some() && self.changed_for(member) + span <= now;
        let was_held = |(from, to): &(u64, u64)| to + looked >= now && from + span <= to + looked;
        is_held || self.before.iter().any(was_held)
    }
}

impl Ledger {
    pub fn see_hands(&mut self, now: u64, server: &Server) {
        for key in KEYS {
            let lock = server.lock(key).filter(|lock| !server.is_unclaimed(key, lock));
            let held_as = lock.map(|lock| (lock.attempts[0], server.token_of(key, lock)));
            let hands = self.hands.entry(key).or_default();
            if held_as.is_none() || held_as != hands.held_as {
                if hands.held_as.is_some() {
                    hands.before.push((hands.changed_at, now));
                }
                hands.changed_at = now;
                hands.held_as = held_as;
            }
        }
    }

    /// A grant is told.
    pub fn hands_told(&mut self, now: u64, claim: &Claim) {
        for key in KEYS.into_iter().filter(|key| claim.wants(key)) {
            let hands = self.hands.entry(key).or_default();
            hands.told_at = now;
            if claim.is_job() {
                hands.told.insert(claim.id.member, now);
            }
        }
    }

    /// Property 10: a default wait has ended because a lock has not changed hands for its span, or at its last moment.
    pub fn check_end_of_wait(&mut self, now: u64, claim: &Claim, server: &Server) -> Check {
        let Wait::Moving { span, most } = claim.wait else {
            return Ok(());
        };
        if now >= claim.asked_at + most.max(span) {
            self.see("a default wait came to its last moment");
            return Ok(());
        }
        if now > claim.asked_at + span + LAST_LOOK {
            self.see("a default wait went on");
        }
        let mut looked = LAST_LOOK + 4 * FAIR_RTT;
        if self.is_behind_one_that_is_away(now, claim) {
            looked += COMES_BACK_WITHIN + LAST_LOOK;
        }
        let is_stuck = |key: &&str| {
            let hands = self.hands.get(*key);
            hands.is_some_and(|hands| hands.is_stuck_for(claim.id.member, now, span, looked))
        };
        let wants = |key: &&str| claim.wants(key);
        // Who stands before it at a key that is free waits for others of its own, or did when it was looked last.
        let waited = |other: &Claim| {
            let is_kept = other.stand == Stand::No && other.owner().is_some();
            let kept = if is_kept { COMES_BACK_WITHIN } else { 0 };
            other.stand == Stand::Asks || other.since + kept + looked >= now
        };
        let heads_want = |key: &&str| {
            let mut others = self.claims.iter().filter(|other| waited(other));
            others.any(|other| other.wants(key) && other.shares_a_key_with(&claim.keys))
                || server.is_wanted_beside(key, &claim.keys)
        };
        let counts = KEYS
            .iter()
            .any(|key| is_stuck(key) && (wants(key) || heads_want(key)));
        let counts = counts || self.is_behind_a_job(now, claim, span);
        if !counts
            && self.was_fair_for(
                claim.id.member,
                now,
                span + LAST_LOOK + 4 * FAIR_RTT + self.late(),
            )
        {
            return Err(format!(
                "property 10: {claim:?} ended while its locks changed hands: {:?}",
                self.hands
            ));
        }
        Ok(())
    }

    /// A job here has its place before `claim` for as long as it runs, also where its lock was released.
    fn is_behind_a_job(&self, now: u64, claim: &Claim, span: u64) -> bool {
        let runs = |other: &Claim| matches!(other.stand, Stand::Runs | Stand::Lost | Stand::Finishing);
        let is_here = |other: &&Claim| other.id.member == claim.id.member && other.keys == claim.keys;
        let mut here = self.claims.iter().filter(is_here);
        here.any(|other| runs(other) && other.granted_at + span <= now)
    }

    /// Property 10: a default wait for a lock that is stuck has ended.
    pub fn check_stuck(&self, now: u64, server: &Server) -> Check {
        for claim in self.claims.iter().filter(|claim| claim.stand == Stand::Asks) {
            let Wait::Moving { span, .. } = claim.wait else {
                continue;
            };
            let mut within = span + LAST_LOOK + 4 * FAIR_RTT + self.late();
            if self.is_behind_one_that_is_away(now, claim) {
                within += COMES_BACK_WITHIN;
            }
            if now <= claim.asked_at + within {
                continue;
            }
            let passed_at = self.passed_at(claim);
            let is_stuck = |key: &Arc<str>| {
                let since = self.hands.get(&**key).map_or(now, Hands::changed_for_anybody);
                let since = since.max(passed_at);
                since + within < now && self.is_others(key, claim, server)
            };
            let stuck = claim.keys.iter().find(|key| is_stuck(key));
            if let Some(key) = stuck
                && self.was_fair_for(claim.id.member, now, within)
            {
                return Err(format!(
                    "property 10: {claim:?} waits for {key:?}, which is stuck"
                ));
            }
        }
        Ok(())
    }

    /// When the last job ended that had its place before `claim` at its member.
    fn passed_at(&self, claim: &Claim) -> u64 {
        let is_here = |other: &&Claim| other.id.member == claim.id.member && other.keys == claim.keys;
        let here = self.claims.iter().filter(is_here);
        let ended = here.filter(|other| other.is_job() && other.stand != Stand::Asks);
        ended.map(|other| other.since).max().unwrap_or(0)
    }

    /// For how long commands of an old connection may run, for which nothing is asked meanwhile.
    fn late(&self) -> u64 {
        self.answered_within - COMMAND_TIMEOUT
    }

    /// The first of its member for its keys may be one whose caller is away: nobody looks for `claim` meanwhile.
    fn is_behind_one_that_is_away(&self, now: u64, claim: &Claim) -> bool {
        let is_here = |other: &&Claim| other.id.member == claim.id.member && other.keys == claim.keys;
        let may_be_away = |other: &Claim| {
            let was_refused = other.stand == Stand::No && other.owner().is_some();
            was_refused && now <= other.since + 3 * COMES_BACK_WITHIN
        };
        self.claims.iter().filter(is_here).any(may_be_away)
    }

    /// Whether a lock is held against all who wait for it at the member of `claim`. When a node that knows no queue took it,
    /// nobody can tell.
    fn is_others(&self, key: &str, claim: &Claim, server: &Server) -> bool {
        let Some(lock) = server.lock(key) else {
            return false;
        };
        let is_its = |other: &Claim| {
            let waits = other.id.member == claim.id.member && other.stand == Stand::Asks;
            let owner = other.owner().filter(|owner| **owner != Owner::Anyone);
            waits && owner.is_some_and(|owner| holder_of(owner) == lock.holder)
        };
        let is_open = self.is_open && lock.holder == Holder::Anyone;
        !is_open && lock.attempts[0].member != OLD_NODE && !self.claims.iter().any(is_its)
    }
}
