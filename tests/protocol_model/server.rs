//! What stands in Redis, and the scripts that change it. Each script is one step, as it is there.

use super::scenario::{ATTEMPTS, Ask, Fault, KEYS, Scenario};
use super::set::Set;

/// The value of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    Free,
    /// Given to a waiter that has not claimed it yet: `<attempt>#0`.
    HandedOver(u8),
    /// `<attempt>#<token>`.
    Leased(u8, u8),
    /// Taken by a node that knows no queue.
    OldNode,
}

impl Lock {
    pub fn is_of(self, attempt: usize) -> bool {
        match self {
            Lock::HandedOver(of) | Lock::Leased(of, _) => usize::from(of) == attempt,
            Lock::Free | Lock::OldNode => false,
        }
    }
}

/// The record of a waiter. Its keys and its inbox are those of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    pub ticket: u8,
    /// Its locks were handed over to it.
    pub granted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub locks: [Lock; KEYS],
    /// The queue of each key: the ticket under which an attempt stands in it, 0: it does not.
    pub queues: [[u8; ATTEMPTS]; KEYS],
    pub waiters: [Option<Waiter>; ATTEMPTS],
    /// The keys that a handover has left free for a while.
    pub gaps: Set,
    /// The processes whose inbox has a subscriber.
    pub subscribed: Set,
    /// How many tokens each attempt was given.
    pub tokens: [u8; ATTEMPTS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Granted(u8),
    /// Not now; the ticket, or 0 for a request that does not wait.
    Busy(u8),
}

/// One call of a script: what it may use, and what comes of it besides the reply.
pub struct Turn<'a> {
    scenario: &'a Scenario,
    /// The first handover leaves its key free instead.
    gap: bool,
    /// The attempt that calls, if it waits; and whether it may have its locks. It takes them itself.
    me: Option<usize>,
    served: bool,
    /// Processes whose inbox counts as gone for the rest of the call.
    gone: Set,
    /// The ticket of whoever enters a queue anew.
    pub next_ticket: u8,
    /// Attempts to whom a grant is pushed.
    pub pushed: Set,
    /// Attempts that stood before another one that was given a key which they want.
    pub passed_over: Set,
    /// The keys whose queues the call has to leave in order.
    pub looked_after: Set,
}

impl<'a> Turn<'a> {
    pub fn new(scenario: &'a Scenario, next_ticket: u8, gap: bool) -> Turn<'a> {
        Turn {
            scenario,
            gap,
            me: None,
            served: false,
            gone: Set::EMPTY,
            next_ticket,
            pushed: Set::EMPTY,
            passed_over: Set::EMPTY,
            looked_after: Set::EMPTY,
        }
    }

    /// Whether the gap that was asked for did not come about.
    pub fn lacks_gap(&self) -> bool {
        self.gap
    }

    fn ask(&self, attempt: usize) -> &'a Ask {
        &self.scenario.asks[attempt]
    }
}

/// What a handover finds at the head of a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    /// It has no record any more.
    Vanished,
    /// Its claim lapsed, or its inbox has no subscriber.
    Dead,
    /// Nothing keeps it from its locks.
    Entitled,
    /// One of its locks is not free, or in a gap.
    Blocked,
    /// Somebody stands before it in these queues of free locks.
    Behind(Set),
}

impl Server {
    pub fn new(subscribed: Set) -> Server {
        Server {
            locks: [Lock::Free; KEYS],
            queues: [[0; ATTEMPTS]; KEYS],
            waiters: [None; ATTEMPTS],
            gaps: Set::EMPTY,
            subscribed,
            tokens: [0; ATTEMPTS],
        }
    }

    /// Takes the locks, claims them, or queues for them. `ticket` is what the client knows of its place, or 0.
    pub fn acquire(&mut self, attempt: usize, ticket: u8, turn: &mut Turn) -> Answer {
        let Ask { keys, waits, .. } = *turn.ask(attempt);
        if keys.iter().all(|key| self.locks[key].is_of(attempt)) {
            return self.lease(attempt, keys);
        }
        // Whoever waits, or is told no, holds nothing.
        self.give_back(attempt, keys);
        if !waits {
            self.hand_over(keys, turn);
            if self.may_take(keys, turn) {
                self.note_passed_over(attempt, u8::MAX, turn);
                return self.lease(attempt, keys);
            }
            return Answer::Busy(0);
        }
        if self.may_take(keys, turn) && !self.is_in_gap(keys, turn) {
            self.note_passed_over(attempt, u8::MAX, turn);
            return self.lease(attempt, keys);
        }
        let ticket = self.enter(attempt, ticket, turn);
        turn.me = Some(attempt);
        self.hand_over(keys, turn);
        if turn.served {
            self.note_passed_over(attempt, ticket, turn);
            return self.lease(attempt, keys);
        }
        Answer::Busy(ticket)
    }

