//! The books on all callers: what they asked for, what they were told, what the server did for them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use medusa_locking_native::core::fleet::{Answer, Command, Reserved, Sent};
use medusa_locking_native::core::outcome::{Completion, Outcome};
use medusa_locking_native::core::ticket::Ticket;

use super::claims::{Check, Claim, Errand, ErrandOf, Stand};
use super::member::{COMMAND_TIMEOUT, LONGEST_PAUSE};
use super::plan::Plan;
use super::pollers::Poller;
use super::returns::LeftPlace;
use super::server::{Attempt, Note, Server};
use super::waits::Hands;

/// The longest round trip in fair weather, in ms.
pub const FAIR_RTT: u64 = 30;

/// In fair weather, what is to be done is done within this time, in ms: a command that the server refused is repeated
/// after the longest pause.
const SETTLED_WITHIN: u64 = LONGEST_PAUSE + 10 * FAIR_RTT;

#[derive(Debug, Default)]
pub struct Ledger {
    pub claims: Vec<Claim>,
    /// When each key changed hands.
    pub(super) hands: BTreeMap<&'static str, Hands>,
    pub pollers: Vec<Poller>,
    pub pollers_begun: usize,
    /// Where callers stood that were refused of late.
    pub(super) left: VecDeque<LeftPlace>,
    by_id: HashMap<Attempt, usize>,
    pub errands: HashMap<Attempt, Errand>,
    /// The last token that was told of each key.
    pub tokens: BTreeMap<Arc<str>, u64>,
    /// Whose grant the job had that was the last to end.
    ended_last: Option<Attempt>,
    /// Per member: since when nothing has kept it from the server.
    pub fair_since: Vec<u64>,
    /// Per member: until when its process is frozen.
    pub frozen_until: Vec<u64>,
    /// Since when these may have all that they wait for, in the eyes of the server.
    pub entitled: BTreeMap<Attempt, u64>,
    /// Everybody is served in the order of arrival.
    pub is_strict: bool,
    pub lag: u64,
    /// Within what time what is to be done is done, in ms.
    pub settled_within: u64,
    /// Within what time the server answers what it is asked, in ms.
    pub answered_within: u64,
    /// Locks without an owner are open to all.
    pub is_open: bool,
    /// How often a grant may be passed on.
    pub handoffs: u32,
    /// Per member: whether the server can call it.
    pub has_inbox: Vec<bool>,
    /// What happened, and how often, to show that everything did that is to be survived.
    pub seen: BTreeMap<&'static str, u64>,
}

impl Ledger {
    pub fn new(plan: &Plan) -> Self {
        // Commands of an old connection may run for as long as a command takes; then it is all to be done again.
        let late = if plan.fences { 0 } else { COMMAND_TIMEOUT };
        Ledger {
            fair_since: vec![0; plan.seats],
            frozen_until: vec![0; plan.seats],
            has_inbox: (0..plan.seats).map(|seat| plan.has_inbox(seat)).collect(),
            is_strict: plan.is_strict,
            lag: plan.lag,
            settled_within: SETTLED_WITHIN + late,
            answered_within: COMMAND_TIMEOUT + late,
            is_open: plan.open,
            handoffs: plan.handoffs,
            ..Ledger::default()
        }
    }

    pub fn add(&mut self, mut claim: Claim) {
        self.find_place(&mut claim);
        self.by_id.insert(claim.id, self.claims.len());
        self.claims.push(claim);
    }

    pub fn claim(&self, id: Attempt) -> Option<&Claim> {
        self.by_id.get(&id).map(|index| &self.claims[*index])
    }

    pub fn claim_mut(&mut self, id: Attempt) -> Option<&mut Claim> {
        self.by_id.get(&id).map(|index| &mut self.claims[*index])
    }

