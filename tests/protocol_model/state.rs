//! A state of the whole: the server, the processes, and what each attempt's client knows.

use super::scenario::{ATTEMPTS, PROCESSES, Scenario, Trouble};
use super::server::{Server, Turn};
use super::set::Set;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    Running,
    Frozen,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub life: Life,
    /// Its connection, as it sees it. The server may still see one that is broken.
    pub connected: bool,
}

/// What a client does about one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    Idle,
    /// It wants its locks. `ticket`: its place, 0 if it was not told. `doubt`: a command whose answer was lost may have
    /// run.
    Waiting {
        ticket: u8,
        doubt: bool,
    },
    /// It believes that it holds its locks under `token`. `lapsed`: its clock shows that the lease is over, and it will
    /// see that before it does anything else.
    Holding {
        token: u8,
        lapsed: bool,
    },
    /// Its job has ended, or was told that the lease is lost; its release is not answered yet.
    Releasing {
        token: u8,
    },
    /// Its caller was told no; its cancel is not answered yet.
    Leaving,
    Ended(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// It held its locks and gave them back.
    Served,
    /// Its caller was told no, and everything is given back.
    No,
    /// Its process died.
    Dead,
}

/// The answer that is on its way to an attempt's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    None,
    /// `lapsed`: the lease, which counts from the sending of the command, is over by now.
    Granted {
        token: u8,
        lapsed: bool,
    },
    Busy(u8),
    /// To a release or a cancel.
    Done,
}

/// A command on a broken connection that the server may still read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Orphan {
    None,
    Acquire(u8),
    Release(u8),
    Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub server: Server,
    pub processes: [Process; PROCESSES],
    pub clients: [Client; ATTEMPTS],
    pub replies: [Reply; ATTEMPTS],
    pub orphans: [Orphan; ATTEMPTS],
    /// The attempts to whom a grant is being pushed.
    pub pushes: Set,
    /// The waiters whose caller was refused and is away: nothing is sent for these.
    pub away: Set,
    pub troubles_left: u8,
    pub cancels_left: u8,
    pub absences_left: u8,
    /// Somebody live was passed over by a later one.
    pub passed_over: bool,
    /// A script left a key free although somebody live was entitled to it.
    pub left_free: bool,
}

impl State {
    pub fn new(scenario: &Scenario) -> State {
        let running = Process {
            life: Life::Running,
            connected: true,
        };
        State {
            server: Server::new(scenario.processes().fold(Set::EMPTY, Set::with)),
            processes: [running; PROCESSES],
            clients: [Client::Idle; ATTEMPTS],
            replies: [Reply::None; ATTEMPTS],
            orphans: [Orphan::None; ATTEMPTS],
            pushes: Set::EMPTY,
            away: Set::EMPTY,
            troubles_left: scenario.trouble_max,
            cancels_left: scenario.cancels_max,
            absences_left: scenario.absences_max,
            passed_over: false,
            left_free: false,
        }
    }

    /// Whether this may still go wrong.
    pub fn may(&self, scenario: &Scenario, trouble: Trouble) -> bool {
        self.troubles_left > 0 && scenario.troubles.contains(&trouble)
    }

    /// Whether the process can act and talk to the server.
    pub fn is_up(&self, process: usize) -> bool {
        let Process { life, connected } = self.processes[process];
        life == Life::Running && connected
    }

    pub fn is_waiting(&self, attempt: usize) -> bool {
        matches!(self.clients[attempt], Client::Waiting { .. })
    }

    /// Whether somebody waits in the attempt's process, which can act and talk to the server.
    pub fn is_live(&self, attempt: usize, scenario: &Scenario) -> bool {
        self.is_waiting(attempt) && self.is_up(scenario.asks[attempt].process)
    }

    /// Whether the attempt's caller believes now that it holds the locks. A frozen process believes nothing any more
    /// when its clock shows that the lease is over: it cannot act before it sees that.
    pub fn believes(&self, attempt: usize) -> bool {
        matches!(self.clients[attempt], Client::Holding { lapsed: false, .. })
    }

    /// Runs a script on the server, delivers what it pushed to the connections that stand, and takes down what it did
    /// to those who were entitled. None: the gap that it was to leave did not come about.
    pub fn run<R>(
        &mut self,
        scenario: &Scenario,
        gap: bool,
        script: impl FnOnce(&mut Server, &mut Turn) -> R,
    ) -> Option<R> {
        let mut turn = Turn::new(scenario, self.next_ticket(), gap);
        let result = script(&mut self.server, &mut turn);
        if turn.lacks_gap() {
            return None;
        }
        for attempt in turn.pushed.iter() {
            if scenario.follows_pushes() && self.processes[scenario.asks[attempt].process].connected {
                self.pushes = self.pushes.with(attempt);
            }
        }
        self.passed_over |= turn
            .passed_over
            .iter()
            .any(|attempt| self.is_live(attempt, scenario));
        self.left_free |= self.leaves_free(turn.looked_after, scenario);
        Some(result)
    }

    /// Whether one of these keys is free, and somebody live is entitled to it: queued, all its locks free, and none
    /// before it in their queues but those that the server can see are dead.
    fn leaves_free(&self, keys: Set, scenario: &Scenario) -> bool {
        let server = &self.server;
        let is_first = |attempt: usize, key: usize| {
            let ticket = server.queues[key][attempt];
            let mut others = scenario.attempts().filter(|other| *other != attempt);
            others.all(|other| {
                !(1..ticket).contains(&server.queues[key][other]) || server.is_visibly_dead(other, scenario)
            })
        };
        let is_entitled = |attempt: usize| {
            let wanted = scenario.asks[attempt].keys;
            !wanted.both(keys).is_empty()
                && server.waiters[attempt].is_some()
                && self.is_live(attempt, scenario)
                && wanted.both(server.gaps).is_empty()
                && wanted
                    .iter()
                    .all(|key| server.locks[key] == super::server::Lock::Free && is_first(attempt, key))
        };
        scenario.attempts().any(is_entitled)
    }

    /// Nothing of an old connection can run any more.
    pub fn drop_orphans(&mut self, scenario: &Scenario, process: usize) {
        for attempt in scenario.attempts_of(process) {
            self.orphans[attempt] = Orphan::None;
        }
    }

    fn next_ticket(&self) -> u8 {
        let mut highest = 0;
        self.clone().each_ticket(|ticket| highest = highest.max(*ticket));
        highest + 1
    }

    /// Only the order of tickets matters: numbers them from 1 on, so that states which differ in nothing else are one.
    pub fn renumber_tickets(&mut self) {
        let mut in_use = [false; 64];
        self.each_ticket(|ticket| in_use[usize::from(*ticket)] = true);
        let mut rank = [0; 64];
        let mut next = 1;
        for ticket in 1..in_use.len() {
            if in_use[ticket] {
                rank[ticket] = next;
                next += 1;
            }
        }
        self.each_ticket(|ticket| *ticket = rank[usize::from(*ticket)]);
    }

    fn each_ticket(&mut self, mut see: impl FnMut(&mut u8)) {
        self.server.queues.iter_mut().flatten().for_each(&mut see);
        self.server
            .waiters
            .iter_mut()
            .flatten()
            .for_each(|waiter| see(&mut waiter.ticket));
        for client in &mut self.clients {
            if let Client::Waiting { ticket, .. } = client {
                see(ticket);
            }
        }
        for reply in &mut self.replies {
            if let Reply::Busy(ticket) = reply {
                see(ticket);
            }
        }
        for orphan in &mut self.orphans {
            if let Orphan::Acquire(ticket) = orphan {
                see(ticket);
            }
        }
    }
}
