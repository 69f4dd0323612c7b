//! What clients do in the ordinary course of things. Every function returns None where there is nothing of the kind to
//! do.

use super::scenario::{Fault, Scenario, Trouble};
use super::server::Answer;
use super::state::{Client, End, Life, Reply, State};

/// Whether the attempt's caller may ask now.
pub fn may_ask(scenario: &Scenario, state: &State, attempt: usize) -> bool {
    let has_ended = |before: usize| matches!(state.clients[before], Client::Ended(_));
    state.clients[attempt] == Client::Idle && scenario.asks[attempt].after.is_none_or(has_ended)
}

pub fn ask(scenario: &Scenario, state: &mut State, attempt: usize, gap: bool) -> Option<()> {
    if !may_ask(scenario, state, attempt) {
        return None;
    }
    state.clients[attempt] = Client::Waiting {
        ticket: 0,
        doubt: false,
    };
    acquire(scenario, state, attempt, gap)
}

/// Sends an acquire, which runs at once. A client has one command for an attempt under way at a time.
pub fn acquire(scenario: &Scenario, state: &mut State, attempt: usize, gap: bool) -> Option<()> {
    let Client::Waiting { ticket: known, .. } = state.clients[attempt] else {
        return None;
    };
    if state.away.has(attempt) || !is_free_to_send(scenario, state, attempt) {
        return None;
    }
    let answer = state.run(scenario, gap, |server, turn| server.acquire(attempt, known, turn))?;
    state.replies[attempt] = match answer {
        Answer::Granted(token) => Reply::Granted { token, lapsed: false },
        // It tells the client nothing new, so that it does not matter when it arrives.
        Answer::Busy(ticket) if ticket == known && scenario.asks[attempt].waits => Reply::None,
        Answer::Busy(ticket) => Reply::Busy(ticket),
    };
    receive_what_cannot_be_lost(scenario, state, attempt)
}

/// When a reply arrives that grants nothing only matters while it can still be lost.
fn receive_what_cannot_be_lost(scenario: &Scenario, state: &mut State, attempt: usize) -> Option<()> {
    let grants = matches!(state.replies[attempt], Reply::Granted { .. });
    if grants || state.replies[attempt] == Reply::None || state.may(scenario, Trouble::Break) {
        return Some(());
    }
    receive(scenario, state, attempt)
}

fn is_free_to_send(scenario: &Scenario, state: &State, attempt: usize) -> bool {
    state.is_up(scenario.asks[attempt].process) && state.replies[attempt] == Reply::None
}

/// A push says that the locks were handed over. It may be late: only a claim tells whether they still are. While an
/// acquire is under way the push has to wait: a second one would change the token behind the first one's back.
pub fn hear(scenario: &Scenario, state: &mut State, attempt: usize, gap: bool) -> Option<()> {
    if !state.is_live(attempt, scenario) {
        return None;
    }
    if scenario.has(Fault::GrantNotClaimed) {
        state.clients[attempt] = Client::Holding {
            token: 0,
            lapsed: false,
        };
        return (!gap).then_some(());
    }
    let under_way = state.replies[attempt];
    if under_way != Reply::None && scenario.has(Fault::ClaimBesidePoll) {
        state.replies[attempt] = Reply::None;
        acquire(scenario, state, attempt, gap)?;
        // The answer to the first one arrives first.
        state.replies[attempt] = under_way;
        return Some(());
    }
    acquire(scenario, state, attempt, gap)
}