    /// Who may have all that it waits for.
    pub fn see_entitled(&mut self, now: u64, server: &Server) {
        let before = std::mem::take(&mut self.entitled);
        let since = |id| (id, before.get(&id).copied().unwrap_or(now));
        self.entitled = server.entitled().map(since).collect();
    }

    pub fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// All that ran or run under this grant.
    pub fn under(&self, grant: Attempt) -> impl Iterator<Item = &Claim> {
        self.claims.iter().filter(move |claim| claim.under == grant)
    }

    fn under_mut(&mut self, grant: Attempt) -> impl Iterator<Item = &mut Claim> {
        self.claims.iter_mut().filter(move |claim| claim.under == grant)
    }

    /// What the server has just done to attempts. `in_order`: it reads everything in the order in which it was sent.
    pub fn note(&mut self, now: u64, notes: Vec<Note>, in_order: bool) -> Check {
        for note in notes {
            let (attempt, is_void) = match note {
                Note::Took(attempt) => (attempt, false),
                Note::Void(attempt) => (attempt, true),
                Note::Endless => return Err("property 8: a script does not end".to_owned()),
                Note::Dropped(attempt) => {
                    self.check_drop(now, attempt)?;
                    continue;
                }
                Note::Reserved(grant) => {
                    if let Some(grant) = self.claim_mut(grant) {
                        grant.passes = 0;
                    }
                    continue;
                }
                // A job that ends has had what it wanted.
                Note::Released { by, .. } if self.claim(by).is_some() => continue,
                Note::Released { by, attempt } => {
                    // Whoever heard what became of its release may lock anew.
                    let told_at = self.errands.get(&by).and_then(|errand| errand.told_at);
                    let asked_at = self.under(attempt).map(|claim| claim.asked_at).max().unwrap_or(0);
                    let is_late = told_at.is_some_and(|told_at| told_at < asked_at);
                    (attempt, !(in_order && is_late && by.member == attempt.member))
                }
            };
            self.under_mut(attempt).for_each(|claim| claim.is_void = is_void);
        }
        Ok(())
    }

    /// A member tells its callers something; `cause`: because it got an answer to this.
    pub fn tell(
        &mut self,
        now: u64,
        member: usize,
        completion: &Completion,
        cause: Option<&Sent>,
        server: &Server,
    ) -> Check {
        let ticket = completion.ticket;
        let id = Attempt { member, ticket };
        let outcome = &completion.outcome;
        self.see(name_of(outcome));
        if let Some(errand) = self.errands.get_mut(&id) {
            errand.hear(now, outcome)?;
            let errand = errand.clone();
            return self.check_errand(now, member, &errand, outcome, server);
        }
        let Some(claim) = self.claim_mut(id) else {
            return Err(format!("{outcome:?} was told to {id:?}, who asked for nothing"));
        };
        claim.hear(now, outcome, cause)?;
        let mut claim = claim.clone();
        if matches!(outcome, Outcome::Granted(_) | Outcome::Acquired { .. }) {
            self.hands_told(now, &claim);
        }
        match outcome {
            Outcome::Granted(token) => {
                if !cause.is_some_and(|sent| is_to_acquire(sent, ticket)) {
                    self.see("passed on");
                    self.inherit(now, &mut claim, cause)?;
                }
                self.check_grant(&claim, *token, server)
            }
            Outcome::Acquired { attempt, token, .. } => {
                let attempt = Attempt {
                    member,
                    ticket: *attempt,
                };
                self.takes_up(&mut claim, attempt)?;
                self.check_grant(&claim, *token, server)
            }
            Outcome::Refused(_) | Outcome::TimedOut(_) => {
                self.leave_place(now, &claim);
                self.check_end_of_wait(now, &claim, server)
            }
            Outcome::Finished(_) => {
                self.ended_last = Some(claim.under);
                Ok(())
            }
            Outcome::Lost(_) => self.check_loss(now, &claim),
            Outcome::Failed(failure) if failure.code == "REDIS_UNREACHABLE" => {
                self.check_failure(now, member, claim.asked_at)
            }
            _ => Ok(()),
        }
    }

