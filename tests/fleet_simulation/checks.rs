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
//! 7. Of those who wait at one member, no one who came later gets a key first. A grant is passed on so often, and for so
//!    long, as it may be.

use std::sync::Arc;

use medusa_locking_native::core::outcome::Outcome;
use medusa_locking_native::core::owner::Owner;

use super::claims::{Check, Claim, Errand, Stand, What};
use super::ledger::{FAIR_RTT, Ledger};
use super::server::{Holder, Server, holder_of};

/// For how long a grant may be passed on, in ms.
const PASS_MAX: u64 = 50;

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
        self.check_beliefs(now, server)?;
        self.check_answers(now)?;
        self.check_leftovers(now, server)?;
        self.check_own_locks(now, server)
    }

    /// Properties 1 and 6: who believes to hold a lock has it, and who cannot be sure of it knows.
    fn check_beliefs(&self, now: u64, server: &Server) -> Check {
        for claim in self.claims.iter().filter(|claim| claim.believes()) {
            if let Some(end) = claim.lease_ends_at()
                && end < now
            {
                return Err(format!(
                    "property 6: {:?} was not told by {end} that its lease has lapsed",
                    claim.id
                ));
            }
            if claim.is_void {
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
            if claim.answer_by().is_some_and(|by| by < now) {
                return Err(format!("property 3: {claim:?} has no answer yet"));
            }
        }
        for (id, errand) in &self.errands {
            if errand.is_pending() && errand.answer_by() < now {
                return Err(format!("property 3: {id:?}, {errand:?} has no answer yet"));
            }
        }
        Ok(())
    }

    /// Property 2: no lock is kept for nobody.
    fn check_leftovers(&self, now: u64, server: &Server) -> Check {
        for (key, lock) in server.locks() {
            let mut unwanted_since = lock.made_at;
            let mut claims = lock.attempts.iter().flat_map(|id| self.under(*id));
            let is_unwanted = claims.all(|claim| {
                let fair_since = self.fair_since[claim.id.member];
                unwanted_since = unwanted_since.max(claim.since).max(fair_since);
                match claim.stand {
                    Stand::No | Stand::Gone => true,
                    Stand::Over => claim.is_job(),
                    _ => false,
                }
            });
            if is_unwanted && unwanted_since + self.settled_within < now {
                return Err(format!("property 2: nobody wants {key:?}, which is {lock:?}"));
            }
        }
        Ok(())
    }

    /// Property 3: an owner that holds all it asks for has them again, whoever waits for them.
    fn check_own_locks(&self, now: u64, server: &Server) -> Check {
        let waits = |claim: &&Claim| claim.stand == Stand::Asks && claim.queues();
        for claim in self.claims.iter().filter(waits) {
            let Some(owner @ Owner::Named(_)) = claim.owner() else {
                continue;
            };
            let holder = holder_of(owner);
            let mut held_since = claim.asked_at.max(self.fair_since[claim.id.member]);
            let holds = |key: &Arc<str>| {
                server.lock(key).is_some_and(|lock| {
                    held_since = held_since.max(lock.made_at);
                    lock.holder == holder
                })
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

    /// Properties 1, 5 and 7, when a claim was granted. `tokens`: the one that it was told, and that of the lock.
    pub fn check_grant(&mut self, claim: &Claim, tokens: (u64, u64), server: &Server) -> Check {
        let is_same_owner = |other: &Claim| {
            matches!(claim.owner(), Some(Owner::Named(_))) && other.owner() == claim.owner()
        };
        let rival = self.claims.iter().find(|other| {
            let counts = other.id != claim.id && other.believes() && !(other.is_void || claim.is_void);
            counts && other.shares_a_key_with(&claim.keys) && !is_same_owner(other)
        });
        if let Some(rival) = rival {
            return Err(format!("property 1: {:?} and {:?} both believe", rival.id, claim.id));
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
        if claim.is_void { Ok(()) } else { self.check_tokens(claim, tokens, server) }
    }

    /// Property 7: nobody who came before still waits.
    fn check_turn(&self, claim: &Claim) -> Check {
        let overtaken = self.claims.iter().find(|other| {
            let came_first = other.id.member == claim.id.member && other.id.ticket < claim.id.ticket;
            came_first
                && other.stand == Stand::Asks
                && other.queues()
                && other.shares_a_key_with(&claim.keys)
        });
        match overtaken {
            Some(overtaken) if claim.queues() => {
                Err(format!("property 7: {:?} overtook {:?}", claim.id, overtaken.id))
            }
            _ => Ok(()),
        }
    }

    /// Property 5.
    fn check_tokens(&mut self, claim: &Claim, (token, lock_token): (u64, u64), server: &Server) -> Check {
        for key in &claim.keys {
            let last = self.tokens.insert(Arc::clone(key), token).unwrap_or(0);
            if last >= token {
                return Err(format!(
                    "property 5: {key:?} was granted under {last}, then under {token}"
                ));
            }
            if let Some(Holder::Job { token: real, .. }) = server.lock(key).map(|lock| &lock.holder)
                && *real != lock_token
            {
                return Err(format!(
                    "property 5: {key:?} is held under {real}, but {lock_token} was told"
                ));
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
        if grant.keys != heir.keys || grant.passes > self.handoffs || now >= grant.granted_at + PASS_MAX {
            return Err(format!("property 7: {grant:?} was passed on to {:?}", heir.id));
        }
        Ok(())
    }

    /// Property 6: in fair weather a lease does not lapse.
    pub fn check_loss(&self, now: u64, claim: &Claim) -> Check {
        let What::Job { lease, .. } = claim.what else {
            return Ok(());
        };
        if !claim.is_void && self.was_fair_for(claim.id.member, now, lease) {
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
        match server.locks().find(|(key, lock)| errand.concerns(key, lock)) {
            Some((key, lock)) => Err(format!(
                "property 2: {key:?} is still {lock:?} when {outcome:?} is told to {errand:?}"
            )),
            None => Ok(()),
        }
    }

    fn was_fair_for(&self, member: usize, now: u64, span: u64) -> bool {
        self.fair_since[member] + span <= now
    }
}
