//! What must always be so.
//!
//! 1. Exclusion: no two callers believe to hold a key at the same time, unless the two are the same named owner. A job
//!    believes from the news of its grant until it is finished or told that it is lost; an owner, until it releases the
//!    lock or the lock lapses. Where everything was released, or the server lost its data, the earlier one may believe
//!    on: it is told when its lease is renewed next, or lapses.
//! 2. Who was told no, or has gone, has nothing locked in the server, once that can be talked to for a while. What is
//!    told to be released is released.
//! 3. Whoever asks gets exactly one answer, and gets it in time, whatever the link does; that the server cannot be
//!    reached is told only where that was so; and an owner that holds all that it asks for is not kept waiting.
//! 4. After everything has calmed down and everybody has given back what he has, everybody who waited has been served,
//!    the members have nothing left to do, and nothing of theirs is left in the server.
//! 5. The tokens of a key rise from grant to grant.
//! 6. Leases are renewed for as long as the server can be talked to and the callers' thread is alive. A job is told that
//!    its lease has lapsed before the server lets it lapse.
//! 7. Of those who wait at one member for the same keys, no one who came later gets them first, and but one asks for them. A
//!    grant is passed on so often, and for so long, as it may be. Where links do not break and no lease is passed on,
//!    nobody in the fleet gets a key before somebody who asked earlier.
//! 8. In fair weather, nobody who waits is taken for gone; what is handed over is claimed at once; and no lock is free
//!    for long while somebody may have it.
//! 9. Who keeps asking is served before those who asked when its request was kept already; who does not come back holds up
//!    nobody for longer than a second and what it takes to cancel.
//! 10. A default wait ends where a lock has not changed hands for its span, and no later than that is found out; or at its
//!     last moment.

use std::collections::VecDeque;
use std::sync::Arc;

use medusa_locking_native::core::fleet::{Command, Sent};
use medusa_locking_native::core::outcome::Outcome;
use medusa_locking_native::core::owner::Owner;

use super::claims::{Check, Claim, Errand, Stand, What};
use super::handover::CLAIM_MS;
use super::ledger::{FAIR_RTT, Ledger};
use super::plan::Wait;
use super::server::{Attempt, Holder, Locked, OLD_NODE, Server, holder_of};

/// For how long a grant may be passed on after the server has said so, in ms.
const PASS_MAX: u64 = 50;

/// For how long after a grant the server may be asked whether it may be passed on further, in ms.
const TENURE_MAX: u64 = 250;

/// For how long a member that waits does not ask, with some time for the pauses and the way, in ms.
const POLL_MAX: u64 = 1_000 + 300 + 4 * FAIR_RTT;

impl Ledger {
    /// Everything that can be checked at any moment.
    pub fn check(&mut self, now: u64, server: &Server) -> Check {
        for claim in &mut self.claims {
            if let Stand::Holds { until } = claim.stand
                && (claim.is_void || until.is_some_and(|until| until <= now))
            {
                claim.stands(now, Stand::Over);
            }
        }
        self.see_hands(now, server);
        self.check_stuck(now, server)?;
        self.check_beliefs(now, server)?;
        self.check_answers(now)?;
        self.check_leftovers(now, server)?;
        self.check_own_locks(now, server)?;
        self.check_calls(now, server)
    }

    /// Properties 1 and 6: who believes to hold a lock has it, and who cannot be sure of it knows.
    fn check_beliefs(&self, now: u64, server: &Server) -> Check {
        for claim in self.claims.iter().filter(|claim| claim.believes()) {
            if let Some(end) = claim.lease_ends_at()
                && end < now
                && !self.is_frozen(claim.id.member, now)
            {
                return Err(format!(
                    "property 6: {:?} was not told by {end} that its lease has lapsed",
                    claim.id
                ));
            }
            if claim.is_void || self.is_frozen(claim.id.member, now) {
                continue;
            }
            for key in &claim.keys {
                let lock = server.lock(key);
                if !lock.is_some_and(|lock| claim.is_in(lock)) {
                    return Err(format!(
                        "property 1: {:?} believes to hold {key:?}, which is {lock:?}",
                        claim.id
                    ));
                }
            }
        }
        Ok(())
    }

