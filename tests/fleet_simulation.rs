//! Members of a fleet, their links and their server, under everything that can happen to them.
//!
//! The members are real ([`Fleet`] is pure); the clock jumps from event to event, so minutes take milliseconds, and
//! the same plan always takes the same course. What is simulated:
//! - the callers (`calls`): jobs that run, locks that owners hold, waits, cancels, and threads that are stuck;
//! - the members and their links (`member`, `weather`): processes freeze, thaw and die; links lag, break, lose what is
//!   under way or deliver it later, and come back; what the server says of its own accord is lost or comes twice;
//! - nodes of the fleet that know no queue (`old_nodes`): they poll;
//! - the server (`server`): it does what the Lua scripts do (`scripts`, `records`, `queues`, `handover`), each in one step. A change
//!   of a script needs the same change there. It is killed with or without its data, freezes, and refuses commands.
//!
//! After every event, all that callers were told is checked against what is so: the properties are listed in `checks`.
//! When a plan is over the weather clears up, everybody gives back what he has, and nothing may be left.
//!
//! A failure prints the shortest plan that was found for it and the course that it takes. `cases` has such plans.
//! `PROPTEST_CASES=100000 PROPTEST_RNG_SEED=2 cargo test --release --no-default-features --test fleet_simulation` looks
//! longer, and elsewhere.
//!
//! [`Fleet`]: medusa_locking_native::core::fleet::Fleet

#[path = "fleet_simulation/calls.rs"]
mod calls;
#[path = "fleet_simulation/cases.rs"]
mod cases;
#[path = "fleet_simulation/checks.rs"]
mod checks;
#[path = "fleet_simulation/claims.rs"]
mod claims;
#[path = "fleet_simulation/handover.rs"]
mod handover;
#[path = "fleet_simulation/ledger.rs"]
mod ledger;
#[path = "fleet_simulation/member.rs"]
mod member;
#[path = "fleet_simulation/old_nodes.rs"]
mod old_nodes;
#[path = "fleet_simulation/plan.rs"]
mod plan;
#[path = "fleet_simulation/pollers.rs"]
mod pollers;
#[path = "fleet_simulation/queues.rs"]
mod queues;
#[path = "fleet_simulation/records.rs"]
mod records;
#[path = "fleet_simulation/returns.rs"]
mod returns;
#[path = "fleet_simulation/scripts.rs"]
mod scripts;
#[path = "fleet_simulation/server.rs"]
mod server;
#[path = "fleet_simulation/traffic.rs"]
mod traffic;
#[path = "fleet_simulation/waits.rs"]
mod waits;
#[path = "fleet_simulation/weather.rs"]
mod weather;
#[path = "fleet_simulation/world.rs"]
mod world;

use std::collections::BTreeMap;

use plan::{Climate, Plan, plan};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, RngSeed, TestCaseResult, TestRunner};
use world::World;

/// So many plans for each climate, always the same ones, where the environment does not say otherwise.
const CASES: u32 = 350;

fn config() -> ProptestConfig {
    let from_environment = ProptestConfig::default();
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(CASES, |_| from_environment.cases),
        rng_seed: match from_environment.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            fixed => fixed,
        },
        // A plan that once failed becomes a test in `cases`, where a reader can see what it is about.
        failure_persistence: None,
        // Without optimization the default generator takes more time than all that is tested.
        rng_algorithm: RngAlgorithm::XorShift,
        ..from_environment
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn all_is_well_in_calm_weather(plan in plan(Climate::Calm)) {
        simulate(&plan)?;
    }

    #[test]
    fn all_is_well_whatever_happens_to_links_and_server(plan in plan(Climate::Rough)) {
        simulate(&plan)?;
    }

    #[test]
    fn everybody_is_served_in_the_order_of_arrival(plan in plan(Climate::Strict)) {
        simulate(&plan)?;
    }

    #[test]
    fn all_is_well_where_leases_pass_on_for_long(plan in plan(Climate::Crowded)) {
        simulate(&plan)?;
    }

    #[test]
    fn all_is_well_where_old_connections_live_on(plan in plan(Climate::Fenceless)) {
        simulate(&plan)?;
    }
}

fn simulate(plan: &Plan) -> TestCaseResult {
    let Err(what) = World::new(plan, false).run() else {
        return Ok(());
    };
    let mut again = World::new(plan, true);
    let _ = again.run();
    let course = again.trace.unwrap_or_default().join("\n");
    Err(TestCaseError::fail(format!("{what}\n{course}")))
}

/// What the plans are about happens in them, often enough in a part of them.
#[test]
fn the_plans_are_eventful() {
    let mut runner = TestRunner::new(config());
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let climates = [
        Climate::Calm,
        Climate::Rough,
        Climate::Fenceless,
        Climate::Strict,
        Climate::Crowded,
    ];
    for climate in climates {
        for _ in 0..CASES / 2 {
            let plan = plan(climate).new_tree(&mut runner).unwrap().current();
            let mut world = World::new(&plan, true);
            if let Err(what) = world.run() {
                let course = world.trace.unwrap_or_default().join("\n");
                panic!("{what}\n{course}\n{plan:?}");
            }
            for (what, times) in world.ledger.seen {
                *seen.entry(what).or_default() += times;
            }
        }
    }
    let expected = [
        "a command of an ended connection was fenced off",
        "a command of an ended connection was run",
        "a command was refused",
        "a command was refused for now",
        "a lock was extended",
        "a member was called",
        "a request waits on the server",
        "an old node took a lock",
        "an old node was waited for",
        "acquired",
        "an attempt was cancelled",
        "done",
        "failed",
        "finished",
        "finished too late",
        "granted",
        "leases were renewed",
        "lost",
        "more tokens were refused",
        "more tokens were set aside",
        "not released",
        "a caller came back to its request",
        "a default wait came to its last moment",
        "a default wait went on",
        "a poller was served",
        "passed on",
        "refused",
        "released",
        "timed out",
    ];
    for what in expected {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= 5, "{what}: only {times} times in {seen:#?}");
    }
}
