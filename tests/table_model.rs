//! The lock table against everything that can happen to it.
//!
//! Three kinds of tests:
//! - Made-up histories of calls (`history`) run on the table and on a naive model of it (`model`) side by side, and
//!   after every call all that can be seen of the two must be the same: answers, effects, locks, waiters, timers.
//! - The same histories run on the table alone, and a ledger of what its callers were told (`ledger`) checks the
//!   properties that the table promises one by one. It knows nothing of the model and can contradict it.
//! - Written-out cases: mistakes that are easy to make again (`cases`), callers that come back (`return_cases`), and crowds
//!   and large sets (`scale`).
//!
//! `PROPTEST_CASES=100000 cargo test --no-default-features --test table_model` looks longer than the default.

#[path = "table_model/cases.rs"]
mod cases;
#[path = "table_model/history.rs"]
mod history;
#[path = "table_model/ledger.rs"]
mod ledger;
#[path = "table_model/model.rs"]
mod model;
#[path = "table_model/outlived.rs"]
mod outlived;
#[path = "table_model/return_cases.rs"]
mod return_cases;
#[path = "table_model/returns.rs"]
mod returns;
#[path = "table_model/scale.rs"]
mod scale;
#[path = "table_model/scene.rs"]
mod scene;

use std::time::Duration;

use history::{Call, Event, KEYS, history, make};
use ledger::Ledger;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::table::{Change, Effect, Limits, Ownerless, Table};
use model::{Model, Told};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngAlgorithm, TestCaseResult};
use returns::COMES_BACK_WITHIN;
use scene::next_number;

/// At least so many histories for each test and mode; more if the environment says so.
const CASES: u32 = 1_000;

fn config() -> ProptestConfig {
    let from_environment = ProptestConfig::default();
    ProptestConfig {
        cases: from_environment.cases.max(CASES),
        // A history that once failed becomes a test in `cases`, where a reader can see what it is about.
        failure_persistence: None,
        // Without optimization the default generator takes more time than all that is tested.
        rng_algorithm: RngAlgorithm::XorShift,
        ..from_environment
    }
}

/// Room for everybody, or so little that the bounds are met all the time.
fn limits() -> impl Strategy<Value = Limits> {
    let tight = Limits {
        waiters_per_key_max: 2,
        waiters_max: 4,
    };
    select(vec![Limits::default(), Limits::default(), tight])
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_table_does_what_the_naive_model_does(limits in limits(), events in history()) {
        run_beside_the_model(Ownerless::Exclusive, limits, &events)?;
    }

    #[test]
    fn the_table_does_what_the_naive_model_does_when_ownerless_locks_are_open(
        limits in limits(),
        events in history(),
    ) {
        run_beside_the_model(Ownerless::Open, limits, &events)?;
    }

    #[test]
    fn no_caller_is_doubled_overtaken_revived_or_left_behind(events in history()) {
        run_with_the_ledger(Ownerless::Exclusive, &events)?;
    }

    #[test]
    fn no_caller_is_doubled_overtaken_revived_or_left_behind_when_ownerless_locks_are_open(events in history()) {
        run_with_the_ledger(Ownerless::Open, &events)?;
    }
}

fn run_beside_the_model(ownerless: Ownerless, limits: Limits, events: &[Event]) -> TestCaseResult {
    let (mut table, mut model) = (
        Table::new(ownerless, limits, next_number),
        Model::new(ownerless, limits),
    );
    for event in events {
        let mut effects = Vec::new();
        let answer = make(&mut table, event.now, &event.call, &mut effects);
        let (expected, told) = model.make(event.now, &event.call);
        prop_assert_eq!(answer, expected, "the answer to {:?}", event);
        for effect in &effects {
            if let Change::Granted(token) = effect.change {
                model.tokens.insert(effect.ticket, token);
            }
        }
        compare_effects(effects, told, event)?;
        compare_views(&table, &model, event)?;
    }
    Ok(())
}

/// The order between requests is not part of the promise; that between the effects of one request is.
fn compare_effects(mut effects: Vec<Effect>, mut told: Vec<Told>, event: &Event) -> TestCaseResult {
    effects.sort_by_key(|effect| effect.ticket);
    told.sort_by_key(|told| told.ticket);
    let same = effects.len() == told.len()
        && told
            .iter()
            .zip(&effects)
            .all(|(told, effect)| told.is_said_by(effect));
    prop_assert!(
        same,
        "the effects of {event:?}\n are {effects:?}\n but should be {told:?}"
    );
    Ok(())
}

