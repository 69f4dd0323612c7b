//! The callers: what each one asked for, what it was told, and what it believes since.

use medusa_locking_native::core::fleet::Sent;
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::outcome::Outcome;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::ticket::Ticket;

use super::member::COMMAND_TIMEOUT;
use super::plan::Wait;
use super::server::{Attempt, Holder, Locked, holder_of};

/// The end of a simulation that found something: what.
pub type Check<T = ()> = Result<T, String>;

/// What a request is for.
#[derive(Clone, Debug)]
pub enum What {
    Job { lease: u64, runs_for: u64, heeds: bool },
    Lock { owner: Owner, expire: Option<u64> },
}

/// Where a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It has no answer yet.
    Asks,
    /// Its job runs, and it believes to hold its keys.
    Runs,
    /// Its job runs, and it knows that its keys are lost.
    Lost,
    /// Its job has ended; it waits to hear how that went.
    Finishing,
    /// It believes to hold its keys, until then on our clock.
    Holds { until: Option<u64> },
    /// It was told no.
    No,
    /// It does not wait any more, and is to be told nothing.
    Gone,
    /// It had what it wanted.
    Over,
}

/// One request for locks.
#[derive(Clone, Debug)]
pub struct Claim {
    pub id: Attempt,
    pub keys: KeySet,
    pub what: What,
    pub wait: Wait,
    pub asked_at: u64,
    pub stand: Stand,
    /// Under whose grant its job runs: its own, or the one that was passed on to it. Of a lock, the request that got it: its
    /// own, or an earlier one of a caller that came back.
    pub under: Attempt,
    /// It does not stand before this one's place.
    pub place: Ticket,
    /// It may stand in no local queue, as those that its caller made before.
    pub may_be_beside: bool,
    /// How often its grant was passed on since the server last said that it may be.
    pub passes: u32,
    pub granted_at: u64,
    /// When the member heard so last.
    pub may_pass_since: u64,
    /// Since when it stands there.
    pub since: u64,
    /// Its locks were released by others, or lost with the server's data: it need not have what it believes to have.
    pub is_void: bool,
    /// When the last command that won it its lease was sent.
    pub renewed_at: u64,
    /// When its job ends.
    pub ends_at: Option<u64>,
    was_told_lost: bool,
    /// The poller that made it.
    pub poller: Option<usize>,
    /// It was told of a failure.
    pub has_failed: bool,
}

impl Claim {
    pub fn new(id: Attempt, keys: KeySet, what: What, wait: Wait, asked_at: u64) -> Self {
        Claim {
            id,
            keys,
            what,
            wait,
            asked_at,
            stand: Stand::Asks,
            under: id,
            place: id.ticket,
            may_be_beside: false,
            passes: 0,
            granted_at: 0,
            may_pass_since: 0,
            since: asked_at,
            is_void: false,
            renewed_at: 0,
            ends_at: None,
            was_told_lost: false,
            poller: None,
            has_failed: false,
        }
    }

    pub fn is_job(&self) -> bool {
        matches!(self.what, What::Job { .. })
    }

    /// Whether it queues behind others of its member.
    pub fn queues(&self) -> bool {
        self.is_job() || !matches!(self.wait, Wait::Not)
    }

    pub fn owner(&self) -> Option<&Owner> {
        match &self.what {
            What::Job { .. } => None,
            What::Lock { owner, .. } => Some(owner),
        }
    }

    pub fn believes(&self) -> bool {
        matches!(self.stand, Stand::Runs | Stand::Holds { .. })
    }

    /// Whether nobody can tell it from `other`: so who comes back for the one may get the other.
    pub fn is_like(&self, other: &Claim) -> bool {
        let is_same = match (&self.what, &other.what) {
            (
                What::Lock { owner, expire },
                What::Lock {
                    owner: others,
                    expire: its,
                },
            ) => owner == others && expire == its,
            _ => false,
        };
        is_same && self.id.member == other.id.member && self.keys == other.keys
    }

    pub fn wants(&self, key: &str) -> bool {
        self.keys.iter().any(|wanted| **wanted == *key)
    }

    pub fn shares_a_key_with(&self, keys: &KeySet) -> bool {
        self.keys.iter().any(|key| keys.as_slice().contains(key))
    }

    /// Whether `lock` is what it took.
    pub fn is_in(&self, lock: &Locked) -> bool {
        match (&lock.holder, self.owner()) {
            (Holder::Job { attempt, .. }, None) => *attempt == self.under,
            (Holder::Named(_), Some(owner)) => lock.holder == holder_of(owner),
            (Holder::Anyone, Some(Owner::Anyone)) => lock.attempts.contains(&self.under),
            _ => false,
        }
    }

    /// By when it is to be answered.
    pub fn answer_by(&self) -> Option<u64> {
        match (self.stand, self.wait) {
            (Stand::Asks, Wait::Not) => Some(self.asked_at + COMMAND_TIMEOUT),
            (Stand::Asks, Wait::Ms(ms)) => Some(self.asked_at + ms),
            (Stand::Asks, Wait::Moving { span, most }) => Some(self.asked_at + most.max(span)),
            (Stand::Finishing, _) => Some(self.since + COMMAND_TIMEOUT),
            _ => None,
        }
    }

    /// Until when a lease or a lock is good that was won by a command sent at `sent_at`. Later than any member may
    /// believe in it, and not later than any server forgets it.
    fn good_until(sent_at: u64, span: u64) -> u64 {
        sent_at + span - span * 15 / 1000 - 1
    }

