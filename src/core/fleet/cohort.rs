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
