//! What must be true of every state, each in a sentence.

use super::fair::{self, Order};
use super::scenario::{KEYS, Scenario};
use super::server::Lock;
use super::set::Set;
use super::state::{Client, End, State};

/// The caller of at most one attempt believes of a key that it holds it.
pub const EXCLUSION: &str = "exclusion";
/// Whoever believes that it holds its locks does: they stand in Redis under its attempt id and its token.
pub const BELIEF: &str = "belief";
/// No waiter is given a key while another one stands before it in the queue of that key whose process runs and is
/// connected.
pub const ORDER: &str = "order";
/// No script leaves a key free, but for a gap, while somebody live who waits for it is entitled to it.
pub const HANDED_ON: &str = "handed on";
/// Nothing in Redis bears the name of an attempt whose caller was told no, or gave its locks back, once the client has
/// the answer to its cancel or release.
pub const SETTLED: &str = "settled";
/// If from now on nothing goes wrong any more, then every request that a running process has made ends, whichever of
/// them poll first, and nobody has to wait until the record of somebody else expires.
pub const SERVED: &str = "served";
/// Where nothing can happen any more, nobody who runs waits.
pub const NOBODY_STUCK: &str = "nobody stuck";
/// When everybody has ended or died, and what belongs to the dead has expired, then no lock is held, and there is no
/// queue and no waiter's record.
pub const NOTHING_LEFT: &str = "nothing left";

pub fn exclusion(scenario: &Scenario, state: &State) -> bool {
    let mut believed = Set::EMPTY;
    scenario
        .attempts()
        .filter(|attempt| state.believes(*attempt))
        .all(|attempt| {
            let keys = scenario.asks[attempt].keys;
            let alone = believed.both(keys).is_empty();
            believed = believed.or(keys);
            alone
        })
}

pub fn belief(scenario: &Scenario, state: &State) -> bool {
    scenario.attempts().all(|attempt| match state.clients[attempt] {
        Client::Holding { token, lapsed: false } => scenario.asks[attempt].keys.iter().all(|key| {
            let Lock::Leased(of, under) = state.server.locks[key] else {
                return false;
            };
            usize::from(of) == attempt && under == token
        }),
        _ => true,
    })
}

pub fn settled(scenario: &Scenario, state: &State) -> bool {
    scenario.attempts().all(|attempt| {
        let has_ended = matches!(state.clients[attempt], Client::Ended(End::No | End::Served));
        !(has_ended && state.server.knows(attempt))
    })
}

pub fn served(scenario: &Scenario, state: &State) -> bool {
    [Order::Up, Order::Down]
        .into_iter()
        .all(|order| fair::run(scenario, state, order).is_some_and(|state| fair::is_served(scenario, &state)))
}

pub fn nobody_stuck(scenario: &Scenario, state: &State) -> bool {
    fair::is_served(scenario, state) || !fair::is_quiescent(scenario, state)
}

pub fn nothing_left(scenario: &Scenario, state: &State) -> bool {
    if !fair::is_served(scenario, state) {
        return true;
    }
    let state = fair::bury(scenario, state);
    (0..KEYS).all(|key| state.server.locks[key] == Lock::Free)
        && !scenario.attempts().any(|attempt| state.server.knows(attempt))
}
