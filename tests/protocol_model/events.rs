//! What can happen, and what follows from it.

use super::client::{acquire, ask, come_back, finish, give_up, go_away, hear, receive, settle, stay_away};
use super::scenario::{Scenario, Trouble};
use super::server::Lock;
use super::state::{Client, State};
use super::trouble::{
    break_connection, crash, expire, expire_queue, freeze, lapse, reconnect, run_orphan, thaw, unsubscribe,
};

/// One step. Numbers are attempts, processes or keys. `gap`: the script's first handover leaves its key free instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A caller asks for its locks; its acquire runs on the server.
    Ask {
        attempt: usize,
        gap: bool,
    },
    /// A waiter asks again, because its pause is over.
    Poll {
        attempt: usize,
        gap: bool,
    },
    /// A push tells a waiter of its grant, and it claims its locks.
    Hear {
        attempt: usize,
        gap: bool,
    },
    /// The same, and the push will come once more.
    HearTwice {
        attempt: usize,
    },
    LosePush {
        attempt: usize,
    },
    /// A reply arrives.
    Receive {
        attempt: usize,
    },
    /// The job of a holder ends.
    Finish {
        attempt: usize,
        gap: bool,
    },
    /// The caller of a waiter is told no: its patience is over, or it has gone.
    GiveUp {
        attempt: usize,
    },
    /// The caller of a waiter is refused, and expected back.
    GoAway {
        attempt: usize,
    },
    /// It comes back, and its request goes on.
    ComeBack {
        attempt: usize,
    },
    /// It does not come back in time: its request is cancelled.
    StayAway {
        attempt: usize,
    },
    /// A release or a cancel that is due runs on the server.
    Settle {
        attempt: usize,
        gap: bool,
    },
    Crash {
        process: usize,
    },
    Freeze {
        process: usize,
    },
    Thaw {
        process: usize,
    },
    /// A connection breaks and takes all replies and pushes with it, which the server does not see yet. `orphan`: the
    /// attempt whose next command was just written and may run later.
    Break {
        process: usize,
        orphan: Option<usize>,
    },
    /// The server sees that a connection is broken, and reads nothing more from it.
    Unsubscribe {
        process: usize,
    },
    /// The server reads a command from a connection that is broken.
    RunOrphan {
        attempt: usize,
    },
    Reconnect {
        process: usize,
    },
    /// A lock expires: a claim that was not made, or a lease that was not renewed.
    Expire {
        key: usize,
    },
    /// A lease ends by the client's clock, which is earlier than by the server's.
    Lapse {
        attempt: usize,
    },
    /// The record of a waiter expires.
    ExpireWaiter {
        attempt: usize,
    },
    /// A queue expires that nobody polls.
    ExpireQueue {
        key: usize,
    },
    OldNodeTakes {
        key: usize,
    },
    OldNodeReleases {
        key: usize,
    },
    GapEnds {
        key: usize,
    },
}

/// All events that may happen in `state`; some may turn out to change nothing.
pub fn possible(scenario: &Scenario, state: &State, events: &mut Vec<Event>) {
    let may = |trouble| state.may(scenario, trouble);
    let gaps: &[bool] = if may(Trouble::Gap) {
        &[false, true]
    } else {
        &[false]
    };
    for attempt in scenario.attempts() {
        for &gap in gaps {
            events.extend([
                Event::Ask { attempt, gap },
                Event::Hear { attempt, gap },
                Event::Finish { attempt, gap },
                Event::Settle { attempt, gap },
            ]);
            if !scenario.pushes_alone {
                events.push(Event::Poll { attempt, gap });
            }
        }
        events.extend([
            Event::Receive { attempt },
            Event::RunOrphan { attempt },
            Event::Lapse { attempt },
            Event::ExpireWaiter { attempt },
        ]);
        if state.absences_left > 0 {
            events.push(Event::GoAway { attempt });
        }
        if state.away.has(attempt) {
            events.extend([Event::ComeBack { attempt }, Event::StayAway { attempt }]);
        }
        if state.cancels_left > 0 {
            events.push(Event::GiveUp { attempt });
        }
        if may(Trouble::Push) {
            events.extend([Event::HearTwice { attempt }, Event::LosePush { attempt }]);
        }
    }
    for process in scenario.processes() {
        events.extend([
            Event::Thaw { process },
            Event::Unsubscribe { process },
            Event::Reconnect { process },
        ]);
        if may(Trouble::Crash) {
            events.push(Event::Crash { process });
        }
        if may(Trouble::Freeze) {
            events.push(Event::Freeze { process });
        }
        if may(Trouble::Break) {
            breaks(scenario, process, events);
        }
    }
    for key in scenario.keys().iter() {
        events.extend([
            Event::Expire { key },
            Event::ExpireQueue { key },
            Event::OldNodeReleases { key },
            Event::GapEnds { key },
        ]);
        if may(Trouble::OldNode) {
            events.push(Event::OldNodeTakes { key });
        }
    }
}

