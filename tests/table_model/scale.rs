//! Crowds and large sets: nothing may recurse, starve, or cost each caller a look at all the others.

use std::time::Duration;

use medusa_locking_native::core::key::KEYS_PER_CALL_MAX;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::patience::Patience;
use medusa_locking_native::core::table::{Claim, Limits, Ownerless};
use medusa_locking_native::core::ticket::Ticket;

use super::scene::{Scene, lock, named};

/// How many wait in a crowd.
const CROWD: usize = 20_000;

/// Far less than one frame for each of the crowd.
const SMALL_STACK_BYTES: usize = 128 * 1024;

fn exclusive() -> Scene {
    Scene::new(Ownerless::Exclusive, Limits::default())
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("key-{number:05}")).collect()
}

/// The first of them to be granted lets all the others through.
#[test]
fn a_crowd_under_one_name_is_granted_in_order_without_recursion() {
    let crowd = || {
        let (mut scene, ada) = (exclusive(), named("ada"));
        let job = scene.take(&["a"], Claim::Job);
        let waiting: Vec<Ticket> = (0..CROWD).map(|_| scene.queue(&["a"], lock(&ada))).collect();
        scene.finish(job);
        assert_eq!(scene.grants(), waiting);
        scene.release(&["a"], &ada);
        assert!(scene.table.is_empty());
    };
    let thread = std::thread::Builder::new()
        .stack_size(SMALL_STACK_BYTES)
        .spawn(crowd);
    thread.expect("a thread").join().expect("the crowd got through");
}

/// One name, and for each key one who waits for it.
#[test]
fn a_grant_to_one_owner_does_not_look_at_all_its_waits_for_other_keys() {
    check_growth(|crowd| {
        let (mut scene, ada, ben) = (exclusive(), named("ada"), named("ben"));
        let keys = names(crowd);
        for key in &keys {
            scene.take(&[key], lock(&ben));
            scene.queue(&[key], lock(&ada));
        }
        keys.iter().for_each(|key| scene.release(&[key], &ben));
        assert_eq!(scene.grants().len(), crowd);
    });
}

/// One name, and a key that it holds already and that all of them want besides.
#[test]
fn a_grant_to_one_owner_does_not_look_at_all_its_waits_for_a_key_it_had() {
    check_growth(|crowd| {
        let (mut scene, ada, ben) = (exclusive(), named("ada"), named("ben"));
        let keys = names(crowd);
        scene.take(&["shared"], lock(&ada));
        for key in &keys {
            scene.take(&[key], lock(&ben));
            scene.queue(&[key, "shared"], lock(&ada));
        }
        keys.iter().for_each(|key| scene.release(&[key], &ben));
        assert_eq!(scene.grants().len(), crowd);
    });
}

/// One key and many names: the queue moves on by one with every release.
#[test]
fn a_release_does_not_look_at_all_who_wait_for_the_key() {
    check_growth(|crowd| {
        let mut scene = exclusive();
        let owners: Vec<Owner> = names(crowd).iter().map(|name| named(name)).collect();
        scene.take(&["a"], lock(&owners[0]));
        for owner in &owners[1..] {
            scene.queue(&["a"], lock(owner));
        }
        owners.iter().for_each(|owner| scene.release(&["a"], owner));
        assert!(scene.table.is_empty());
    });
}

#[test]
fn cancelling_a_crowd_from_the_middle_is_cheap_and_leaves_the_others_in_order() {
    check_growth(cancel_from_the_middle);
    cancel_from_the_middle(CROWD);
}

/// The middle half of the crowd leaves, the innermost first.
fn cancel_from_the_middle(crowd: usize) {
    let mut scene = exclusive();
    let job = scene.take(&["a", "b"], Claim::Job);
    let waiting: Vec<Ticket> = (0..crowd).map(|_| scene.queue(&["a", "b"], Claim::Job)).collect();
    let (first, last) = (crowd / 4, crowd - crowd / 4);
    for step in 0..crowd / 4 {
        scene.cancel(waiting[crowd / 2 + step]);
        scene.cancel(waiting[crowd / 2 - 1 - step]);
    }
    assert_eq!(
        (scene.grants(), scene.table.waiters()),
        (vec![], first + (crowd - last))
    );
    let mut running = job;
    for next in waiting[..first].iter().chain(&waiting[last..]) {
        scene.finish(running);
        assert_eq!(scene.grants(), [*next]);
        running = *next;
    }
    scene.finish(running);
    assert!(scene.table.is_empty());
}

#[test]
fn a_crowd_whose_patience_ends_leaves_no_timer_behind() {
    check_growth(|crowd| {
        let mut scene = exclusive();
        let job = scene.take(&["a"], Claim::Job);
        for number in 0..crowd {
            let until = Moment::from_ms(2_000 + (number % 50) as u64);
            scene.queue_with(&["a"], Claim::Job, Patience::Until(until));
        }
        scene.tick_at(2_025);
        scene.tick_at(2_049);
        assert_eq!((scene.news().len(), scene.table.waiters()), (crowd, 0));
        assert_eq!(scene.table.next_deadline(), Moment::NEVER);
        scene.finish(job);
        assert!(scene.table.is_empty());
    });
}

/// All keys of the large set are busy, and for each of them one more asks whenever one ends.
#[test]
fn a_large_set_is_granted_before_every_small_one_that_came_later() {
    let mut scene = exclusive();
    let keys = names(KEYS_PER_CALL_MAX);
    let all: Vec<&str> = keys.iter().map(String::as_str).collect();
    let running: Vec<Ticket> = all.iter().map(|key| scene.take(&[key], Claim::Job)).collect();
    let large = scene.queue(&all, Claim::Job);
    let mut later = Vec::new();
    for (key, job) in all.iter().zip(running) {
        assert_eq!(scene.grants(), [], "nobody is granted while the large set waits");
        later.push(scene.queue(&[key], Claim::Job));
        scene.finish(job);
    }
    assert_eq!(scene.grants(), [large]);
    scene.finish(large);
    assert_eq!(scene.grants(), later);
}

#[test]
fn the_keys_of_a_large_set_end_one_after_the_other_without_a_look_at_all_of_them_each_time() {
    check_growth(|crowd| {
        let mut scene = exclusive();
        let keys = names(crowd);
        let all: Vec<&str> = keys.iter().map(String::as_str).collect();
        let running: Vec<Ticket> = all.iter().map(|key| scene.take(&[key], Claim::Job)).collect();
        let large = scene.queue(&all, Claim::Job);
        for job in running {
            scene.finish(job);
        }
        assert_eq!(scene.grants(), [large]);
    });
}

/// How much larger the large crowd is.
const TIMES: u32 = 8;

/// Runs a small crowd and one [`TIMES`] as large, and compares the processor time that they take. In proportion to
/// the crowd that is about `TIMES` times as much; if everybody looks at everybody, `TIMES * TIMES`.
///
/// The processor time of one thread and the best of three runs: other load on the machine hardly counts.
fn check_growth(run: impl Fn(usize)) {
    const SMALL: usize = 500;
    let best = |crowd: usize| {
        let runs = (0..3).map(|_| {
            let start = thread_time();
            run(crowd);
            thread_time() - start
        });
        runs.min().unwrap_or_default()
    };
    let (small, large) = (best(SMALL), best(SMALL * TIMES as usize));
    assert!(
        large < small * TIMES * 3,
        "{TIMES} times the crowd took {large:?} instead of {small:?}"
    );
}

/// The processor time that this thread has used.
#[cfg(unix)]
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time that has passed; the best of three runs is close enough.
#[cfg(not(unix))]
fn thread_time() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
