//! Leases: what a job holds, for as long as the server was told so in time.

use std::time::Duration;

use super::cohort::Passes;
use super::{Answer, Command, Errand, ErrandKind, Fleet, Renewal, Timer};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::{Failure, Outcome};
use crate::core::ticket::Ticket;

/// A lease is renewed when this part of it has passed: two renewals can fail before it lapses.
const RENEW_PART: u32 = 3;

/// Leases that are due within this time of each other are renewed together.
const RENEW_SLACK: Duration = Duration::from_millis(250);

/// After a renewal failed, the next is tried after this part of the lease.
const RETRY_PART: u32 = 10;

/// Why a lease is lost that the server knows nothing of.
pub(super) const NOT_ITS_OWN: &str = "the server says that it is not its own any more";

/// The most leases, and the most keys, in one renewal command: one script call must not hold the server up.
const RENEW_LEASES_MAX: usize = 128;
const RENEW_KEYS_MAX: usize = 1024;

/// What a job holds.
#[derive(Debug)]
pub(super) struct Lease {
    keys: KeySet,
    token: u64,
    span: Duration,
    /// Not later than the server lets it lapse: from when the last successful command was sent, less a margin.
    ends_at: Moment,
    renew_at: Option<Moment>,
    renewing: bool,
    /// The job was told that it is gone.
    lost: bool,
    /// The job that runs under it: the one that it was granted to, or the last that it was passed on to.
    job: Ticket,
    /// That job has ended, and whether the lease passes to the next one is for the server's answer to say.
    pub(super) is_idle: bool,
    /// How far it may still be passed on.
    pub(super) passes: Passes,
}

impl Lease {
    /// Until when a lease is good that was set for `span` by a command sent at `sent_at`.
    ///
    /// The margin covers the server's clock running faster than ours (2 in 100 is far more than any clock drifts)
    /// and the millisecond that a rounding may cost on either side.
    pub(super) fn good_until(sent_at: Moment, span: Duration) -> Moment {
        let margin = (span / 50 + Duration::from_millis(2)).min(span / 4);
        sent_at.after(span - margin)
    }

    pub(super) fn link_down(&mut self) {
        self.renewing = false;
        self.passes.link_down();
    }

    /// Whether `job` runs under it.
    pub(super) fn is_of(&self, job: Ticket) -> bool {
        self.job == job && !self.is_idle
    }

    /// The job that runs under it, or ran last.
    pub(super) fn job(&self) -> Ticket {
        self.job
    }

    /// The token that the server granted it under.
    pub(super) fn token(&self) -> u64 {
        self.token
    }

    pub(super) fn renew_at(&self) -> Option<Moment> {
        self.renew_at
    }

    /// When its job is to be told that it is gone; None: it was.
    pub(super) fn lapses_at(&self) -> Option<Moment> {
        (!self.lost).then_some(self.ends_at)
    }

    pub(super) fn keys(&self) -> &KeySet {
        &self.keys
    }

    pub(super) fn span(&self) -> Duration {
        self.span
    }

    /// Whether it is good for another job.
    pub(super) fn is_good(&self, now: Moment) -> bool {
        !self.lost && now < self.ends_at
    }

    /// Makes `heir` the job that runs under this lease, and says under which fencing token.
    pub(super) fn pass_to(&mut self, heir: Ticket) -> u64 {
        self.job = heir;
        self.is_idle = false;
        self.passes.pass()
    }
}

/// What the server granted to a job.
pub(super) struct Grant {
    pub sent_at: Moment,
    pub token: u64,
    /// How many tokens behind it are reserved.
    pub reserved: u32,
    /// It had to queue: others want its keys too.
    pub is_contended: bool,
}

impl Fleet {
    pub(super) fn hold_lease(
        &mut self,
        now: Moment,
        job: Ticket,
        grant: &Grant,
        keys: KeySet,
        span: Duration,
    ) {
        let ends_at = Lease::good_until(grant.sent_at, span);
        let renew_at = grant.sent_at.after(span / RENEW_PART);
        let lease = Lease {
            keys,
            token: grant.token,
            span,
            ends_at,
            renew_at: Some(renew_at),
            renewing: false,
            lost: false,
            job,
            is_idle: false,
            passes: Passes::new(now, grant),
        };
        self.leases.insert(job, lease);
        self.arm(ends_at, Timer::LeaseEnds(job));
        self.arm(renew_at, Timer::Renew(job));
        self.reserve_more(now, job);
    }

