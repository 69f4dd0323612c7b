//! A fleet's members, their links and their server, under everything that can happen to them.

#[path = "fleet_simulation/calls.rs"]
mod calls;
#[path = "fleet_simulation/checks.rs"]
mod checks;
#[path = "fleet_simulation/claims.rs"]
mod claims;
#[path = "fleet_simulation/ledger.rs"]
mod ledger;
#[path = "fleet_simulation/member.rs"]
mod member;
#[path = "fleet_simulation/plan.rs"]
mod plan;
#[path = "fleet_simulation/scripts.rs"]
mod scripts;
#[path = "fleet_simulation/server.rs"]
mod server;
#[path = "fleet_simulation/weather.rs"]
mod weather;
#[path = "fleet_simulation/world.rs"]
mod world;

use plan::{Climate, Plan, plan};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use std::collections::BTreeMap;
use world::World;

/// At least so many plans for each test; more if the environment says so.
const CASES: u32 = 500;

fn config() -> ProptestConfig {
    let from_environment = ProptestConfig::default();
    ProptestConfig {
        cases: from_environment.cases.max(CASES),
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::XorShift,
        ..from_environment
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn in_calm_weather(plan in plan(Climate::Calm)) {
        simulate(&plan)?;
    }

    #[test]
    fn whatever_happens_to_links_and_server(plan in plan(Climate::Rough)) {
        simulate(&plan)?;
    }

    #[test]
    fn whatever_happens_where_old_connections_live_on(plan in plan(Climate::Fenceless)) {
        simulate(&plan)?;
    }
}

/// What has to be survived happens.
#[test]
fn the_plans_are_eventful() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::XorShift);
    let mut runner = TestRunner::new_with_rng(config(), rng);
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for climate in [Climate::Calm, Climate::Rough, Climate::Fenceless] {
        for _ in 0..CASES {
            let plan = plan(climate).new_tree(&mut runner).unwrap().current();
            let mut world = World::new(&plan, false);
            world.run().unwrap();
            for (what, times) in world.ledger.seen {
                *seen.entry(what).or_default() += times;
            }
        }
    }
    eprintln!("{seen:#?}");
}

fn simulate(plan: &Plan) -> TestCaseResult {
    let result = World::new(plan, false).run();
    let Err(what) = result else { return Ok(()) };
    let mut again = World::new(plan, true);
    let _ = again.run();
    let trace = again.trace.unwrap_or_default().join("\n");
    prop_assert!(false, "{what}\n{trace}");
    Ok(())
}
