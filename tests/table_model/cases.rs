//! Mistakes that are easy to make, each with the shortest history that shows it.

use std::time::Duration;

use medusa_locking_native::core::error::RequestError;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::patience::Patience;
use medusa_locking_native::core::table::{Change, Claim, Client, Limits, Ownerless};

use super::scene::{Asked, Scene, lock, named};

fn exclusive() -> Scene {
    Scene::new(Ownerless::Exclusive, Limits::default())
}

fn open() -> Scene {
    Scene::new(Ownerless::Open, Limits::default())
}

fn lock_for_ms(owner: &Owner, ms: u64) -> Claim {
    Claim::Lock {
        owner: owner.clone(),
        expire: Some(Duration::from_millis(ms)),
    }
}

/// Callers see this key in the error's message.
#[test]
fn a_timeout_names_the_key_that_was_in_the_way_and_not_one_that_was_free() {
    let mut scene = exclusive();
    scene.take(&["b"], Claim::Job);
    let late = scene.queue_with(&["a", "b"], Claim::Job, Patience::Until(Moment::from_ms(1_010)));
    scene.tick_at(1_010);
    assert_eq!(scene.news(), [(late, Change::TimedOut("b".into()))]);
}

/// The first caller left before it saw its grant; the second was told that the lock is its own.
#[test]
fn a_cancelled_grant_does_not_free_a_lock_that_its_owner_took_again() {
    let (mut scene, ada) = (exclusive(), named("ada"));
    let first = scene.take(&["a"], lock(&ada));
    scene.take(&["a"], lock(&ada));
    scene.queue(&["a"], Claim::Job);
    scene.cancel(first);
    assert_eq!((scene.owner_of("a"), scene.grants()), (Some(ada), vec![]));
}

#[test]
fn a_cancelled_grant_does_not_free_an_open_lock_that_somebody_adopted() {
    let (mut scene, ada) = (open(), named("ada"));
    let first = scene.take(&["a"], lock(&Owner::Anyone));
    scene.take(&["a"], lock(&ada));
    scene.queue(&["a"], Claim::Job);
    scene.cancel(first);
    assert_eq!((scene.owner_of("a"), scene.grants()), (Some(ada), vec![]));
}

/// Whoever extends a lock held it before; only the extension is called off.
#[test]
fn a_cancelled_extension_leaves_the_lock_with_its_owner() {
    let (mut scene, ada) = (exclusive(), named("ada"));
    scene.take(&["a"], lock(&ada));
    let again = scene.take(&["a", "b"], lock(&ada));
    scene.cancel(again);
    assert_eq!((scene.owner_of("a"), scene.owner_of("b")), (Some(ada), None));
}

/// Both locks end in the same tick. Freed one after the other, the first would let its waiter extend the second.
#[test]
fn an_expired_lock_goes_to_those_who_wait_and_not_to_its_owner_again() {
    for (expires_first, expires_then) in [("a", "b"), ("b", "a")] {
        let (mut scene, ada) = (exclusive(), named("ada"));
        scene.take(&[expires_then], lock_for_ms(&ada, 10));
        scene.take(&[expires_first], lock_for_ms(&named("ben"), 10));
        let first = scene.queue(&[expires_then], Claim::Job);
        scene.queue(&["a", "b"], lock(&ada));
        scene.tick_at(1_010);
        assert_eq!(
            (scene.owner_of(expires_then), scene.grants()),
            (Some(Owner::Job(first)), vec![first])
        );
    }
}

/// The lock on "a" becomes open to both of the others, and the earlier of these can have all that it wants.
#[test]
fn an_open_lock_goes_to_those_who_may_have_it_in_the_order_of_their_arrival() {
    for (earlier_wants, later_wants) in [("b", "c"), ("c", "b")] {
        let (mut scene, ben) = (open(), named("ben"));
        let job = scene.take(&["a", "b", "c"], Claim::Job);
        let opens = scene.queue(&["a"], lock(&Owner::Anyone));
        let earlier = scene.queue(&["a", earlier_wants], lock(&ben));
        scene.queue(&["a", later_wants], lock(&named("ada")));
        scene.finish(job);
        assert_eq!(
            (scene.owner_of("a"), scene.grants()),
            (Some(ben), vec![opens, earlier])
        );
    }
}