    /// A job takes over a grant, as it is: of the one that has just ended, or, where more tokens have come for it, of one that
    /// ended before.
    fn inherit(&mut self, now: u64, heir: &mut Claim, cause: Option<&Sent>) -> Check {
        let reserved = cause.and_then(|sent| reserved_for(heir.id.member, sent));
        let Some(grant) = reserved.or(self.ended_last).and_then(|id| self.claim_mut(id)) else {
            return Err(format!("{:?} was passed a grant that nobody had", heir.id));
        };
        heir.under = grant.id;
        grant.passes += 1;
        let grant = grant.clone();
        let releases =
            |errand: &Errand| matches!(errand.kind, ErrandOf::ReleaseOwn { grant: of } if of == grant.id);
        if self.errands.values().any(releases) {
            return Err(format!(
                "property 1: {:?} was passed a grant that was released",
                heir.id
            ));
        }
        self.check_passing(now, &grant, heir)?;
        (heir.renewed_at, heir.is_void) = (grant.renewed_at, grant.is_void);
        if let Some(claim) = self.claim_mut(heir.id) {
            claim.clone_from(heir);
        }
        Ok(())
    }

    /// A member is about to hear an answer.
    pub fn hears(&mut self, now: u64, member: usize, sent: &Sent, answer: &Answer) -> Check {
        let Some(grant) = reserved_for(member, sent) else {
            return Ok(());
        };
        self.see(match answer {
            Answer::Reserved(Reserved::From(_)) => "more tokens were set aside",
            Answer::Reserved(Reserved::OthersWait) => "more tokens were refused",
            Answer::Reserved(Reserved::Lost(_)) => "a lease was lost that was passed on",
            _ => "more tokens were not to be had",
        });
        if let Some(claim) = self.claim_mut(grant) {
            claim.may_pass_since = now;
            let claim = claim.clone();
            self.check_tenure(sent.at.as_ms(), &claim)?;
        }
        Ok(())
    }

    /// A renewal's answer has been dealt with. Who lost its lease knows it by now.
    pub fn renewed(&mut self, member: usize, sent: &Sent, answer: &Answer) -> Check {
        let (Command::Renew { leases }, Answer::Renewed(lost)) = (&sent.command, answer) else {
            return Ok(());
        };
        for (lease, lost) in leases.iter().zip(lost) {
            let ticket = lease.job;
            for claim in self.under_mut(Attempt { member, ticket }) {
                match lost {
                    None => claim.renewed_at = claim.renewed_at.max(sent.at.as_ms()),
                    Some(_) if claim.stand == Stand::Runs => {
                        return Err(format!(
                            "property 1: {:?} was not told that its lease is lost",
                            claim.id
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// The grant that a member asked more tokens for.
fn reserved_for(member: usize, sent: &Sent) -> Option<Attempt> {
    match sent.command {
        Command::Reserve { job: ticket, .. } => Some(Attempt { member, ticket }),
        _ => None,
    }
}

fn is_to_acquire(sent: &Sent, for_ticket: Ticket) -> bool {
    matches!(&sent.command, Command::Acquire { ticket, .. } if *ticket == for_ticket)
}

fn name_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Granted(_) => "granted",
        Outcome::Acquired { .. } => "acquired",
        Outcome::Refused(_) => "refused",
        Outcome::TimedOut(_) => "timed out",
        Outcome::Lost(_) => "lost",
        Outcome::Released(true) => "released",
        Outcome::Released(false) => "not released",
        Outcome::Outlived(_) => "released too late",
        Outcome::Failed(_) => "failed",
        Outcome::Finished(true) => "finished",
        Outcome::Finished(false) => "finished too late",
        Outcome::Inspected(_) => "inspected",
        Outcome::Done => "done",
    }
}