    /// Property 3: who is to be answered by now is.
    fn check_answers(&self, now: u64) -> Check {
        for claim in &self.claims {
            if claim.answer_by().is_some_and(|by| by < now) && !self.is_frozen(claim.id.member, now) {
                return Err(format!("property 3: {claim:?} has no answer yet"));
            }
            let is_kept = claim.stand == Stand::Asks && claim.asked_at + self.settled_within < now;
            let does_not_wait = matches!(claim.wait, Wait::Not);
            if is_kept && does_not_wait && self.was_fair_for(claim.id.member, now, self.settled_within) {
                return Err(format!("property 3: {:?} is kept waiting", claim.id));
            }
        }
        for (id, errand) in &self.errands {
            if errand.is_pending() && errand.answer_by() < now && !self.is_frozen(id.member, now) {
                return Err(format!("property 3: {id:?}, {errand:?} has no answer yet"));
            }
        }
        Ok(())
    }

    /// Property 2: no lock is kept for nobody.
    fn check_leftovers(&self, now: u64, server: &Server) -> Check {
        for (key, lock) in server.locks() {
            if lock.attempts[0].member == OLD_NODE {
                continue;
            }
            let mut unwanted_since = lock.made_at;
            let mut claims = lock.attempts.iter().flat_map(|id| self.under(*id));
            let mut settled_within = self.settled_within;
            let is_unwanted = claims.all(|claim| {
                let fair_since = self.fair_since[claim.id.member];
                unwanted_since = unwanted_since.max(claim.since).max(fair_since);
                match claim.stand {
                    Stand::No => {
                        let (kept, refused_at) = self.is_kept_for(claim);
                        settled_within = settled_within.max(kept.saturating_add(self.settled_within));
                        unwanted_since = unwanted_since.max(refused_at);
                        kept < u64::MAX
                    }
                    Stand::Gone => true,
                    Stand::Over => claim.is_job(),
                    _ => false,
                }
            });
            // Whose an adopted lock is when that is undone, is not said.
            let is_adopted = self.is_open
                && lock
                    .attempts
                    .iter()
                    .any(|id| self.owner_of(*id) != self.owner_of(lock.attempts[0]));
            if is_unwanted && !is_adopted && unwanted_since + settled_within < now {
                return Err(format!("property 2: nobody wants {key:?}, which is {lock:?}"));
            }
        }
        Ok(())
    }

    pub fn owner_of(&self, id: Attempt) -> Option<&Owner> {
        self.claim(id).and_then(Claim::owner)
    }

    /// Property 3: an owner that has taken all it asks for at this member has them again, whoever waits for them.
    fn check_own_locks(&self, now: u64, server: &Server) -> Check {
        let waits = |claim: &&Claim| claim.stand == Stand::Asks && claim.queues();
        for claim in self.claims.iter().filter(waits) {
            let Some(owner @ Owner::Named(_)) = claim.owner() else {
                continue;
            };
            let holder = holder_of(owner);
            let mut held_since = claim.asked_at.max(self.fair_since[claim.id.member]);
            let holds = |key: &Arc<str>| {
                let Some(lock) = server.lock(key).filter(|lock| lock.holder == holder) else {
                    return false;
                };
                let others = lock.attempts.iter().filter(|id| **id != claim.id);
                let here = others.filter(|id| id.member == claim.id.member);
                let told_at = here
                    .flat_map(|id| self.under(*id))
                    .find(|other| {
                        let was_told = matches!(other.stand, Stand::Holds { .. } | Stand::Over);
                        was_told && other.owner() == claim.owner()
                    })
                    .map(|other| other.since);
                held_since = held_since.max(lock.made_at).max(told_at.unwrap_or_default());
                told_at.is_some()
            };
            if claim.keys.iter().all(holds) && held_since + self.settled_within < now {
                return Err(format!(
                    "property 3: {:?} waits for locks that its owner has",
                    claim.id
                ));
            }
        }
        Ok(())
    }

