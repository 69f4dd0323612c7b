//! The books on all callers, and the properties that are checked on them after every event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use medusa_locking_native::core::fleet::{Answer, Command, Sent};
use medusa_locking_native::core::outcome::{Completion, Outcome};
use medusa_locking_native::core::owner::Owner;

use super::claims::{Check, Claim, Errand, Stand, What};
use super::member::{COMMAND_TIMEOUT, LONGEST_PAUSE};
use super::server::{Attempt, Holder, Note, Server};

/// The longest round trip in fair weather, in ms.
pub const FAIR_RTT: u64 = 30;

/// In fair weather, what is to be done is done within this time, in ms: a command that the server refused is repeated
/// after the longest pause.
const SETTLED_WITHIN: u64 = LONGEST_PAUSE + 10 * FAIR_RTT;

#[derive(Debug, Default)]
pub struct Ledger {
    pub claims: Vec<Claim>,
    by_id: HashMap<Attempt, usize>,
    pub errands: HashMap<Attempt, Errand>,
    /// The last token that was told of each key.
    tokens: BTreeMap<Arc<str>, u64>,
    /// Per member: since when nothing has kept it from the server.
    pub fair_since: Vec<u64>,
    /// Within what time what is to be done is done, in ms.
    settled_within: u64,
    /// Within what time the server answers what it is asked, in ms.
    answered_within: u64,
    /// What was seen, to show that a simulation met what it is about.
    pub seen: BTreeMap<&'static str, u64>,
}

impl Ledger {
    pub fn new(members: usize, fences: bool) -> Self {
        // Commands of an old connection may run for as long as a command takes, and then it is all to be done again.
        let late = if fences { 0 } else { COMMAND_TIMEOUT };
        Ledger {
            fair_since: vec![0; members],
            settled_within: SETTLED_WITHIN + late,
            answered_within: COMMAND_TIMEOUT + late,
            ..Ledger::default()
        }
    }

    pub fn add(&mut self, claim: Claim) {
        self.by_id.insert(claim.id, self.claims.len());
        self.claims.push(claim);
    }

    pub fn claim(&self, id: Attempt) -> Option<&Claim> {
        self.by_id.get(&id).map(|index| &self.claims[*index])
    }

    fn claim_mut(&mut self, id: Attempt) -> Option<&mut Claim> {
        self.by_id.get(&id).map(|index| &mut self.claims[*index])
    }

    fn was_fair_for(&self, member: usize, now: u64, span: u64) -> bool {
        self.fair_since[member] + span <= now
    }

    /// What the server has just done to attempts. `in_order`: it reads everything in the order in which it was sent.
    pub fn note(&mut self, notes: Vec<Note>, in_order: bool) {
        for note in notes {
            let (attempt, void) = match note {
                Note::Took(attempt) => (attempt, false),
                Note::Void(attempt) => (attempt, true),
                Note::Released { by, attempt } => {
                    // Whoever heard what became of its release may lock anew.
                    let told_at = self.errands.get(&by).and_then(|errand| errand.told_at);
                    let asked_at = self.claim(attempt).map_or(0, |claim| claim.asked_at);
                    let is_late = told_at.is_some_and(|told_at| told_at < asked_at);
                    (attempt, !(in_order && is_late && by.member == attempt.member))
                }
            };
            if let Some(claim) = self.claim_mut(attempt) {
                claim.is_void = void;
            }
        }
    }

    /// A member tells its callers something; `cause`: because it got this answer.
    pub fn tell(
        &mut self,
        now: u64,
        member: usize,
        completion: &Completion,
        cause: Option<&Sent>,
        server: &Server,
    ) -> Check {
        let id = Attempt {
            member,
            ticket: completion.ticket,
        };
        let outcome = &completion.outcome;
        *self.seen.entry(name_of(outcome)).or_default() += 1;
        if let Some(errand) = self.errands.get_mut(&id) {
            errand.hear(now, outcome)?;
            let errand = errand.clone();
            return self.check_errand(now, member, &errand, outcome, server);
        }
        let Some(claim) = self.claim_mut(id) else {
            return Err(format!("{outcome:?} was told to {id:?}, who asked for nothing"));
        };
        claim.hear(now, outcome, cause)?;
        let claim = claim.clone();
        match outcome {
            Outcome::Granted(token) | Outcome::Acquired { token, .. } => {
                self.check_grant(&claim, *token, server)
            }
            Outcome::Lost(_) => self.check_loss(now, &claim),
            Outcome::Failed(failure) if failure.code == "REDIS_UNREACHABLE" => {
                self.check_failure(now, member, claim.asked_at)
            }
            _ => Ok(()),
        }
    }

