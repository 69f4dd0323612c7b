//! The queue protocol on Redis (`docs/PROTOCOL.md`), checked in every state that a few processes and keys can get into.
//!
//! - `server` is the scripts in Redis, `client` what a process does about an attempt, `trouble` what goes wrong.
//! - `scenario` says who asks for what and how much goes wrong; `events` what can happen next in a `state`.
//! - `properties` are what must be true of every state. One of them is that everybody is served if nothing goes wrong
//!   from then on: `fair` plays that to its end, from each state.
//!
//! Time is left out. What needs time, such as the end of a lease, may happen at any moment when nothing prevents it. A
//! poll is never due and always possible, so that nothing may depend on when polls come.
//!
//! A caller that was refused may be away, to come back or not (docs/PROTOCOL.md, "Kept places"): nothing is sent for its
//! request meanwhile. Left out: owners with names of their own, passing a lease on within a process, and renewals: a lease lasts while its
//! process runs and is connected.
//!
//! To show that the model can fail, it also runs with one mistake in the protocol at a time, and finds it.
//!
//! `cargo test --release --test protocol_model -- --ignored --nocapture` looks much further, in minutes.

#[path = "protocol_model/client.rs"]
mod client;
#[path = "protocol_model/events.rs"]
mod events;
#[path = "protocol_model/fair.rs"]
mod fair;
#[path = "protocol_model/properties.rs"]
mod properties;
#[path = "protocol_model/scenario.rs"]
mod scenario;
#[path = "protocol_model/server.rs"]
mod server;
#[path = "protocol_model/set.rs"]
mod set;
#[path = "protocol_model/state.rs"]
mod state;
#[path = "protocol_model/trouble.rs"]
mod trouble;

use std::time::Instant;

use events::Event;
use properties::{BELIEF, EXCLUSION, HANDED_ON, NOBODY_STUCK, NOTHING_LEFT, ORDER, SERVED, SETTLED};
use scenario::Trouble::{Break, Crash, Freeze, Gap, OldNode, Push};
use scenario::{Fault, Scenario, Trouble};
use state::State;
use stateright::{Checker, HasDiscoveries, Model, Property};

const ALL: [Trouble; 6] = [Crash, Freeze, Break, Push, OldNode, Gap];
/// A late or lost push does what a late or early poll does, at a high price in states.
const ALL_BUT_PUSH: [Trouble; 5] = [Crash, Freeze, Break, OldNode, Gap];

/// The protocol in one scenario.
struct Protocol(Scenario);

impl Model for Protocol {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.0)]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        // What follows a breach only makes the way to it longer.
        if !state.passed_over && !state.left_free {
            events::possible(&self.0, state, events);
        }
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        events::after(&self.0, state, event)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(EXCLUSION, |protocol, state| {
                properties::exclusion(&protocol.0, state)
            }),
            Property::always(BELIEF, |protocol, state| properties::belief(&protocol.0, state)),
            Property::always(ORDER, |_, state: &State| !state.passed_over),
            Property::always(HANDED_ON, |_, state: &State| !state.left_free),
            Property::always(SETTLED, |protocol, state| properties::settled(&protocol.0, state)),
            Property::always(SERVED, |protocol, state| properties::served(&protocol.0, state)),
            Property::always(NOBODY_STUCK, |protocol, state| {
                properties::nobody_stuck(&protocol.0, state)
            }),
            Property::always(NOTHING_LEFT, |protocol, state| {
                properties::nothing_left(&protocol.0, state)
            }),
        ]
    }
}

/// No state of the scenario breaks a property.
fn holds(scenario: Scenario) {
    let began = Instant::now();
    let checker = Protocol(scenario).checker();
    let found = checker
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!("{} states in {:.1?}", found.unique_state_count(), began.elapsed());
    if let Some((property, path)) = found.discoveries().into_iter().next() {
        let state = *path.last_state();
        panic!(
            "{property:?} is broken by {:#?}\nwhich leads to {state:#?}",
            path.into_actions()
        );
    }
}

/// The checker finds how `fault` breaks `property`.
fn is_found(fault: Fault, property: &'static str, scenario: Scenario) {
    let found = Protocol(scenario.fault(fault))
        .checker()
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join();
    println!("{:#?}", found.assert_any_discovery(property).into_actions());
}

/// Two singles and the pair that contains their key, each in a process of its own.
fn contended() -> Scenario {
    Scenario::of(&[&[0], &[0, 1], &[0]])
}

/// Process 1 waits twice: for a key, and behind itself for that key and one that process 2 waits for as well.
fn waits_twice() -> Scenario {
    Scenario::of(&[&[0, 1], &[1], &[0]]).and(1, &[0, 1], None)
}

#[test]
fn pushes_alone_serve_everybody_when_nothing_goes_wrong() {
    holds(contended().cancels(2).pushes_alone());
}

#[test]
fn a_crash() {
    holds(contended().cancels(1).troubles(1, &[Crash]));
}

#[test]
fn a_frozen_process() {
    holds(contended().troubles(1, &[Freeze]));
}

#[test]
fn a_broken_connection() {
    holds(Scenario::of(&[&[0], &[0, 1]]).cancels(1).troubles(1, &[Break]));
}

#[test]
fn an_old_node_a_gap_and_a_lost_push() {
    holds(contended().troubles(1, &[OldNode, Gap, Push]));
}