    /// Properties 1, 5 and 7, when a claim was granted.
    pub fn check_grant(&mut self, claim: &Claim, token: u64, server: &Server) -> Check {
        // What has lapsed on the way is nobody's.
        if !claim.believes() {
            return Ok(());
        }
        let is_same_owner =
            |other: &Claim| matches!(claim.owner(), Some(Owner::Named(_))) && other.owner() == claim.owner();
        let rival = self.claims.iter().find(|other| {
            let is_good = other.lease_ends_at().is_none_or(|end| end >= claim.since);
            let counts =
                other.id != claim.id && other.believes() && is_good && !(other.is_void || claim.is_void);
            counts && other.shares_a_key_with(&claim.keys) && !is_same_owner(other)
        });
        if let Some(rival) = rival {
            return Err(format!(
                "property 1: {:?} and {:?} both believe",
                rival.id, claim.id
            ));
        }
        let took_it = |key: &Arc<str>| {
            let maker = server.lock(key).and_then(|lock| lock.attempts.first());
            maker == Some(&claim.under)
        };
        // Who takes a lock again that its owner has is not held up by those who wait for it.
        if !claim.keys.iter().all(took_it) {
            return Ok(());
        }
        self.check_turn(claim)?;
        self.check_order(claim)?;
        self.check_pollers(claim.since, claim)?;
        if claim.is_void {
            Ok(())
        } else {
            self.check_tokens(claim, token, server)
        }
    }

    /// Property 7: nobody who came before still waits.
    fn check_turn(&self, claim: &Claim) -> Check {
        let overtaken = self.claims.iter().find(|other| {
            let came_first = other.id.member == claim.id.member && other.id.ticket < claim.place;
            came_first && other.stand == Stand::Asks && other.queues() && other.keys == claim.keys
        });
        match overtaken {
            Some(overtaken) if claim.queues() && !claim.may_be_beside => {
                Err(format!("property 7: {:?} overtook {:?}", claim.id, overtaken.id))
            }
            _ => Ok(()),
        }
    }

    /// Property 7: nobody who asked before still waits, wherever.
    fn check_order(&self, claim: &Claim) -> Check {
        let margin = 4 * self.lag + 5;
        let overtaken = self.claims.iter().find(|other| {
            let waits = other.stand == Stand::Asks && !matches!(other.wait, Wait::Not);
            waits && other.asked_at + margin < claim.asked_at && other.shares_a_key_with(&claim.keys)
        });
        match overtaken.filter(|_| self.is_strict) {
            Some(overtaken) => Err(format!(
                "property 7: {:?} came before {:?}",
                claim.id, overtaken.id
            )),
            None => Ok(()),
        }
    }

    /// Property 8: who waits and can hear is not taken for gone.
    pub fn check_drop(&self, now: u64, id: Attempt) -> Check {
        let waits = self.claim(id).is_some_and(|claim| claim.stand == Stand::Asks);
        if waits && self.was_fair_for(id.member, now, CLAIM_MS + 4 * FAIR_RTT) {
            return Err(format!("property 8: {id:?} was taken for gone"));
        }
        Ok(())
    }

    /// Property 8: what is handed over is claimed, and what is free is taken.
    fn check_calls(&self, now: u64, server: &Server) -> Check {
        for (key, lock) in server
            .locks()
            .filter(|(key, lock)| server.is_unclaimed(key, lock))
        {
            let id = lock.attempts[0];
            let waits = self.claim(id).is_some_and(|claim| claim.stand == Stand::Asks);
            let within = if waits && self.has_inbox[id.member] {
                4 * FAIR_RTT
            } else {
                POLL_MAX
            };
            if now > lock.made_at + within && self.was_fair_for(id.member, now, self.settled_within + within)
            {
                return Err(format!(
                    "property 8: {id:?} has not claimed {key:?}, which is {lock:?}"
                ));
            }
        }
        for (id, since) in &self.entitled {
            // Whose caller is away asks when that is back, and once more if that was while the lock was left free.
            let is_away = self.claim(*id).is_some_and(|claim| claim.stand == Stand::No);
            let within = if is_away { 2 * POLL_MAX } else { POLL_MAX };
            if now > since + within && self.was_fair_for(id.member, now, self.settled_within + within) {
                return Err(format!("property 8: {id:?} waits for what is free"));
            }
        }
        Ok(())
    }

    fn is_frozen(&self, member: usize, now: u64) -> bool {
        self.frozen_until[member] >= now
    }

