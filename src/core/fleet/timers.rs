//! The deadlines of a member, the next one first.
//!
//! Nearly all of them come to nothing: the answer is there before the patience ends, the job before its lease. So a
//! deadline is not taken out. The record that it is about says whether it still counts ([`Fleet::is_current`]), and those
//! that do not are dropped when they are due, or when there are more of them than of the others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Fleet;
use crate::core::moment::Moment;
use crate::core::ticket::Ticket;

/// So many deadlines are kept without a look at whether they still count.
const UNCHECKED_MAX: usize = 256;

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The patience of an ask ends.
    AskEnds(Ticket),
    /// An ask is to be sent again.
    AskAgain(Ticket),
    /// A lease is to be renewed.
    Renew(Ticket),
    /// A lease has lapsed.
    LeaseEnds(Ticket),
    /// An errand's caller has waited long enough.
    ErrandEnds(Ticket),
    /// An errand is to be sent again.
    ErrandAgain(Ticket),
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Moment, Timer)>>,
    /// How many of them counted when that was last looked at.
    counted: usize,
}

impl Timers {
    fn first(&self) -> Option<(Moment, Timer)> {
        self.heap.peek().map(|Reverse(first)| *first)
    }

    /// Whether it is time to drop those that do not count: most of them, or so few that it is done at once.
    fn are_crowded(&self) -> bool {
        self.heap.len() >= 2 * self.counted + UNCHECKED_MAX
    }
}

impl Fleet {
    /// Sets a deadline. The record says so already: of what no record says, nothing comes.
    pub(super) fn arm(&mut self, at: Moment, timer: Timer) {
        if self.timers.are_crowded() {
            let mut timers = std::mem::take(&mut self.timers);
            timers
                .heap
                .retain(|Reverse((at, timer))| self.is_current(*at, *timer));
            timers.counted = timers.heap.len();
            self.timers = timers;
        }
        self.timers.heap.push(Reverse((at, timer)));
    }

    /// The next deadline that has come, taken out.
    pub(super) fn next_due(&mut self, now: Moment) -> Option<Timer> {
        while let Some((at, timer)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.heap.pop();
            if self.is_current(at, timer) {
                return Some(timer);
            }
        }
        None
    }

    /// Has the first deadline be one that counts.
    pub(super) fn drop_passed_over(&mut self) {
        while let Some((at, timer)) = self.timers.first()
            && !self.is_current(at, timer)
        {
            self.timers.heap.pop();
        }
    }

    /// When [`Fleet::tick`] has something to do next, or before that: once too often at the most, whatever has come to nothing
    /// since the last.
    pub fn next_deadline(&self) -> Moment {
        let timer = self.timers.first().map_or(Moment::NEVER, |(at, _)| at);
        timer.min(self.kept.next_deadline())
    }

    /// Whether its record still says that something is to be done then.
    fn is_current(&self, at: Moment, timer: Timer) -> bool {
        let then = Some(at);
        match timer {
            Timer::AskEnds(ticket) => self.asks.get(&ticket).is_some_and(|ask| ask.ends_at == then),
            Timer::AskAgain(ticket) => self.asks.get(&ticket).is_some_and(|ask| ask.again_at == then),
            Timer::Renew(ticket) => (self.leases.get(&ticket)).is_some_and(|lease| lease.renew_at() == then),
            Timer::LeaseEnds(ticket) => {
                (self.leases.get(&ticket)).is_some_and(|lease| lease.lapses_at() == then)
            }
            Timer::ErrandEnds(ticket) => {
                (self.errands.get(&ticket)).is_some_and(|errand| errand.ends_at == then)
            }
            Timer::ErrandAgain(ticket) => {
                (self.errands.get(&ticket)).is_some_and(|errand| errand.again_at == then)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::cohort::tests::{at, fleet, told};
    use super::*;
    use crate::core::fleet::{Answer, Waiting, Wish};
    use crate::core::key::KeySet;
    use crate::core::outcome::Outcome;
    use crate::core::patience::Patience;
    use crate::core::table::Claim;

    const ENDS_MS: u64 = 60_000;

    /// Asks at 1 ms for a job, and has the server answer.
    fn ask(fleet: &mut Fleet, number: u64, key: &str, answer: Answer) {
        let wish = Wish {
            keys: KeySet::one(key).unwrap(),
            claim: Claim::Job,
            lease: Duration::from_secs(15),
            patience: Patience::Until(at(ENDS_MS)),
        };
        fleet.request(at(1), Ticket::new(number), wish).unwrap();
        answer_next(fleet, answer);
    }

    fn answer_next(fleet: &mut Fleet, answer: Answer) {
        let mut sent = Vec::new();
        fleet.take_outbox(at(1), &mut sent);
        fleet.answered(at(1), sent.pop().unwrap(), answer);
    }

    /// One that waits, and many jobs that come and go meanwhile, in no time.
    fn busy_fleet() -> Fleet {
        let mut fleet = fleet();
        fleet.link_up(at(1), true, true);
        let waiting = Waiting {
            key: 0,
            look_in: None,
            ticket: 7,
            silent: false,
            held_for: Duration::ZERO,
        };
        ask(&mut fleet, 1, "waited for", Answer::Waiting(waiting));
        for number in 2..5_000 {
            ask(&mut fleet, number, "k", Answer::Granted(number));
            fleet.finish(at(1), Ticket::new(number));
            answer_next(&mut fleet, Answer::Released(true));
            assert!(fleet.timers.heap.len() <= 2 * UNCHECKED_MAX, "deadlines pile up");
        }
        told(&mut fleet);
        fleet
    }

    #[test]
    fn what_counts_is_due_among_all_that_came_to_nothing() {
        let mut fleet = busy_fleet();
        fleet.tick(at(ENDS_MS - 1), Duration::ZERO);
        assert_eq!(told(&mut fleet), []);
        fleet.tick(at(ENDS_MS), Duration::ZERO);
        let timed_out = Outcome::TimedOut("waited for".into());
        assert_eq!(told(&mut fleet), [(1, timed_out)]);
    }

    #[test]
    fn one_tick_passes_over_all_that_came_to_nothing() {
        let mut fleet = busy_fleet();
        let again_at = fleet.asks[&Ticket::new(1)].again_at.unwrap();
        fleet.tick(at(2), Duration::ZERO);
        assert_eq!(fleet.next_deadline(), again_at);
        fleet.cancel(at(2), Ticket::new(1));
        answer_next(&mut fleet, Answer::Released(true));
        fleet.tick(fleet.next_deadline(), Duration::ZERO);
        assert_eq!(fleet.next_deadline(), Moment::NEVER);
        assert!(fleet.is_settled());
    }
}