fn compare_views(table: &Table, model: &Model, event: &Event) -> TestCaseResult {
    let mut locks = table.inspect_all(event.now);
    locks.sort_by(|one, other| one.key.cmp(&other.key));
    for lock in &locks {
        prop_assert_eq!(table.inspect_key(event.now, &lock.key), Some(lock.clone()));
    }
    prop_assert_eq!(locks, model.inspect_all(event.now), "the locks after {:?}", event);

    let waiting = model.waiting();
    prop_assert_eq!(table.waiters(), model.waiters(), "the waiters after {:?}", event);
    for ticket in waiting {
        prop_assert!(table.is_waiting(ticket), "{ticket:?} should wait after {event:?}");
    }
    for key in KEYS {
        prop_assert_eq!(
            table.waiters_of(key),
            model.waiters_of(key),
            "who waits for {} after {:?}",
            key,
            event
        );
    }
    prop_assert_eq!(table.jobs(), model.jobs(), "the jobs after {:?}", event);
    prop_assert_eq!(
        table.keys(),
        model.in_use(&KEYS),
        "the keys in use after {:?}",
        event
    );
    prop_assert_eq!(
        table.next_deadline(),
        model.next_deadline(),
        "the next deadline after {:?}",
        event
    );
    Ok(())
}

fn run_with_the_ledger(ownerless: Ownerless, events: &[Event]) -> TestCaseResult {
    let (mut table, mut ledger) = (
        Table::new(ownerless, Limits::default(), next_number),
        Ledger::new(ownerless),
    );
    let mut end = Moment::from_ms(0);
    for event @ Event { now, call } in events {
        // What the time brings is noted apart from what the call does.
        make_and_note(&mut table, &mut ledger, *now, &Call::Tick)?;
        prop_assert!(
            table.next_deadline() > *now,
            "something is still due after a tick before {event:?}"
        );
        make_and_note(&mut table, &mut ledger, *now, call)?;
        ledger.check_at_rest(*now, &table)?;
        end = *now;
    }
    give_everything_back(&mut table, &mut ledger, end)
}

fn make_and_note(table: &mut Table, ledger: &mut Ledger, now: Moment, call: &Call) -> TestCaseResult {
    let mut effects = Vec::new();
    let answer = make(table, now, call, &mut effects);
    ledger.note(now, call, &answer, &effects)
}

/// When all give back what they have, again and again, everybody's turn comes and in the end nothing remains. Who is away and
/// does not come back holds up nobody for longer than a second.
fn give_everything_back(table: &mut Table, ledger: &mut Ledger, now: Moment) -> TestCaseResult {
    let mut now = now;
    // First some may be away, then the waits of those behind them have ended, and in the end nobody is expected back.
    for pause in [Duration::ZERO, 2 * COMES_BACK_WITHIN, 2 * COMES_BACK_WITHIN] {
        now = now.after(pause);
        make_and_note(table, ledger, now, &Call::Tick)?;
        serve_all_that_are_there(table, ledger, now)?;
    }
    prop_assert!(table.is_empty(), "something remains: {table:?}");
    prop_assert_eq!((table.keys(), table.jobs(), table.waiters()), (0, 0, 0));
    prop_assert_eq!(table.next_deadline(), Moment::NEVER, "a timer remains");
    Ok(())
}

fn serve_all_that_are_there(table: &mut Table, ledger: &mut Ledger, now: Moment) -> TestCaseResult {
    loop {
        let waiters = table.waiters();
        make_and_note(table, ledger, now, &Call::ReleaseAll(None))?;
        for ticket in ledger.jobs() {
            make_and_note(table, ledger, now, &Call::Finish(ticket))?;
        }
        ledger.check_at_rest(now, table)?;
        let is_kept = ledger.may_be_kept(now) > 0;
        if is_kept && table.waiters() == waiters {
            return Ok(());
        }
        prop_assert!(
            table.waiters() < waiters || waiters == 0,
            "everything was given back and none of {waiters} got a turn"
        );
        if waiters == 0 {
            return Ok(());
        }
    }
}
