//! What goes wrong: processes, connections and time. Every function returns None where nothing of the kind can happen.

use super::client::may_ask;
use super::scenario::{ATTEMPTS, Fault, Scenario};
use super::server::Lock;
use super::state::{Client, End, Life, Orphan, Reply, State};

/// The server sees at once that the connection is gone. A machine that dies without a word is frozen for ever.
pub fn crash(scenario: &Scenario, state: &mut State, process: usize) -> Option<()> {
    if state.processes[process].life == Life::Dead {
        return None;
    }
    state.troubles_left -= 1;
    state.processes[process].life = Life::Dead;
    state.processes[process].connected = false;
    state.server.subscribed = state.server.subscribed.without(process);
    state.drop_orphans(scenario, process);
    for attempt in scenario.attempts_of(process) {
        state.replies[attempt] = Reply::None;
        state.pushes = state.pushes.without(attempt);
        if !matches!(state.clients[attempt], Client::Ended(_)) {
            state.clients[attempt] = Client::Ended(End::Dead);
        }
    }
    Some(())
}

pub fn freeze(state: &mut State, process: usize) -> Option<()> {
    let life = &mut state.processes[process].life;
    if *life != Life::Running {
        return None;
    }
    *life = Life::Frozen;
    state.troubles_left -= 1;
    Some(())
}

/// The first thing that a process does is to look at the clock.
pub fn thaw(scenario: &Scenario, state: &mut State, process: usize) -> Option<()> {
    if state.processes[process].life != Life::Frozen {
        return None;
    }
    state.processes[process].life = Life::Running;
    for attempt in scenario.attempts_of(process) {
        if let Client::Holding { token, lapsed: true } = state.clients[attempt] {
            state.clients[attempt] = if scenario.has(Fault::LapseIgnored) {
                Client::Holding { token, lapsed: false }
            } else {
                Client::Releasing { token }
            };
        }
    }
    Some(())
}

/// Replies and pushes under way are lost. With an `orphan`, that attempt's next command was written just before: it may
/// still run until the server sees that the connection is broken.
pub fn break_connection(
    scenario: &Scenario,
    state: &mut State,
    process: usize,
    orphan: Option<usize>,
) -> Option<()> {
    if !state.processes[process].connected {
        return None;
    }
    if let Some(attempt) = orphan {
        write_orphan(scenario, state, attempt)?;
    }
    state.troubles_left -= 1;
    state.processes[process].connected = false;
    for attempt in scenario.attempts_of(process) {
        state.pushes = state.pushes.without(attempt);
        let unanswered = state.replies[attempt] != Reply::None || orphan == Some(attempt);
        if let Client::Waiting { doubt, .. } = &mut state.clients[attempt] {
            *doubt |= unanswered;
        }
        state.replies[attempt] = Reply::None;
    }
    Some(())
}

/// The connection that was subscribed is the one that commands were written to.
pub fn unsubscribe(scenario: &Scenario, state: &mut State, process: usize) -> Option<()> {
    let is_broken = !state.processes[process].connected;
    state.server.subscribed = state.server.subscribed.without(process);
    state.drop_orphans(scenario, process);
    is_broken.then_some(())
}

fn write_orphan(scenario: &Scenario, state: &mut State, attempt: usize) -> Option<()> {
    if !state.is_up(scenario.asks[attempt].process) || state.replies[attempt] != Reply::None {
        return None;
    }
    if may_ask(scenario, state, attempt) {
        state.clients[attempt] = Client::Waiting {
            ticket: 0,
            doubt: true,
        };
    }
    state.orphans[attempt] = match state.clients[attempt] {
        Client::Waiting { ticket, .. } => Orphan::Acquire(ticket),
        Client::Releasing { token } | Client::Holding { token, .. } => Orphan::Release(token),
        Client::Leaving => Orphan::Cancel,
        Client::Idle | Client::Ended(_) => return None,
    };
    if let Client::Holding { token, .. } = state.clients[attempt] {
        state.clients[attempt] = Client::Releasing { token };
    }
    Some(())
}

pub fn run_orphan(scenario: &Scenario, state: &mut State, attempt: usize) -> Option<()> {
    match std::mem::replace(&mut state.orphans[attempt], Orphan::None) {
        Orphan::None => None,
        Orphan::Acquire(ticket) => state.run(scenario, false, |server, turn| {
            server.acquire(attempt, ticket, turn);
        }),
        Orphan::Release(token) => state.run(scenario, false, |server, turn| {
            server.release(attempt, token, turn);
        }),
        Orphan::Cancel => state.run(scenario, false, |server, turn| server.cancel(attempt, turn)),
    }
}

/// The new connection subscribes, and fences the old one: nothing that was written to it runs after this.
pub fn reconnect(scenario: &Scenario, state: &mut State, process: usize) -> Option<()> {
    let is_needed = state.processes[process].life == Life::Running && !state.processes[process].connected;
    state.processes[process].connected = true;
    state.server.subscribed = state.server.subscribed.with(process);
    if !scenario.has(Fault::NoFence) {
        state.drop_orphans(scenario, process);
    }
    is_needed.then_some(())
}

/// The lock of a live holder does not expire: it is renewed.
pub fn expire(scenario: &Scenario, state: &mut State, key: usize) -> Option<()> {
    match state.server.locks[key] {
        Lock::HandedOver(of) if scenario.pushes_alone && state.is_live(usize::from(of), scenario) => {
            return None;
        }
        Lock::HandedOver(_) => {}
        Lock::Leased(attempt, token) => {
            let attempt = usize::from(attempt);
            let is_up = state.is_up(scenario.asks[attempt].process);
            if is_up && has_lease(state, attempt, token) {
                return None;
            }
            lease_ends(scenario, state, attempt, token);
        }
        Lock::Free | Lock::OldNode => return None,
    }
    state.server.locks[key] = Lock::Free;
    Some(())
}

fn has_lease(state: &State, attempt: usize, token: u8) -> bool {
    matches!(state.clients[attempt], Client::Holding { token: held, .. } if held == token)
        || matches!(state.replies[attempt], Reply::Granted { token: given, .. } if given == token)
}

/// The client's clock is ahead of the server's: a lease counts from when its command was sent, less a margin. So a
/// process that runs was told before the lock expires.
fn lease_ends(scenario: &Scenario, state: &mut State, attempt: usize, token: u8) {
    if !has_lease(state, attempt, token) {
        return;
    }
    if let Reply::Granted { lapsed, .. } = &mut state.replies[attempt] {
        *lapsed = true;
    }
    let is_running = state.processes[scenario.asks[attempt].process].life == Life::Running;
    if let Client::Holding { lapsed, .. } = &mut state.clients[attempt] {
        *lapsed = true;
        if is_running {
            state.clients[attempt] = Client::Releasing { token };
        }
    }
}

pub fn lapse(scenario: &Scenario, state: &mut State, attempt: usize) -> Option<()> {
    let Client::Holding { token, .. } = state.clients[attempt] else {
        return None;
    };
    if state.is_up(scenario.asks[attempt].process) {
        return None;
    }
    lease_ends(scenario, state, attempt, token);
    Some(())
}

/// The same poll that prolongs a waiter's record prolongs its queues, so that these live at least as long.
pub fn expire_queue(state: &mut State, key: usize) -> Option<()> {
    let queue = &mut state.server.queues[key];
    let waiters = &state.server.waiters;
    let has_waiter = (0..ATTEMPTS).any(|attempt| queue[attempt] > 0 && waiters[attempt].is_some());
    queue.fill(0);
    (!has_waiter).then_some(())
}