    /// Properties 5 and 7.
    fn check_grant(&mut self, claim: &Claim, token: u64, server: &Server) -> Check {
        let made_it = |key: &Arc<str>| {
            server
                .lock(key)
                .is_some_and(|lock| lock.attempts.first() == Some(&claim.id))
        };
        let is_fresh = claim.is_job() || claim.keys.iter().all(made_it);
        if is_fresh && claim.queues() {
            let overtaken = self.claims.iter().find(|other| {
                other.stand == Stand::Asks
                    && other.queues()
                    && other.id.member == claim.id.member
                    && other.id.ticket < claim.id.ticket
                    && other.shares_a_key_with(&claim.keys)
            });
            if let Some(overtaken) = overtaken {
                return Err(format!("property 7: {:?} overtook {:?}", claim.id, overtaken.id));
            }
        }
        if claim.is_void || !is_fresh {
            return Ok(());
        }
        for key in &claim.keys {
            let last = self.tokens.insert(Arc::clone(key), token).unwrap_or(0);
            if last >= token {
                return Err(format!(
                    "property 5: {key:?} was granted under {last}, then under {token}"
                ));
            }
            if let Some(Holder::Job { token: real, .. }) = server.lock(key).map(|lock| &lock.holder)
                && *real != token
            {
                return Err(format!(
                    "property 5: {key:?} is held under {real}, but {token} was told"
                ));
            }
        }
        Ok(())
    }

    /// Property 6: in fair weather a lease does not lapse.
    fn check_loss(&self, now: u64, claim: &Claim) -> Check {
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
    fn check_failure(&self, now: u64, member: usize, asked_at: u64) -> Check {
        let waited = now - asked_at;
        // Who does not wait for as long as an answer takes has had none.
        if waited > 4 * FAIR_RTT && self.was_fair_for(member, now, waited.min(self.answered_within)) {
            return Err(
                "property 3: in fair weather somebody was told that the server is unreachable".to_owned(),
            );
        }
        Ok(())
    }

    /// Property 2: what was released is released.
    fn check_errand(
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

    /// A renewal's answer has been dealt with. Property 1: who lost its lease knows by now.
    pub fn renewed(&mut self, member: usize, sent: &Sent, answer: &Answer) -> Check {
        let (Command::Renew { leases }, Answer::Renewed(lost)) = (&sent.command, answer) else {
            return Ok(());
        };
        for (lease, lost) in leases.iter().zip(lost) {
            let id = Attempt {
                member,
                ticket: lease.job,
            };
            let Some(claim) = self.claim_mut(id) else { continue };
            match lost {
                None => claim.renewed_at = claim.renewed_at.max(sent.at.as_ms()),
                Some(_) if claim.stand == Stand::Runs => {
                    return Err(format!("property 1: {id:?} was not told that its lease is lost"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

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

    /// Properties 1 and 6.
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

    /// Property 3.
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

    /// Property 2.
    fn check_leftovers(&self, now: u64, server: &Server) -> Check {
        for (key, lock) in server.locks() {
            let mut unwanted_since = lock.made_at;
            let is_unwanted = lock.attempts.iter().all(|id| {
                self.claim(*id).is_some_and(|claim| {
                    unwanted_since = unwanted_since.max(claim.since).max(self.fair_since[id.member]);
                    match claim.stand {
                        Stand::No | Stand::Gone => true,
                        Stand::Over => claim.is_job(),
                        _ => false,
                    }
                })
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
            let holder = super::server::holder_of(owner);
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
}

fn name_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Granted(_) => "granted",
        Outcome::Acquired { .. } => "acquired",
        Outcome::Refused(_) => "refused",
        Outcome::TimedOut(_) => "timed out",
        Outcome::Lost(_) => "lost",
        Outcome::Released(_) => "released",
        Outcome::Failed(_) => "failed",
        Outcome::Finished(true) => "finished",
        Outcome::Finished(false) => "finished too late",
        Outcome::Inspected(_) => "inspected",
        Outcome::Done => "done",
    }
}