    /// By when it must have been told that its lease is lost.
    pub fn lease_ends_at(&self) -> Option<u64> {
        match (self.stand, &self.what) {
            (Stand::Runs, What::Job { lease, .. }) => Some(Self::good_until(self.renewed_at, *lease)),
            _ => None,
        }
    }

    pub fn stands(&mut self, now: u64, stand: Stand) {
        (self.stand, self.since) = (stand, now);
    }

    /// It hears `outcome`; `sent`: on the answer to this.
    pub fn hear(&mut self, now: u64, outcome: &Outcome, sent: Option<&Sent>) -> Check {
        let sent_at = sent.map_or(now, |sent| sent.at.as_ms());
        let next = match (self.stand, outcome, &self.what) {
            // By an answer of the server, or passed on by another job, whose lease it takes over.
            (Stand::Asks, Outcome::Granted(_), What::Job { runs_for, .. }) => {
                (self.renewed_at, self.granted_at, self.may_pass_since) = (sent_at, now, now);
                self.ends_at = Some(now + runs_for);
                Stand::Runs
            }
            (Stand::Asks, Outcome::Acquired { keys, owner, .. }, What::Lock { owner: own, expire })
                if *keys == self.keys && owner == own =>
            {
                let until = expire.map(|span| Self::good_until(sent_at, span));
                // A lock that may have lapsed on the way is the caller's to see to.
                if until.is_some_and(|until| until <= now) {
                    Stand::Over
                } else {
                    Stand::Holds { until }
                }
            }
            (Stand::Asks, Outcome::Refused(key) | Outcome::TimedOut(key), _)
                if self.keys.as_slice().contains(key) && self.may_be_refused(now, outcome) =>
            {
                Stand::No
            }
            (Stand::Asks, Outcome::Failed(_), _) => {
                self.has_failed = true;
                Stand::No
            }
            (Stand::Runs, Outcome::Lost(_), What::Job { heeds, .. }) => {
                self.was_told_lost = true;
                if *heeds {
                    self.ends_at = Some(now);
                }
                Stand::Lost
            }
            (Stand::Finishing, Outcome::Finished(true), _) if !self.was_told_lost => Stand::Over,
            (Stand::Finishing, Outcome::Finished(false), What::Job { lease, .. })
                if self.was_told_lost || self.is_void || now + lease / 20 >= self.renewed_at + lease =>
            {
                Stand::Over
            }
            _ => return Err(format!("{outcome:?} was told to {self:?}")),
        };
        self.stands(now, next);
        Ok(())
    }

    /// Refused is who does not wait; timed out is who has waited, or a job that does not.
    fn may_be_refused(&self, now: u64, outcome: &Outcome) -> bool {
        match (self.wait, outcome) {
            (Wait::Not, Outcome::TimedOut(_)) => self.is_job(),
            (Wait::Not, _) => true,
            (Wait::Ms(ms) | Wait::Moving { span: ms, .. }, Outcome::TimedOut(_)) => now >= self.asked_at + ms,
            _ => false,
        }
    }
}

/// Anything else that a caller asked for.
#[derive(Clone, Debug)]
pub struct Errand {
    pub kind: ErrandOf,
    pub asked_at: u64,
    pub told_at: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum ErrandOf {
    Release {
        keys: KeySet,
        owner: Owner,
    },
    ReleaseAll {
        owner: Option<Owner>,
    },
    /// By a job that runs under this grant.
    ReleaseOwn {
        grant: Attempt,
    },
}

/// How many answers the longest errand takes: a scan's pages and what is done with each.
const ANSWERS_MAX: u64 = 4;

impl Errand {
    pub fn new(kind: ErrandOf, asked_at: u64) -> Self {
        Errand {
            kind,
            asked_at,
            told_at: None,
        }
    }

    pub fn is_pending(&self) -> bool {
        self.told_at.is_none()
    }

    pub fn answer_by(&self) -> u64 {
        match self.kind {
            ErrandOf::Release { .. } | ErrandOf::ReleaseOwn { .. } => self.asked_at + COMMAND_TIMEOUT,
            // Each answer on the way is waited for anew, also after the link has come back.
            ErrandOf::ReleaseAll { .. } => self.asked_at + ANSWERS_MAX * COMMAND_TIMEOUT * 4,
        }
    }

    /// Whether it was to release this lock, which was there when it was asked for.
    pub fn concerns(&self, key: &str, lock: &Locked) -> bool {
        let of = |owner: &Owner| lock.holder == holder_of(owner);
        lock.made_at < self.asked_at
            && match &self.kind {
                ErrandOf::Release { keys, owner } => keys.iter().any(|one| &**one == key) && of(owner),
                ErrandOf::ReleaseAll { owner } => owner.as_ref().is_none_or(of),
                ErrandOf::ReleaseOwn { grant } => {
                    matches!(&lock.holder, Holder::Job { attempt, .. } if attempt == grant)
                }
            }
    }

    pub fn hear(&mut self, now: u64, outcome: &Outcome) -> Check {
        let fits = match self.kind {
            ErrandOf::Release { .. } | ErrandOf::ReleaseOwn { .. } => {
                matches!(
                    outcome,
                    Outcome::Released(_) | Outcome::Outlived(_) | Outcome::Failed(_)
                )
            }
            ErrandOf::ReleaseAll { .. } => matches!(outcome, Outcome::Done | Outcome::Failed(_)),
        };
        if !fits || !self.is_pending() {
            return Err(format!("{outcome:?} was told to {self:?}"));
        }
        self.told_at = Some(now);
        Ok(())
    }
}