#[test]
fn a_request_that_does_not_wait() {
    holds(
        Scenario::of(&[&[0], &[0, 1]])
            .impatient(1)
            .cancels(1)
            .troubles(1, &ALL_BUT_PUSH),
    );
}

#[test]
fn a_process_without_an_inbox() {
    holds(contended().without_inbox(1).troubles(1, &[Crash]));
}

#[test]
fn a_crash_of_a_process_that_waits_twice() {
    holds(waits_twice().troubles(1, &[Crash]));
}

/// Who is away keeps its place, and nobody who came later is given a key before it, if it comes back; if it does not,
/// everybody else is served.
#[test]
fn a_caller_that_is_away() {
    holds(contended().absences(2));
    holds(
        Scenario::of(&[&[0], &[0, 1]])
            .absences(2)
            .cancels(1)
            .troubles(1, &[Break, Crash]),
    );
}

#[test]
fn an_absence_that_never_ends_is_found() {
    is_found(Fault::AbsenceNeverEnds, SERVED, contended().absences(1));
}

#[test]
fn a_grant_to_a_caller_that_is_away_and_is_forgotten_is_found() {
    is_found(Fault::AwayGrantForgotten, SETTLED, contended().absences(1));
}

#[test]
fn a_release_that_only_deletes_is_found() {
    is_found(Fault::ReleaseOnlyDeletes, HANDED_ON, contended());
}

/// And that it matters: without polls nobody would ever look again.
#[test]
fn a_release_that_only_deletes_is_found_to_leave_waiters_stuck() {
    is_found(
        Fault::ReleaseOnlyDeletes,
        NOBODY_STUCK,
        contended().pushes_alone(),
    );
}

#[test]
fn a_cancel_that_forgets_its_queues_is_found() {
    is_found(Fault::CancelForgetsQueues, HANDED_ON, contended().cancels(1));
}

#[test]
fn a_grant_that_is_not_claimed_is_found() {
    is_found(Fault::GrantNotClaimed, EXCLUSION, contended());
}

#[test]
fn a_claim_beside_a_poll_is_found() {
    is_found(Fault::ClaimBesidePoll, BELIEF, contended());
}

#[test]
fn dead_waiters_that_are_not_skipped_are_found() {
    is_found(Fault::DeadNotSkipped, SERVED, contended().troubles(1, &[Crash]));
}

/// The first waiter of a key is frozen. It stands in another queue as well, behind a waiter of the same process whose
/// claim has lapsed. Nobody else stands there, so that nobody would look at it.
#[test]
fn a_handover_that_ignores_other_queues_is_found() {
    is_found(
        Fault::OtherQueuesIgnored,
        SERVED,
        waits_twice().troubles(1, &[Freeze]),
    );
}

/// Nobody has to be frozen for it to leave a free key to nobody for a while.
#[test]
fn a_handover_that_ignores_other_queues_is_found_to_leave_a_key_free() {
    let scenario = Scenario::of(&[&[0], &[1], &[1], &[0, 1]]).troubles(1, &[Crash]);
    is_found(Fault::OtherQueuesIgnored, HANDED_ON, scenario);
}

#[test]
fn a_lapse_that_is_not_noticed_is_found() {
    is_found(Fault::LapseIgnored, EXCLUSION, contended().troubles(1, &[Freeze]));
}

#[test]
fn a_connection_without_a_fence_is_found() {
    is_found(
        Fault::NoFence,
        SETTLED,
        contended().cancels(1).troubles(1, &[Break]),
    );
}

#[test]
fn a_lost_reply_that_is_forgotten_is_found() {
    is_found(
        Fault::LostReplyForgotten,
        SETTLED,
        contended().cancels(1).troubles(1, &[Break]),
    );
}

#[test]
fn a_queue_that_is_ignored_is_found() {
    is_found(Fault::QueueIgnored, ORDER, contended().troubles(1, &[OldNode]));
}

/// `cargo test --release --test protocol_model -- --ignored --nocapture`
#[test]
#[ignore = "minutes"]
fn further() {
    holds(
        Scenario::of(&[&[0], &[0, 1], &[1], &[1, 2], &[0]])
            .cancels(1)
            .pushes_alone(),
    );
    holds(waits_twice().troubles(1, &[Freeze]));
    holds(Scenario::of(&[&[0], &[1], &[1], &[0, 1]]).troubles(1, &[Crash, Freeze]));
    holds(
        Scenario::of(&[&[0], &[0, 1], &[1, 2]])
            .cancels(1)
            .troubles(1, &ALL_BUT_PUSH),
    );
    holds(
        Scenario::of(&[&[0], &[0, 1]])
            .and(0, &[0], Some(0))
            .cancels(2)
            .troubles(2, &ALL_BUT_PUSH),
    );
    holds(contended().impatient(1).cancels(1).troubles(1, &ALL_BUT_PUSH));
    holds(contended().without_inbox(1).cancels(1).troubles(1, &ALL_BUT_PUSH));
    holds(contended().cancels(1).troubles(1, &ALL));
    holds(Scenario::of(&[&[0], &[0, 1]]).cancels(1).troubles(3, &ALL));
    holds(contended().troubles(2, &ALL_BUT_PUSH));
    holds(contended().cancels(1).troubles(2, &[Crash, Freeze, Break]));
}