pub fn receive(scenario: &Scenario, state: &mut State, attempt: usize) -> Option<()> {
    let reply = std::mem::replace(&mut state.replies[attempt], Reply::None);
    if reply == Reply::None || !state.is_up(scenario.asks[attempt].process) {
        return None;
    }
    let is_away = state.away.has(attempt);
    let client = &mut state.clients[attempt];
    *client = match (*client, reply) {
        (Client::Waiting { .. }, Reply::Granted { .. })
            if is_away && scenario.has(Fault::AwayGrantForgotten) =>
        {
            Client::Ended(End::No)
        }
        // It claims its locks again when its caller comes back, or cancels.
        (Client::Waiting { ticket, .. }, Reply::Granted { .. }) if is_away => {
            Client::Waiting { ticket, doubt: true }
        }
        (Client::Waiting { .. }, Reply::Granted { token, lapsed: false }) => {
            Client::Holding { token, lapsed: false }
        }
        (Client::Waiting { .. }, Reply::Granted { token, .. }) if scenario.has(Fault::LapseIgnored) => {
            Client::Holding { token, lapsed: false }
        }
        // Too old a grant is asked for again. Part of it may still stand.
        (Client::Waiting { ticket, .. }, Reply::Granted { .. }) => Client::Waiting { ticket, doubt: true },
        (Client::Waiting { doubt, .. }, Reply::Busy(ticket)) if scenario.asks[attempt].waits => {
            Client::Waiting { ticket, doubt }
        }
        (Client::Waiting { doubt, .. }, Reply::Busy(_)) => told_no(scenario, doubt),
        (Client::Releasing { .. }, Reply::Done) => Client::Ended(End::Served),
        (Client::Leaving, Reply::Done) => Client::Ended(End::No),
        // What comes for a caller that has gone is given back by its cancel.
        (client, _) => client,
    };
    Some(())
}

/// A request that does not wait and has all its answers leaves nothing behind; any other has to be cancelled.
fn told_no(scenario: &Scenario, doubt: bool) -> Client {
    if doubt && !scenario.has(Fault::LostReplyForgotten) {
        Client::Leaving
    } else {
        Client::Ended(End::No)
    }
}

/// The job ends. Its release runs at once if there is a connection: whatever happens in between might as well happen
/// before the job ends.
pub fn finish(scenario: &Scenario, state: &mut State, attempt: usize, gap: bool) -> Option<()> {
    let Client::Holding { token, .. } = state.clients[attempt] else {
        return None;
    };
    state.clients[attempt] = Client::Releasing { token };
    if is_free_to_send(scenario, state, attempt) {
        return settle(scenario, state, attempt, gap);
    }
    (!gap && is_running(scenario, state, attempt)).then_some(())
}

/// Whatever the answer to a command under way will be: it is too late.
pub fn give_up(scenario: &Scenario, state: &mut State, attempt: usize) -> Option<()> {
    let Client::Waiting { doubt, .. } = state.clients[attempt] else {
        return None;
    };
    state.cancels_left -= 1;
    state.clients[attempt] = if doubt && scenario.has(Fault::LostReplyForgotten) {
        Client::Ended(End::No)
    } else {
        Client::Leaving
    };
    is_running(scenario, state, attempt).then_some(())
}

/// The caller of a waiter that knows its place is refused, and its request stays.
pub fn go_away(scenario: &Scenario, state: &mut State, attempt: usize) -> Option<()> {
    let Client::Waiting { ticket: 1.., .. } = state.clients[attempt] else {
        return None;
    };
    state.absences_left -= 1;
    let was_there = !state.away.has(attempt);
    state.away = state.away.with(attempt);
    (was_there && is_running(scenario, state, attempt)).then_some(())
}

/// Its request goes on, and polls as any other.
pub fn come_back(scenario: &Scenario, state: &mut State, attempt: usize) -> Option<()> {
    let was_away = state.away.has(attempt);
    state.away = state.away.without(attempt);
    (was_away && is_running(scenario, state, attempt)).then_some(())
}

/// As long as it takes for its absence to end, which is shorter than a claim may take.
pub fn stay_away(scenario: &Scenario, state: &mut State, attempt: usize) -> Option<()> {
    let ends = state.away.has(attempt) && !scenario.has(Fault::AbsenceNeverEnds);
    state.away = state.away.without(attempt);
    state.clients[attempt] = Client::Leaving;
    (ends && is_running(scenario, state, attempt)).then_some(())
}

fn is_running(scenario: &Scenario, state: &State, attempt: usize) -> bool {
    state.processes[scenario.asks[attempt].process].life == Life::Running
}

/// Sends the release or the cancel that is due, for the first time or again because its answer was lost.
pub fn settle(scenario: &Scenario, state: &mut State, attempt: usize, gap: bool) -> Option<()> {
    if !is_free_to_send(scenario, state, attempt) {
        return None;
    }
    match state.clients[attempt] {
        Client::Releasing { token } => state.run(scenario, gap, |server, turn| {
            server.release(attempt, token, turn);
        }),
        Client::Leaving => state.run(scenario, gap, |server, turn| server.cancel(attempt, turn)),
        _ => None,
    }?;
    state.replies[attempt] = Reply::Done;
    receive_what_cannot_be_lost(scenario, state, attempt)
}
