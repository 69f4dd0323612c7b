//! Passing a lease on between the jobs of one process, without asking the server.
//!
//! When a job ends and the next one in the local queue wants exactly the same keys for as long a lease, the lease
//! passes to it: the server sees one holder, and nobody waits for a round trip. Lock cohorting, after Dice, Marathe
//! and Shavit (PPoPP 2012): the number of passes, and the time that they take, are bounded, so that other processes
//! are not starved.
//!
//! Each pass looks at the lease's deadline again, and each job gets a fencing token of its own, of a block that the server
//! has set aside: with the grant, as many as there were waiters to pass to, so that a lock that nobody else waits for costs
//! one token. Before a block is used up, the next one is asked for while the jobs go on. The server gives it only if
//! nobody else waits at that moment, and it takes the place of what is left of the one before: so whoever comes waits for
//! one block at the most, however long the lease has been passed on. Only jobs pass: the lock of a named owner can be
//! released from any process, so it lives in Redis under its own name.

use std::time::Duration;

use super::lease::{Grant, NOT_ITS_OWN};
use super::{Answer, Command, Fleet, Reserved};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::Outcome;
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

/// The longest time for which a lease is passed on after the server has said that it may be.
const PASS_MAX: Duration = Duration::from_millis(50);

/// The longest time for which one grant is passed on, also where nobody else waits in the server's queues: nodes that know
/// no queue have their turn between grants only.
const TENURE_MAX: Duration = Duration::from_millis(250);

/// The least tokens that are asked for while a lease is passed on: some come to stand behind it meanwhile.
const RESERVE_MIN: usize = 16;

/// How far a lease may still be passed on.
#[derive(Debug)]
pub(super) struct Passes {
    /// How often it was.
    made: u32,
    /// How often it may be in all.
    allowed: u32,
    /// The last token that was given out. As many behind it are set aside as passes are left.
    last_token: u64,
    /// Until when.
    until: Moment,
    /// Until when another block may be asked for.
    tenure_ends_at: Moment,
    /// Others have their turn after this grant.
    is_refused: bool,
    /// It is not passed on any more: this member has had its lock released.
    is_closed: bool,
    /// How many blocks are on their way.
    on_the_way: u32,
    /// How often it may be in all when the last of these has come.
    awaited: u32,
}

impl Passes {
    /// Of a lease that was just granted.
    pub(super) fn new(now: Moment, grant: &Grant) -> Self {
        Passes {
            made: 0,
            allowed: grant.reserved,
            last_token: grant.token,
            until: now.after(PASS_MAX),
            tenure_ends_at: now.after(TENURE_MAX),
            // To ask would be in vain, and cost others: they are behind this grant.
            is_refused: grant.is_contended,
            is_closed: false,
            on_the_way: 0,
            awaited: 0,
        }
    }

    fn may_pass(&self, now: Moment) -> bool {
        self.made < self.allowed && now < self.until && !self.is_closed
    }

    /// The next job's token.
    pub(super) fn pass(&mut self) -> u64 {
        self.made += 1;
        self.last_token += 1;
        self.last_token
    }

    /// Whether so many who stand behind need another block, and it is time to ask for it: with half a block left, so that
    /// it comes before that is used up, if it takes as long as half a block of jobs; a second one, if it takes longer.
    fn needs_more(&self, now: Moment, behind: usize, block: u32) -> bool {
        let left = self.allowed.max(self.awaited) - self.made;
        !self.is_refused
            && !self.is_closed
            && behind > left as usize
            && left <= block / 2
            && now < self.tenure_ends_at
    }

    /// Asks for a block: how often it was passed on until now.
    fn ask(&mut self, block: u32) -> u32 {
        self.on_the_way += 1;
        self.awaited = self.made.saturating_add(block);
        self.made
    }

    fn is_more_on_its_way(&self) -> bool {
        self.on_the_way > 0 && !self.is_refused && !self.is_closed
    }