    /// The job of `ticket` has ended: its keys go to the next one. News tells whether they were its own until now.
    pub fn finish(&mut self, now: Moment, job: Ticket) {
        let grant = self.grant_of(job);
        if self.leases.get(&grant).is_none_or(|lease| !lease.is_of(job)) {
            self.tell(job, Outcome::Finished(false));
        } else if !self.pass_on(now, job) {
            self.give_back(now, grant, true);
        }
    }

    /// Releases a lease at the server and its place in the local queue, in this order: what the next one here asks
    /// comes behind the release, and so behind whoever waits elsewhere. In strict order it asks before: it may have come
    /// before these.
    pub(super) fn give_back(&mut self, now: Moment, grant: Ticket, has_caller: bool) {
        let Some(lease) = self.leases.remove(&grant) else {
            return;
        };
        let job = lease.job;
        self.passed.remove(&job);
        let lost = lease.lost || lease.ends_at <= now;
        if lost && has_caller {
            self.tell(job, Outcome::Finished(false));
        }
        // The job ended while its lease was good. If the server does not say otherwise before that lapses, or before
        // the caller has waited long enough, that is what the caller is told.
        let answer_by = lease.ends_at.min(now.after(self.config.command_timeout));
        let keys = lease.keys.clone();
        self.lines.moved(now, &keys);
        let kind = ErrandKind::Finish {
            keys: lease.keys,
            grant,
            token: lease.token,
            lapses_at: now.after(lease.span),
        };
        let errand = Errand::new(now, kind, lost || !has_caller, self.lines.behind(&keys) > 0);
        if self.config.local_handoffs == 0 {
            self.give_up_place(now, job, &keys);
            self.start_errand(now, job, errand, answer_by);
        } else {
            self.start_errand(now, job, errand, answer_by);
            self.give_up_place(now, job, &keys);
        }
    }

