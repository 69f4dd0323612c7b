//! What follows from a state if from now on nothing goes wrong any more.

use super::events::{Event, after, possible};
use super::scenario::Scenario;
use super::server::Lock;
use super::state::{Client, Life, State};

/// A run ends in fewer rounds than this, or never.
const ROUNDS_MAX: usize = 50;

/// In which order the waiters poll in each round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Up,
    Down,
}

/// Runs everything that is due, round by round, until nothing changes any more: replies arrive, connections are made
/// anew, jobs end, waiters poll, and what belongs to processes that do nothing any more expires, except for the records
/// of waiters and queues: nobody shall have to wait for that. Frozen processes stay frozen. None: it does not end.
pub fn run(scenario: &Scenario, state: &State, order: Order) -> Option<State> {
    let mut state = calm(state);
    for _ in 0..ROUNDS_MAX {
        let before = state;
        round(scenario, &mut state, order);
        if state == before {
            return Some(state);
        }
    }
    None
}

/// The same state, and nothing more goes wrong.
fn calm(state: &State) -> State {
    State {
        troubles_left: 0,
        cancels_left: 0,
        absences_left: 0,
        ..*state
    }
}

fn round(scenario: &Scenario, state: &mut State, order: Order) {
    let step = |state: &mut State, event| *state = after(scenario, state, event).unwrap_or(*state);
    for attempt in scenario.attempts() {
        step(state, Event::RunOrphan { attempt });
    }
    for process in scenario.processes() {
        step(state, Event::Reconnect { process });
    }
    for key in scenario.keys().iter() {
        step(state, Event::OldNodeReleases { key });
        step(state, Event::GapEnds { key });
        if !will_be_claimed(scenario, state, key) {
            step(state, Event::Expire { key });
        }
    }
    for nth in scenario.attempts() {
        let attempt = match order {
            Order::Up => nth,
            Order::Down => scenario.asks.len() - 1 - nth,
        };
        // None of those comes back who are away.
        for event in [
            Event::StayAway { attempt },
            Event::Receive { attempt },
            Event::Poll { attempt, gap: false },
            Event::Receive { attempt },
            Event::Finish { attempt, gap: false },
            Event::Settle { attempt, gap: false },
            Event::Receive { attempt },
        ] {
            step(state, event);
        }
    }
}

fn will_be_claimed(scenario: &Scenario, state: &State, key: usize) -> bool {
    let Lock::HandedOver(attempt) = state.server.locks[key] else {
        return false;
    };
    state.is_live(usize::from(attempt), scenario)
}

/// Whether every request that a running process has made has ended.
pub fn is_served(scenario: &Scenario, state: &State) -> bool {
    scenario.attempts().all(|attempt| {
        let process = &state.processes[scenario.asks[attempt].process];
        process.life != Life::Running || matches!(state.clients[attempt], Client::Idle | Client::Ended(_))
    })
}

/// Whether nothing can happen but troubles.
pub fn is_quiescent(scenario: &Scenario, state: &State) -> bool {
    let state = calm(state);
    let mut events = Vec::new();
    possible(scenario, &state, &mut events);
    events
        .into_iter()
        .all(|event| after(scenario, &state, event).is_none())
}

/// What is left of a state in which everybody who runs is served when the others have died, and what belongs to them
/// has expired.
pub fn bury(scenario: &Scenario, state: &State) -> State {
    let mut state = *state;
    for process in scenario.processes() {
        if state.processes[process].life == Life::Frozen {
            state.processes[process].life = Life::Dead;
        }
    }
    for key in scenario.keys().iter() {
        state.server.locks[key] = match state.server.locks[key] {
            Lock::OldNode => Lock::Free,
            Lock::HandedOver(of) | Lock::Leased(of, _) if is_dead(scenario, &state, usize::from(of)) => {
                Lock::Free
            }
            lock => lock,
        };
    }
    for attempt in scenario.attempts() {
        if is_dead(scenario, &state, attempt) {
            state.server.waiters[attempt] = None;
            state
                .server
                .queues
                .iter_mut()
                .for_each(|queue| queue[attempt] = 0);
        }
    }
    state
}

fn is_dead(scenario: &Scenario, state: &State, attempt: usize) -> bool {
    state.processes[scenario.asks[attempt].process].life == Life::Dead
}