    /// A block has come that was asked for when it had been passed on `made` times. The passes since count: the server may
    /// have said so before them. One that was sent twice may come after a later one, and allow nothing more: then it is a gap
    /// in the tokens, for the tokens of the later one are those that are left.
    fn came(&mut self, now: Moment, first: u64, block: u32, made: u32) {
        self.on_the_way = self.on_the_way.saturating_sub(1);
        let allowed = made.saturating_add(block);
        if allowed > self.allowed {
            self.allowed = allowed;
            self.last_token = first.saturating_sub(1);
            self.until = now.after(PASS_MAX);
        }
    }

    fn refused(&mut self) {
        self.on_the_way = self.on_the_way.saturating_sub(1);
        self.is_refused = true;
    }

    /// Its lock is being released: whoever comes next has a grant of its own.
    fn close(&mut self) {
        self.is_closed = true;
    }

    /// The answer to what is on its way will never come. A block that nobody hears of is a gap in the tokens.
    pub(super) fn link_down(&mut self) {
        (self.on_the_way, self.awaited) = (0, 0);
    }
}

/// Under whose name the server knows the lock of a job.
pub(super) enum KnownAs {
    /// Of the job that it was granted to, under this token.
    Grant(Ticket, u64),
    /// Of none: the job has ended, and its lease was passed on.
    Nobody,
    /// Its own, for all that is known here: it is another member's, or over.
    Itself,
}

/// A block of tokens that was asked for.
pub(super) struct Asked<'c> {
    /// For a lease on these.
    pub keys: &'c KeySet,
    /// How many.
    pub count: u32,
    /// When the lease had been passed on so often.
    pub passes: u32,
}

/// How many fencing tokens to set aside for so many jobs.
fn tokens_for(jobs: usize, local_handoffs: u32) -> u32 {
    u32::try_from(jobs).unwrap_or(u32::MAX).min(local_handoffs)
}

impl Fleet {
    /// The grant under whose name `job` holds its keys: its own, or the one that was passed on to it.
    pub(super) fn grant_of(&self, job: Ticket) -> Ticket {
        self.passed.get(&job).copied().unwrap_or(job)
    }

    /// Under whose name the server knows the lock of `job`, the id of a job of this process.
    pub(super) fn known_as(&self, job: Ticket) -> KnownAs {
        let grant = self.grant_of(job);
        match self.leases.get(&grant) {
            Some(lease) if lease.is_of(job) => KnownAs::Grant(grant, lease.token()),
            Some(_) => KnownAs::Nobody,
            None => KnownAs::Itself,
        }
    }

    /// The lock of `grant`, or where it is None of all, is about to be released, by this member and not by its job's end: it is
    /// passed on to nobody.
    pub(super) fn stop_passing(&mut self, grant: Option<Ticket>) {
        match grant {
            Some(grant) => {
                if let Some(lease) = self.leases.get_mut(&grant) {
                    lease.passes.close();
                }
            }
            None => self.leases.values_mut().for_each(|lease| lease.passes.close()),
        }
    }

    /// `job` has ended; gives its lease to the next job here that can take it over as it is. Where the tokens for that are
    /// on their way, it waits for them: that is shorter than to release and ask. False: there is no such job, or it is the
    /// other processes' turn.
    pub(super) fn pass_on(&mut self, now: Moment, job: Ticket) -> bool {
        let grant = self.grant_of(job);
        let Some(heir) = self.heir(now, grant) else {
            return false;
        };
        let Some(lease) = self.leases.get_mut(&grant) else {
            return false;
        };
        let may_pass = lease.passes.may_pass(now);
        if !may_pass && !lease.passes.is_more_on_its_way() {
            return false;
        }
        lease.is_idle = true;
        self.passed.remove(&job);
        self.tell(job, Outcome::Finished(true));
        if may_pass {
            self.pass_to(now, grant, heir);
        }
        true
    }

    /// Who can take over this grant: the next one of its line, if the lease is good.
    fn heir(&mut self, now: Moment, grant: Ticket) -> Option<Ticket> {
        let lease = self.leases.get(&grant).filter(|lease| lease.is_good(now))?;
        let (span, keys) = (lease.span(), lease.keys().clone());
        let heir = self.patient_heir(now, &keys)?;
        self.asks.get(&heir)?.may_inherit(span).then_some(heir)
    }