    /// Property 5.
    fn check_tokens(&mut self, claim: &Claim, token: u64, server: &Server) -> Check {
        for key in &claim.keys {
            let last = self.tokens.insert(Arc::clone(key), token).unwrap_or(0);
            if last >= token {
                return Err(format!(
                    "property 5: {key:?} was granted under {last}, then under {token}"
                ));
            }
            if let Some(Holder::Job { token: real, .. }) = server.lock(key).map(|lock| &lock.holder)
                && *real != token
                && claim.under == claim.id
            {
                return Err(format!(
                    "property 5: {key:?} is held under {real}, but {token} was told"
                ));
            }
        }
        Ok(())
    }

    /// Property 7: of those who wait for the same keys at one member, only the first asks for them, until it is known what became
    /// of that.
    pub fn check_asking(&self, member: usize, flights: &VecDeque<Sent>) -> Check {
        let asking = flights.iter().filter_map(|sent| match &sent.command {
            Command::Acquire {
                ticket,
                must_hold: false,
                ..
            } => self.claim(Attempt {
                member,
                ticket: *ticket,
            }),
            _ => None,
        });
        let waits = |claim: &&Claim| claim.stand == Stand::Asks && claim.queues();
        let asking: Vec<&Claim> = asking.filter(waits).collect();
        for (index, claim) in asking.iter().enumerate() {
            let other = asking[..index].iter().find(|other| other.keys == claim.keys);
            if let Some(other) = other {
                return Err(format!("property 7: {:?} and {:?} both ask", other.id, claim.id));
            }
        }
        Ok(())
    }

    /// Properties 1 and 7, when a grant was passed on to `heir`.
    pub fn check_passing(&self, now: u64, grant: &Claim, heir: &Claim) -> Check {
        if self
            .under(grant.id)
            .any(|claim| claim.id != heir.id && claim.believes())
        {
            return Err(format!("property 1: {:?} was passed a grant in use", heir.id));
        }
        if grant.keys != heir.keys || grant.passes > self.handoffs || now >= grant.may_pass_since + PASS_MAX {
            return Err(format!("property 7: {grant:?} was passed on to {:?}", heir.id));
        }
        Ok(())
    }

    /// Property 7, when the server was asked at `sent_at` whether a grant may be passed on further.
    pub fn check_tenure(&self, sent_at: u64, grant: &Claim) -> Check {
        if sent_at >= grant.granted_at + TENURE_MAX || self.handoffs == 0 {
            return Err(format!("property 7: more was asked for than {grant:?} may have"));
        }
        Ok(())
    }

    /// Property 6: in fair weather a lease does not lapse, since it is renewed after a third of it at the latest.
    pub fn check_loss(&self, now: u64, claim: &Claim) -> Check {
        let What::Job { lease, .. } = claim.what else {
            return Ok(());
        };
        if !claim.is_void && self.was_fair_for(claim.id.member, now, lease / 3 + 4 * FAIR_RTT) {
            return Err(format!(
                "property 6: {:?} lost its lease in fair weather",
                claim.id
            ));
        }
        Ok(())
    }

    /// Property 3: in fair weather nobody hears that there is no server.
    pub fn check_failure(&self, now: u64, member: usize, asked_at: u64) -> Check {
        let waited = now - asked_at;
        // Who does not wait for as long as an answer takes has had none.
        if waited > 4 * FAIR_RTT && self.was_fair_for(member, now, waited.min(self.answered_within)) {
            return Err("property 3: in fair weather the server was told to be unreachable".to_owned());
        }
        Ok(())
    }

    /// Property 2: what is told to be released is released.
    pub fn check_errand(
        &self,
        now: u64,
        member: usize,
        errand: &Errand,
        outcome: &Outcome,
        server: &Server,
    ) -> Check {
        if let Outcome::Failed(failure) = outcome {
            return match failure.code {
                "REDIS_UNREACHABLE" => self.check_failure(now, member, errand.asked_at),
                _ => Ok(()),
            };
        }
        // An open lock may be somebody else's for as long as it takes to undo what he asked for.
        let counts = |lock: &Locked| !(self.is_open && lock.holder == Holder::Anyone);
        match server
            .locks()
            .find(|(key, lock)| counts(lock) && errand.concerns(key, lock))
        {
            Some((key, lock)) => Err(format!(
                "property 2: {key:?} is still {lock:?} when {outcome:?} is told to {errand:?}"
            )),
            None => Ok(()),
        }
    }

    pub fn was_fair_for(&self, member: usize, now: u64, span: u64) -> bool {
        self.fair_since[member] + span <= now
    }
}