    /// Renews what is due, and what is due soon, in batches.
    pub(super) fn renew_due(&mut self, now: Moment) {
        let soon = now.after(RENEW_SLACK);
        let due = self.leases.iter().filter_map(|(job, lease)| {
            let at = lease.renew_at.filter(|at| *at <= soon)?;
            Some((at, *job))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_unstable();
        self.renew(now, due.into_iter().map(|(_, job)| job));
    }

    /// Has everything that is held renewed at once, by a tick: only that knows whether the caller's thread is stuck.
    pub(super) fn renew_at_next_tick(&mut self, now: Moment) {
        let held: Vec<Ticket> = self.leases.keys().copied().collect();
        for job in held {
            if let Some(lease) = self.leases.get_mut(&job).filter(|lease| !lease.lost) {
                lease.renew_at = Some(now);
                self.arm(now, Timer::Renew(job));
            }
        }
    }

    /// Nothing is renewed for a caller's thread that has been stuck for too long.
    fn renew(&mut self, now: Moment, tickets: impl Iterator<Item = Ticket>) {
        if self.stalled >= self.config.max_stall {
            tickets.for_each(|ticket| self.renew_later(now, ticket));
            return;
        }
        let up = self.is_up();
        let mut batch: Vec<Renewal> = Vec::new();
        let mut batch_keys = 0;
        for job in tickets {
            let Some(lease) = self.leases.get_mut(&job) else {
                continue;
            };
            lease.renew_at = None;
            // While the link is down its return renews; a renewal on its way is not overtaken.
            if lease.lost || lease.renewing || !up {
                continue;
            }
            lease.renewing = true;
            let renewal = Renewal {
                job,
                token: lease.token,
                keys: lease.keys.clone(),
                lease: lease.span,
            };
            // A lease of more keys than that goes in a command of its own.
            let is_full = batch.len() >= RENEW_LEASES_MAX || batch_keys + renewal.keys.len() > RENEW_KEYS_MAX;
            if is_full && !batch.is_empty() {
                self.outbox.push_back(Command::Renew {
                    leases: std::mem::take(&mut batch),
                });
                batch_keys = 0;
            }
            batch_keys += renewal.keys.len();
            batch.push(renewal);
        }
        if !batch.is_empty() {
            self.outbox.push_back(Command::Renew { leases: batch });
        }
    }

    pub(super) fn renew_answered(
        &mut self,
        now: Moment,
        sent_at: Moment,
        renewals: &[Renewal],
        answer: Answer,
    ) {
        let lost_keys = match answer {
            Answer::Renewed(lost_keys) => lost_keys,
            _ => {
                for renewal in renewals {
                    self.renew_later(now, renewal.job);
                }
                return;
            }
        };
        for (renewal, lost_key) in renewals.iter().zip(lost_keys) {
            match lost_key.and_then(|index| renewal.keys.as_slice().get(index)) {
                None => self.renewed(sent_at, renewal.job),
                Some(key) => self.lose(now, renewal.job, key, NOT_ITS_OWN),
            }
        }
    }

    fn renewed(&mut self, sent_at: Moment, ticket: Ticket) {
        let Some(lease) = self.leases.get_mut(&ticket) else {
            return;
        };
        lease.renewing = false;
        if lease.lost {
            return;
        }
        let ends_at = Lease::good_until(sent_at, lease.span);
        lease.ends_at = ends_at;
        let renew_at = sent_at.after(lease.span / RENEW_PART);
        // It may be due before, because of something that was heard meanwhile.
        let renew_at = lease.renew_at.map_or(renew_at, |before| before.min(renew_at));
        lease.renew_at = Some(renew_at);
        self.arm(ends_at, Timer::LeaseEnds(ticket));
        self.arm(renew_at, Timer::Renew(ticket));
    }

    /// A renewal failed, or was not tried; it is tried again soon.
    fn renew_later(&mut self, now: Moment, ticket: Ticket) {
        let Some(lease) = self.leases.get_mut(&ticket) else {
            return;
        };
        lease.renewing = false;
        lease.renew_at = None;
        if !lease.lost {
            let at = now.after((lease.span / RETRY_PART).max(Duration::from_millis(5)));
            lease.renew_at = Some(at);
            self.arm(at, Timer::Renew(ticket));
        }
    }

    /// The deadline: from here on the server may give the keys to somebody else.
    pub(super) fn lease_ends(&mut self, now: Moment, ticket: Ticket) {
        let Some(lease) = self.leases.get(&ticket) else {
            return;
        };
        let why = format!(
            "its lease of {} s lapsed before it could be renewed",
            lease.span.as_secs_f64()
        );
        if let Some(key) = lease.keys.iter().next().cloned() {
            self.lose(now, ticket, &key, &why);
        }
    }

    pub(super) fn lose(&mut self, now: Moment, ticket: Ticket, key: &str, why: &str) {
        let Some(lease) = self.leases.get_mut(&ticket) else {
            return;
        };
        lease.renewing = false;
        lease.renew_at = None;
        if std::mem::replace(&mut lease.lost, true) {
            return;
        }
        if lease.is_idle {
            return self.give_back(now, ticket, false);
        }
        let job = lease.job;
        self.tell(job, Outcome::Lost(Failure::lost(key, why)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fleet::Wish;
    use crate::core::fleet::cohort::tests::{at, fleet};
    use crate::core::patience::Patience;
    use crate::core::table::Claim;

    /// Leases on so many keys each, all due at once: how many keys each renewal names.
    fn renewals_of(key_counts: &[usize]) -> Vec<Vec<usize>> {
        let mut fleet = fleet();
        fleet.link_up(at(1), true, true);
        let mut sent = Vec::new();
        for (number, count) in (1..).zip(key_counts) {
            let names: Vec<String> = (0..*count).map(|n| format!("{number}/{n}")).collect();
            let wish = Wish {
                keys: KeySet::new(names.iter().map(String::as_str)).unwrap(),
                claim: Claim::Job,
                lease: Duration::from_secs(15),
                patience: Patience::Forever,
            };
            fleet.request(at(1), Ticket::new(number), wish).unwrap();
            fleet.take_outbox(at(1), &mut sent);
            fleet.answered(at(1), sent.pop().unwrap(), Answer::Granted(number));
        }
        fleet.tick(at(5_001), Duration::ZERO);
        fleet.take_outbox(at(5_001), &mut sent);
        let renewals = sent.iter().filter_map(|sent| match &sent.command {
            Command::Renew { leases } => Some(leases.iter().map(|lease| lease.keys.len()).collect()),
            _ => None,
        });
        renewals.collect()
    }

    #[test]
    fn a_renewal_names_no_more_keys_than_it_may_unless_one_lease_has_more() {
        let few = RENEW_KEYS_MAX / 2;
        assert_eq!(renewals_of(&[few, few]), [[few, few]]);
        assert_eq!(renewals_of(&[few, few, 1]), [vec![few, few], vec![1]]);
        assert_eq!(renewals_of(&[10_000]), [[10_000]]);
        assert_eq!(
            renewals_of(&[1, 10_000, 1, 1]),
            [vec![1], vec![10_000], vec![1, 1]]
        );
    }
}