    fn pass_to(&mut self, now: Moment, grant: Ticket, heir: Ticket) {
        self.remove_ask(heir);
        let Some(lease) = self.leases.get_mut(&grant) else {
            return;
        };
        let before = lease.job();
        let token = lease.pass_to(heir);
        self.lines.leave(before, lease.keys());
        self.lines.moved(now, lease.keys());
        self.passed.insert(heir, grant);
        self.tell(heir, Outcome::Granted(token));
        self.reserve_more(now, grant);
    }

    /// Asks for another block of tokens for this grant, if those who stand behind need one.
    pub(super) fn reserve_more(&mut self, now: Moment, grant: Ticket) {
        if !self.lines.has_anybody_behind() || !self.is_up() {
            return;
        }
        let handoffs = self.config.local_handoffs;
        let Some(lease) = self.leases.get_mut(&grant).filter(|lease| lease.is_good(now)) else {
            return;
        };
        let keys = lease.keys();
        let behind = self.lines.behind(keys);
        let count = tokens_for(behind.max(RESERVE_MIN), handoffs);
        if count == 0 || !lease.passes.needs_more(now, behind, count) {
            return;
        }
        let heir = self.lines.heir(keys).and_then(|heir| self.asks.get(&heir));
        if !heir.is_some_and(|heir| heir.may_inherit(lease.span())) {
            return;
        }
        let (token, keys) = (lease.token(), keys.clone());
        let passes = lease.passes.ask(count);
        self.send(Command::Reserve {
            job: grant,
            token,
            keys,
            count,
            passes,
        });
    }

    /// The same for whoever holds `keys`, if that is a job of this member: somebody has come to stand behind it.
    pub(super) fn reserve_more_of(&mut self, now: Moment, keys: &KeySet) {
        if let Some(first) = self.lines.first(keys) {
            self.reserve_more(now, self.grant_of(first));
        }
    }

    pub(super) fn reserve_answered(
        &mut self,
        now: Moment,
        grant: Ticket,
        asked: &Asked<'_>,
        answer: &Answer,
    ) {
        let Some(lease) = self.leases.get_mut(&grant) else {
            return;
        };
        match answer {
            Answer::Reserved(Reserved::From(first)) => {
                lease.passes.came(now, *first, asked.count, asked.passes);
            }
            Answer::Reserved(Reserved::Lost(index)) => {
                lease.passes.refused();
                let key = asked.keys.as_slice().get(*index).map_or("", |key| key);
                return self.lose(now, grant, key, NOT_ITS_OWN);
            }
            _ => lease.passes.refused(),
        }
        if !lease.is_idle {
            return;
        }
        let may_pass = lease.passes.may_pass(now);
        let may_wait = lease.passes.is_more_on_its_way();
        match self.heir(now, grant) {
            Some(heir) if may_pass => self.pass_to(now, grant, heir),
            Some(_) if may_wait => {}
            _ => self.give_back(now, grant, false),
        }
    }

    /// Gives back the leases that wait for an answer that will never come.
    pub(super) fn give_back_idle(&mut self, now: Moment) {
        let idle = self.leases.iter().filter(|(_, lease)| lease.is_idle);
        let mut idle: Vec<Ticket> = idle.map(|(grant, _)| *grant).collect();
        idle.sort_unstable();
        for grant in idle {
            self.give_back(now, grant, false);
        }
    }

    /// Says in a request how many stand behind it: when it is sent, for those who came while it waited to be sent need
    /// tokens as well.
    pub(super) fn count_behind(&self, command: &mut Command) {
        let Command::Acquire {
            keys,
            owner,
            must_hold: false,
            reserve,
            wait,
            more,
            ..
        } = command
        else {
            return;
        };
        let is_job = matches!(owner, Owner::Job(_));
        if !self.lines.has_anybody_behind() || (!is_job && wait.is_none()) {
            return;
        }
        let behind = self.lines.behind(keys);
        *more = behind > 0;
        if is_job {
            *reserve = tokens_for(behind, self.config.local_handoffs);
        }
    }
}

#[cfg(test)]
#[path = "cohort_tests.rs"]
pub(super) mod tests;
