//! Mistakes that are easy to make, each with a short plan that shows it.

use medusa_locking_native::core::owner::Owner;

use super::plan::{Deed, Inboxes, Plan, Step, Wait};
use super::world::World;

/// One member, in calm weather, with everything taking `lag` ms on its way.
fn plan(lag: u64, deeds: impl IntoIterator<Item = (u64, Deed)>) -> Plan {
    let mut now = 0;
    let steps = deeds.into_iter().map(|(at, deed)| {
        let pause = at - now;
        now = at;
        Step { pause, deed }
    });
    Plan {
        seats: 1,
        tight: false,
        handoffs: 0,
        open: false,
        lag,
        fences: true,
        gains: 0,
        inboxes: Inboxes::All,
        is_strict: false,
        steps: steps.collect(),
    }
}

/// Some callers at once at a seat, for "b".
fn execute(seat: usize, callers: usize, runs_for: u64, wait: Wait) -> Deed {
    Deed::Execute {
        callers,
        seat,
        keys: vec!["b"],
        lease: 3_000,
        runs_for,
        heeds: false,
        wait,
    }
}

fn acquire(seat: usize, keys: &[&'static str], owner: &Owner, wait: Wait) -> Deed {
    Deed::Acquire {
        seat,
        keys: keys.to_vec(),
        owner: owner.clone(),
        expire: None,
        wait,
    }
}

fn cut(late: u64) -> Deed {
    Deed::Cut {
        seat: 0,
        loses: false,
        late,
        hears: false,
        down_for: 1,
        unnoticed: 0,
    }
}

fn ada() -> Owner {
    Owner::Named("ada".into())
}

fn check(plan: &Plan) {
    let mut world = World::new(plan, true);
    if let Err(what) = world.run() {
        panic!("{what}\n{}", world.trace.unwrap_or_default().join("\n"));
    }
}

/// The patience of some ends with the very call that tells the others that it is closed.
#[test]
fn who_is_told_that_time_is_up_is_not_told_that_it_is_closed() {
    let waiting = execute(0, 3, 16, Wait::Ms(20));
    check(&plan(1, [(0, waiting), (20, Deed::Stop(0))]));
}

/// The same for one whose lock may be extended, which stays on record until that is known.
#[test]
fn who_is_told_that_it_is_closed_is_not_told_that_time_is_up() {
    let holder = execute(0, 1, 0, Wait::Forever);
    let waiting = acquire(0, &["b"], &ada(), Wait::Ms(20));
    check(&plan(15, [(20, holder), (20, waiting), (40, Deed::Stop(0))]));
}

/// It has its turn at last, and then no time to hear the server's answer. That is no trouble of the server's.
#[test]
fn who_waited_here_until_its_time_was_up_is_told_so() {
    check(&plan(5, [(0, execute(0, 2, 2_134, Wait::Ms(2_155)))]));
}

/// An owner that was told no asks again, as it should: what is given back of the first try is not what it has now.
#[test]
fn an_owner_that_asks_again_keeps_its_lock_when_the_first_try_is_undone() {
    let first = acquire(0, &["b"], &ada(), Wait::Ms(10));
    let second = acquire(0, &["b"], &ada(), Wait::Forever);
    check(&plan(15, [(20, first), (20, second)]));
}

#[test]
fn nothing_is_left_of_two_tries_of_an_owner_in_whatever_order_they_are_undone() {
    let first = acquire(0, &["b"], &ada(), Wait::Ms(10));
    let second = acquire(0, &["b"], &ada(), Wait::Ms(1));
    check(&plan(15, [(20, first.clone()), (30, second.clone())]));
    check(&plan(1, [(10, Deed::Mute(0)), (10, first), (10, second)]));
}

/// The first try is undone, then the third. The second was told yes.
#[test]
fn an_owner_keeps_its_lock_when_the_tries_before_and_behind_it_are_undone() {
    let patient = acquire(0, &["b"], &ada(), Wait::Forever);
    let hasty = acquire(0, &["b"], &ada(), Wait::Ms(1));
    let slow = Deed::Lag {
        seat: 0,
        there: 10,
        back: 11,
    };
    let deeds = [
        (10, patient.clone()),
        (10, Deed::Cancel(0)),
        (10, patient),
        (10, slow),
        (30, hasty),
    ];
    check(&plan(1, deeds));
}

/// The first try runs again after the second: undoing the second must leave what the first has won since.
#[test]
fn undoing_one_try_leaves_what_another_has_extended_since() {
    let lock = |expire, wait| Deed::Acquire {
        seat: 0,
        keys: vec!["b"],
        owner: ada(),
        expire,
        wait,
    };
    let deeds = [
        (301, Deed::Mute(0)),
        (301, lock(Some(687), Wait::Forever)),
        (955, lock(None, Wait::Ms(647))),
    ];
    check(&plan(150, deeds));
}

/// Its answer was lost, and somebody else released one of its two locks since: with the other one it would wait behind
/// somebody who waits for that.
#[test]
fn who_waits_holds_nothing() {
    let both = |wait| acquire(0, &["b", "c"], &ada(), wait);
    let only = |key, wait| acquire(0, &[key], &Owner::Anyone, wait);
    let deeds = [
        (0, acquire(0, &["c"], &ada(), Wait::Ms(1))),
        (220, only("c", Wait::Ms(1))),
        (270, both(Wait::Not)),
        (290, only("c", Wait::Forever)),
        (310, Deed::Mute(0)),
        (
            310,
            Deed::Lag {
                seat: 0,
                there: 0,
                back: 0,
            },
        ),
        (360, only("b", Wait::Forever)),
        (360, both(Wait::Forever)),
        (
            451,
            Deed::Kill {
                keeps_data: true,
                hears: false,
                down_for: 1,
            },
        ),
    ];
    let plan = plan(150, deeds);
    check(&Plan {
        fences: false,
        ..plan
    });
}

/// Its first `acquire` waits behind a job; its second one, elsewhere, gets the lock, and the third extends that.
#[test]
fn an_owner_that_waits_hears_of_its_own_extensions() {
    let deeds = [
        (0, execute(1, 1, 1_733, Wait::Forever)),
        (0, acquire(1, &["b"], &ada(), Wait::Ms(1_987))),
        (3, Deed::ReleaseAll { seat: 0, owner: None }),
        (3, acquire(0, &["b"], &ada(), Wait::Ms(10))),
        (13, acquire(1, &["b"], &ada(), Wait::Ms(2))),
    ];
    let plan = plan(1, deeds);
    check(&Plan { seats: 2, ..plan });
}

/// The command of the old connection runs after the job has ended.
#[test]
fn an_old_connection_takes_no_lock_for_a_job_that_has_ended() {
    let plan = plan(15, [(31, execute(0, 1, 0, Wait::Forever)), (31, cut(32))]);
    check(&Plan {
        fences: false,
        ..plan
    });
}

/// It runs after the attempt was cancelled for the first time.
#[test]
fn an_old_connection_takes_no_lock_for_a_caller_that_has_gone() {
    let waiting = acquire(0, &["b"], &Owner::Anyone, Wait::Ms(50));
    let plan = plan(1, [(2, waiting), (3, cut(51))]);
    check(&Plan {
        fences: false,
        ..plan
    });
}

/// Every new connection renews at once; it does so no more when nobody may be there any more.
#[test]
fn a_flapping_link_does_not_renew_for_a_thread_that_is_stuck() {
    let stuck = Deed::Stall { seat: 0, ms: 12_000 };
    let flaps = (1..12).map(|n| (900 * n, cut(0)));
    let begin = [(0, execute(0, 1, 10, Wait::Forever)), (0, stuck)];
    check(&plan(1, begin.into_iter().chain(flaps)));
}

/// It was told of the loss a moment ago, and the next one waits for exactly the same.
#[test]
fn a_lost_lease_is_not_passed_on() {
    let deeds = [
        (0, execute(0, 3, 30, Wait::Forever)),
        (5, Deed::ReleaseAll { seat: 0, owner: None }),
    ];
    let plan = plan(1, deeds);
    check(&Plan { handoffs: 16, ..plan });
}

/// Both locks are to rest for a while when they are released, and neither waiter can have one now.
#[test]
fn a_script_ends_that_releases_what_two_owners_have_not_claimed() {
    let both = |seat, runs_for| Deed::Execute {
        callers: 1,
        seat,
        keys: vec!["a", "b"],
        lease: 3_000,
        runs_for,
        heeds: false,
        wait: Wait::Forever,
    };
    let frozen = |seat| Deed::Suspend { seat, ms: 1_500 };
    let deeds = [
        (0, both(2, 20)),
        (5, both(3, 950)),
        (10, acquire(0, &["a"], &ada(), Wait::Forever)),
        (10, acquire(1, &["b"], &ada(), Wait::Forever)),
        (700, frozen(0)),
        (700, frozen(1)),
        (1_030, Deed::ReleaseAll { seat: 2, owner: None }),
    ];
    let plan = plan(1, deeds);
    check(&Plan { seats: 4, ..plan });
}

/// The owner's second request was to extend what its first one has: both run after both have timed out.
#[test]
fn an_old_connection_extends_no_lock_for_a_caller_that_has_gone() {
    let job = Deed::Execute {
        callers: 1,
        seat: 0,
        keys: vec!["b"],
        lease: 600,
        runs_for: 0,
        heeds: false,
        wait: Wait::Forever,
    };
    let deeds = [
        (246, job),
        (246, acquire(0, &["b"], &ada(), Wait::Ms(456))),
        (601, acquire(0, &["b"], &ada(), Wait::Ms(50))),
        (606, cut(0)),
    ];
    let plan = plan(150, deeds);
    check(&Plan {
        fences: false,
        ..plan
    });
}