fn breaks(scenario: &Scenario, process: usize, events: &mut Vec<Event>) {
    let orphans = scenario.attempts_of(process).map(Some);
    events.extend(
        std::iter::once(None)
            .chain(orphans)
            .map(|orphan| Event::Break { process, orphan }),
    );
}

/// The state after `event`; None if it cannot happen, or changes nothing.
pub fn after(scenario: &Scenario, before: &State, event: Event) -> Option<State> {
    let mut state = *before;
    happen(scenario, &mut state, event)?;
    tidy(scenario, &mut state);
    (state != *before).then_some(state)
}

/// Forgets what cannot matter any more, so that states which differ in nothing else are one.
fn tidy(scenario: &Scenario, state: &mut State) {
    for attempt in scenario.attempts() {
        let waits = matches!(state.clients[attempt], Client::Waiting { .. });
        if !waits {
            state.pushes = state.pushes.without(attempt);
            state.away = state.away.without(attempt);
        }
    }
    state.renumber_tickets();
}

fn happen(scenario: &Scenario, state: &mut State, event: Event) -> Option<()> {
    match event {
        Event::Ask { attempt, gap } => ask(scenario, state, attempt, gap),
        Event::Poll { attempt, gap } => acquire(scenario, state, attempt, gap),
        Event::Hear { attempt, gap } => {
            let heard = state.pushes.has(attempt);
            state.pushes = state.pushes.without(attempt);
            heard.then(|| hear(scenario, state, attempt, gap))?
        }
        Event::HearTwice { attempt } => {
            state.troubles_left -= 1;
            state
                .pushes
                .has(attempt)
                .then(|| hear(scenario, state, attempt, false))?
        }
        Event::LosePush { attempt } => {
            state.troubles_left -= 1;
            let on_its_way = state.pushes.has(attempt);
            state.pushes = state.pushes.without(attempt);
            on_its_way.then_some(())
        }
        Event::Receive { attempt } => receive(scenario, state, attempt),
        Event::Finish { attempt, gap } => finish(scenario, state, attempt, gap),
        Event::GiveUp { attempt } => give_up(scenario, state, attempt),
        Event::GoAway { attempt } => go_away(scenario, state, attempt),
        Event::ComeBack { attempt } => come_back(scenario, state, attempt),
        Event::StayAway { attempt } => stay_away(scenario, state, attempt),
        Event::Settle { attempt, gap } => settle(scenario, state, attempt, gap),
        Event::Crash { process } => crash(scenario, state, process),
        Event::Freeze { process } => freeze(state, process),
        Event::Thaw { process } => thaw(scenario, state, process),
        Event::Break { process, orphan } => break_connection(scenario, state, process, orphan),
        Event::Unsubscribe { process } => unsubscribe(scenario, state, process),
        Event::RunOrphan { attempt } => run_orphan(scenario, state, attempt),
        Event::Reconnect { process } => reconnect(scenario, state, process),
        Event::Expire { key } => expire(scenario, state, key),
        Event::Lapse { attempt } => lapse(scenario, state, attempt),
        Event::ExpireWaiter { attempt } => {
            let idle = !state.is_live(attempt, scenario);
            state.server.waiters[attempt] = None;
            idle.then_some(())
        }
        Event::ExpireQueue { key } => expire_queue(state, key),
        Event::OldNodeTakes { key } => {
            state.troubles_left -= 1;
            let free = state.server.locks[key] == Lock::Free;
            state.server.locks[key] = Lock::OldNode;
            free.then_some(())
        }
        Event::OldNodeReleases { key } => {
            let held = state.server.locks[key] == Lock::OldNode;
            state.server.locks[key] = Lock::Free;
            held.then_some(())
        }
        Event::GapEnds { key } => {
            let was_there = state.server.gaps.has(key);
            state.server.gaps = state.server.gaps.without(key);
            was_there.then_some(())
        }
    }
}