    /// Whether all of these locks are free and nobody waits for any.
    fn may_take(&self, keys: Set, turn: &Turn) -> bool {
        keys.iter().all(|key| {
            let nobody_waits = self.queues[key] == [0; ATTEMPTS] || turn.scenario.has(Fault::QueueIgnored);
            self.locks[key] == Lock::Free && nobody_waits
        })
    }

    /// Whether one of these locks, which nobody waits for, is to be left free for now, maybe from now on.
    fn is_in_gap(&mut self, keys: Set, turn: &mut Turn) -> bool {
        if std::mem::take(&mut turn.gap) {
            self.gaps = self.gaps.or(keys);
        }
        !keys.both(self.gaps).is_empty()
    }

    /// Deletes the locks that are still `attempt`'s under `token`, and hands them on.
    pub fn release(&mut self, attempt: usize, token: u8, turn: &mut Turn) {
        let keys = turn.ask(attempt).keys;
        #[expect(clippy::cast_possible_truncation, reason = "there are a few attempts")]
        let mine = Lock::Leased(attempt as u8, token);
        for key in keys
            .iter()
            .filter(|key| self.locks[*key] == mine)
            .collect::<Vec<_>>()
        {
            self.locks[key] = Lock::Free;
            turn.looked_after = turn.looked_after.with(key);
        }
        if !turn.scenario.has(Fault::ReleaseOnlyDeletes) {
            self.hand_over(turn.looked_after, turn);
        }
    }

    /// Gives back whatever the attempt holds, leaves its queues and hands on.
    pub fn cancel(&mut self, attempt: usize, turn: &mut Turn) {
        let keys = turn.ask(attempt).keys;
        self.give_back(attempt, keys);
        self.leave(attempt, keys);
        turn.looked_after = keys;
        if !turn.scenario.has(Fault::CancelForgetsQueues) {
            self.hand_over(keys, turn);
        }
    }

    /// Looks at the queues of `keys`, and gives free locks to who is entitled to them.
    fn hand_over(&mut self, keys: Set, turn: &mut Turn) {
        turn.looked_after = turn.looked_after.or(keys);
        let (mut todo, mut seen) = (keys, Set::EMPTY);
        while let Some(key) = todo.pop() {
            seen = seen.with(key);
            while self.locks[key] == Lock::Free
                && let Some(first) = self.first(key)
            {
                match self.head(first, turn) {
                    Head::Vanished => self.queues[key][first] = 0,
                    Head::Dead => {
                        let ask = turn.ask(first);
                        turn.gone = turn.gone.with(ask.process);
                        self.leave(first, ask.keys);
                        // Whoever stood behind it there may be entitled now.
                        (todo, seen) = (todo.or(ask.keys), seen.minus(ask.keys));
                    }
                    Head::Entitled if turn.gap => {
                        turn.gap = false;
                        self.gaps = self.gaps.with(key);
                    }
                    Head::Entitled if turn.me == Some(first) => {
                        turn.served = true;
                        break;
                    }
                    Head::Entitled => self.grant(first, turn),
                    Head::Behind(others) if !turn.scenario.has(Fault::OtherQueuesIgnored) => {
                        // Who is before it may be dead, and nobody else may ever look there. When that one leaves, it is looked
                        // at again, and may stand behind the next one.
                        let first = others.iter().next().into_iter().fold(Set::EMPTY, Set::with);
                        todo = todo.or(first.minus(seen));
                        break;
                    }
                    Head::Blocked | Head::Behind(_) => break,
                }
            }
        }
    }