/// Whichever of its jobs the table ends first: so often that chance cannot hide it.
#[test]
fn what_a_client_leaves_goes_to_those_who_may_have_it_in_the_order_of_their_arrival() {
    for _ in 0..20 {
        let (mut scene, ben, leaver) = (open(), named("ben"), Client(2));
        scene.client = leaver;
        scene.take(&["a"], Claim::Job);
        scene.take(&["b"], Claim::Job);
        scene.client = Client(1);
        let opens = scene.queue(&["a"], lock(&Owner::Anyone));
        let earlier = scene.queue(&["a", "b"], lock(&ben));
        scene.queue(&["a"], lock(&named("ada")));
        scene.leave(leaver);
        assert_eq!(
            (scene.owner_of("a"), scene.grants()),
            (Some(ben), vec![opens, earlier])
        );
    }
}

/// Of two requests of one owner, the later one decides when the lock ends, whichever key was freed first.
#[test]
fn waits_of_one_owner_that_end_together_end_in_the_order_of_their_arrival() {
    for (earlier_wants, later_wants) in [("b", "c"), ("c", "b")] {
        let (mut scene, ada, ben) = (exclusive(), named("ada"), named("ben"));
        scene.take(&["a"], lock(&ada));
        scene.take(&["b", "c"], lock(&ben));
        let earlier = scene.queue(&["a", earlier_wants], lock_for_ms(&ada, 5));
        let later = scene.queue(&["a", later_wants], lock_for_ms(&ada, 9));
        scene.release(&["b", "c"], &ben);
        assert_eq!(scene.grants(), [earlier, later]);
        let lock = scene.table.inspect_key(scene.now, "a");
        assert_eq!(
            lock.and_then(|lock| lock.expires_in),
            Some(Duration::from_millis(9))
        );
    }
}

#[test]
fn at_the_bound_for_a_key_a_wait_is_an_error_and_nothing_has_changed() {
    let limits = Limits {
        waiters_per_key_max: 2,
        ..Limits::default()
    };
    let full = RequestError::WaitersPerKey {
        key: "b".to_owned(),
        max: 2,
    };
    check_bound(limits, &full);
}

#[test]
fn at_the_bound_for_the_table_a_wait_is_an_error_and_nothing_has_changed() {
    let limits = Limits {
        waiters_max: 2,
        ..Limits::default()
    };
    check_bound(limits, &RequestError::Waiters { max: 2 });
}

/// With room for two who wait for "b".
fn check_bound(limits: Limits, full: &RequestError) {
    let (mut scene, ada) = (Scene::new(Ownerless::Exclusive, limits), named("ada"));
    scene.take(&["b"], lock(&ada));
    let soon = Patience::Until(Moment::from_ms(1_001));
    scene.queue(&["b"], Claim::Job);
    let second = scene.queue(&["b"], Claim::Job);

    let before = (
        scene.table.inspect_all(scene.now),
        scene.table.waiters(),
        scene.table.keys(),
    );
    assert_eq!(
        scene.try_ask(&["a", "b", "c"], Claim::Job, soon).as_ref(),
        Err(full)
    );
    let after = (
        scene.table.inspect_all(scene.now),
        scene.table.waiters(),
        scene.table.keys(),
    );
    assert_eq!(before, after);
    assert_eq!(
        (scene.table.next_deadline(), scene.news()),
        (Moment::NEVER, vec![])
    );

    // The bound is on those who wait: whoever is answered at once is answered.
    scene.take(&["b", "c"], lock(&ada));
    assert_eq!(
        scene.try_ask(&["b"], Claim::Job, Patience::Refuse),
        Ok(Asked::Refused)
    );
    // One less, and there is room again.
    scene.cancel(second);
    scene.queue_with(&["a", "b"], Claim::Job, soon);
}
