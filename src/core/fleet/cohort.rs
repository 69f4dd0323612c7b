//! Passing a lease on between the jobs of one process, without asking the server.
//!
//! When a job ends and the next one in the local queue wants exactly the same keys for as long a lease, the lease
//! passes to it: the server sees one holder, and nobody waits for a round trip. Lock cohorting, after Dice, Marathe
//! and Shavit (PPoPP 2012): the number of passes, and the time that they take, are bounded, so that other processes
//! are not starved.
//!
//! Each pass looks at the lease's deadline again, and each job gets a fencing token of its own, of the block that was
//! reserved with the grant: as many as there were waiters to pass to, so that a lock that nobody else waits for costs
//! one token. Only jobs pass: the lock of a named owner can be released from any process, so it lives in Redis under
//! its own name.

use std::time::Duration;

use super::Fleet;
use crate::core::moment::Moment;
use crate::core::outcome::Outcome;
use crate::core::ticket::Ticket;

/// The longest time for which one grant is passed on.
pub(super) const PASS_MAX: Duration = Duration::from_millis(50);

/// How many fencing tokens an ask should reserve beyond its own, with so many behind it.
pub(super) fn tokens_to_reserve(behind: usize, local_handoffs: u32) -> u32 {
    u32::try_from(behind).unwrap_or(u32::MAX).min(local_handoffs)
}

impl Fleet {
    /// The grant under whose name `job` holds its keys: its own, or the one that was passed on to it.
    pub(super) fn grant_of(&self, job: Ticket) -> Ticket {
        self.passed.get(&job).copied().unwrap_or(job)
    }

    /// `job` has ended; gives its lease to the next job here that can take it over as it is. False: there is none, or
    /// it is the other processes' turn.
    pub(super) fn pass_on(&mut self, now: Moment, job: Ticket) -> bool {
        let grant = self.grant_of(job);
        let Some(lease) = self.leases.get(&grant) else {
            return false;
        };
        if !lease.may_pass(now) {
            return false;
        }
        let (span, keys) = (lease.span(), lease.keys().clone());
        let Some(heir) = self.patient_heir(now, &keys) else {
            return false;
        };
        if !self.asks.get(&heir).is_some_and(|ask| ask.may_inherit(span)) {
            return false;
        }
        self.passed.remove(&job);
        self.passed.insert(heir, grant);
        self.remove_ask(heir);
        self.tell(job, Outcome::Finished(true));
        if let Some(lease) = self.leases.get_mut(&grant) {
            let token = lease.pass_to(heir);
            self.tell(heir, Outcome::Granted(token));
        }
        self.lines.leave(job, &keys);
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::backoff::Backoff;
    use crate::core::fleet::{Answer, Config, Wish};
    use crate::core::key::KeySet;
    use crate::core::outcome::Completion;
    use crate::core::table::{Claim, Limits, Patience};

    pub(in crate::core::fleet) fn at(ms: u64) -> Moment {
        Moment::from_ms(ms)
    }

    pub(in crate::core::fleet) fn fleet() -> Fleet {
        Fleet::new(Config {
            endpoint: "r".to_owned(),
            backoff: Backoff {
                first: Duration::from_millis(20),
                longest: Duration::from_secs(1),
                factor: 2.0,
            },
            command_timeout: Duration::from_secs(5),
            max_stall: Duration::from_secs(300),
            local_handoffs: 16,
            ownerless_open: false,
            limits: Limits::default(),
        })
    }

    pub(in crate::core::fleet) fn told(fleet: &mut Fleet) -> Vec<(u64, Outcome)> {
        let news = fleet.take_news();
        news.map(|Completion { ticket, outcome }| (ticket.number(), outcome))
            .collect()
    }

    /// The clock's thread has not got round to telling the second that its time is up, and the first job ends.
    #[test]
    fn a_lease_does_not_pass_to_one_whose_patience_has_ended() {
        let mut fleet = fleet();
        for (number, patience) in [
            (1, Patience::Forever),
            (2, Patience::Until(at(100))),
            (3, Patience::Forever),
        ] {
            let wish = Wish {
                keys: KeySet::new(["k"]).unwrap(),
                claim: Claim::Job,
                lease: Duration::from_secs(15),
                patience,
            };
            fleet.request(at(1), Ticket::new(number), wish).unwrap();
        }
        fleet.link_up(at(80), true, true);
        let mut sent = Vec::new();
        fleet.take_outbox(at(80), &mut sent);
        let ask = sent.pop().unwrap();
        fleet.answered(at(80), ask, Answer::Granted(50));
        assert_eq!(told(&mut fleet), [(1, Outcome::Granted(50))]);

        fleet.finish(at(110), Ticket::new(1));
        fleet.tick(at(110), Duration::ZERO);
        assert_eq!(
            told(&mut fleet),
            [
                (2, Outcome::TimedOut("k".into())),
                (1, Outcome::Finished(true)),
                (3, Outcome::Granted(51)),
            ]
        );
        assert!(!fleet.has_outbox(), "the server is not asked for any of this");
    }
}