    fn head(&self, attempt: usize, turn: &Turn) -> Head {
        let Some(waiter) = self.waiters[attempt] else {
            return Head::Vanished;
        };
        if turn.me != Some(attempt)
            && !turn.scenario.has(Fault::DeadNotSkipped)
            && (waiter.granted || self.is_gone(attempt, turn.gone, turn.scenario))
        {
            return Head::Dead;
        }
        let keys = turn.ask(attempt).keys;
        if keys
            .iter()
            .any(|key| self.locks[key] != Lock::Free || self.gaps.has(key))
        {
            return Head::Blocked;
        }
        let behind = keys.iter().filter(|key| self.first(*key) != Some(attempt));
        let behind = behind.fold(Set::EMPTY, Set::with);
        if behind.is_empty() {
            Head::Entitled
        } else {
            Head::Behind(behind)
        }
    }

    /// Whether a push to the attempt's inbox reaches nobody. Who has no inbox is not known to be gone.
    fn is_gone(&self, attempt: usize, gone: Set, scenario: &Scenario) -> bool {
        let process = scenario.asks[attempt].process;
        !scenario.without_inbox.has(process) && (gone.has(process) || !self.subscribed.has(process))
    }

    /// Whether the server can see that whoever stands in the queue of the free `key` will never claim it.
    pub fn is_visibly_dead(&self, attempt: usize, scenario: &Scenario) -> bool {
        self.waiters[attempt].is_none_or(|waiter| waiter.granted)
            || self.is_gone(attempt, Set::EMPTY, scenario)
    }

    /// Who stands first in the queue of `key`.
    fn first(&self, key: usize) -> Option<usize> {
        let queue = &self.queues[key];
        (0..ATTEMPTS)
            .filter(|attempt| queue[*attempt] > 0)
            .min_by_key(|attempt| queue[*attempt])
    }

    fn grant(&mut self, attempt: usize, turn: &mut Turn) {
        let ask = turn.ask(attempt);
        if let Some(waiter) = &mut self.waiters[attempt] {
            waiter.granted = true;
            let ticket = waiter.ticket;
            self.note_passed_over(attempt, ticket, turn);
        }
        for key in ask.keys.iter() {
            #[expect(clippy::cast_possible_truncation, reason = "there are a few attempts")]
            let handed_over = Lock::HandedOver(attempt as u8);
            self.locks[key] = handed_over;
        }
        if !turn.scenario.without_inbox.has(ask.process) {
            turn.pushed = turn.pushed.with(attempt);
        }
    }

    fn lease(&mut self, attempt: usize, keys: Set) -> Answer {
        self.tokens[attempt] += 1;
        let token = self.tokens[attempt];
        for key in keys.iter() {
            #[expect(clippy::cast_possible_truncation, reason = "there are a few attempts")]
            let leased = Lock::Leased(attempt as u8, token);
            self.locks[key] = leased;
        }
        self.leave(attempt, keys);
        Answer::Granted(token)
    }

    fn note_passed_over(&self, attempt: usize, ticket: u8, turn: &mut Turn) {
        for key in turn.ask(attempt).keys.iter() {
            let before = |other: &usize| (1..ticket).contains(&self.queues[key][*other]);
            let others = (0..ATTEMPTS).filter(|other| *other != attempt).filter(before);
            turn.passed_over = others.fold(turn.passed_over, Set::with);
        }
    }

    /// Into every queue, at the place that it had before if that is known. A lapsed claim is forgotten: it is alive.
    fn enter(&mut self, attempt: usize, ticket: u8, turn: &Turn) -> u8 {
        let ticket = match (self.waiters[attempt], ticket) {
            (Some(waiter), _) => waiter.ticket,
            (None, 0) => turn.next_ticket,
            (None, ticket) => ticket,
        };
        self.waiters[attempt] = Some(Waiter {
            ticket,
            granted: false,
        });
        for key in turn.ask(attempt).keys.iter() {
            self.queues[key][attempt] = ticket;
        }
        ticket
    }

    fn leave(&mut self, attempt: usize, keys: Set) {
        self.waiters[attempt] = None;
        for key in keys.iter() {
            self.queues[key][attempt] = 0;
        }
    }

    fn give_back(&mut self, attempt: usize, keys: Set) {
        for key in keys.iter() {
            if self.locks[key].is_of(attempt) {
                self.locks[key] = Lock::Free;
            }
        }
    }

    /// Whether anything in here bears the attempt's name.
    pub fn knows(&self, attempt: usize) -> bool {
        self.waiters[attempt].is_some()
            || self.locks.iter().any(|lock| lock.is_of(attempt))
            || self.queues.iter().any(|queue| queue[attempt] > 0)
    }
}
