//! Callers that were refused and come back, each rule with the shortest history that shows it.

use std::time::Duration;

use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::patience::Patience;
use medusa_locking_native::core::table::{Change, Claim, Client, Limits, Ownerless};
use medusa_locking_native::core::ticket::Ticket;

use super::scene::{Asked, Scene, lock, named};

/// "a" is held by a job from the beginning: the scene, and the job.
fn held() -> (Scene, Ticket) {
    let mut scene = Scene::new(Ownerless::Exclusive, Limits::default());
    let job = scene.take(&["a"], Claim::Job);
    (scene, job)
}

/// A caller that does not wait, and asks for "a" in the name of nobody.
fn poll(scene: &mut Scene) -> Asked {
    let asked = scene.try_ask(&["a"], lock(&Owner::Anyone), Patience::Refuse);
    asked.unwrap_or_else(|error| panic!("{error}"))
}

fn refused(scene: &mut Scene) {
    assert_eq!(poll(scene), Asked::Refused);
}

/// A caller that has polled twice, at 1,000 and 1,300 ms: its request is kept until 1,800 ms.
fn away() -> (Scene, Ticket) {
    let (mut scene, job) = held();
    refused(&mut scene);
    scene.tick_at(1_300);
    refused(&mut scene);
    (scene, job)
}

#[test]
fn the_first_refusal_keeps_the_place_and_no_more() {
    let (mut scene, job) = held();
    refused(&mut scene);
    let later = scene.queue(&["a"], Claim::Job);
    scene.tick_at(1_300);
    scene.client = Client(2);
    let owner = lock(&Owner::Anyone);
    let back = scene.queue(&["a"], owner);
    scene.finish(job);
    assert_eq!(scene.grants(), [back], "who came back stands before {later:?}");
}

#[test]
fn who_was_refused_once_keeps_nobody_waiting() {
    let (mut scene, job) = held();
    refused(&mut scene);
    let later = scene.queue(&["a"], Claim::Job);
    scene.finish(job);
    assert_eq!(scene.grants(), [later]);
}

#[test]
fn who_comes_back_after_more_than_a_second_is_new() {
    for (at, is_first) in [(2_000, true), (2_001, false)] {
        let (mut scene, job) = held();
        refused(&mut scene);
        let other = scene.queue(&["a"], Claim::Job);
        scene.tick_at(at);
        let back = scene.queue(&["a"], lock(&Owner::Anyone));
        scene.finish(job);
        assert_eq!(scene.grants(), [if is_first { back } else { other }]);
    }
}

#[test]
fn the_second_refusal_keeps_the_key_free_for_the_absence_and_no_longer() {
    let (mut scene, job) = away();
    let other = scene.queue(&["a"], Claim::Job);
    scene.finish(job);
    scene.tick_at(1_799);
    assert_eq!((scene.grants(), scene.owner_of("a")), (vec![], None));
    assert_eq!(scene.table.next_deadline(), Moment::from_ms(1_800));
    scene.tick_at(1_800);
    assert_eq!(scene.grants(), [other]);
}

#[test]
fn who_comes_back_to_a_key_that_was_kept_free_gets_it_at_once() {
    let (mut scene, job) = away();
    scene.queue(&["a"], Claim::Job);
    scene.finish(job);
    scene.tick_at(1_600);
    assert!(matches!(poll(&mut scene), Asked::Granted(_)));
    assert_eq!(
        (scene.owner_of("a"), scene.table.waiters()),
        (Some(Owner::Anyone), 1)
    );
}

/// Nothing is left of it when its absence is over.
#[test]
fn who_is_away_is_not_granted_and_told_of_nothing() {
    let (mut scene, job) = away();
    scene.finish(job);
    scene.tick_at(1_801);
    assert_eq!((scene.news(), scene.table.is_empty()), (vec![], true));
}

#[test]
fn of_two_callers_alike_the_one_that_comes_first_takes_the_place_that_was_left_first() {
    let (mut scene, job) = held();
    refused(&mut scene);
    let between = scene.queue(&["a"], Claim::Job);
    refused(&mut scene);
    let first = scene.queue(&["a"], lock(&Owner::Anyone));
    let second = scene.queue(&["a"], lock(&Owner::Anyone));
    scene.finish(job);
    assert_eq!(scene.grants(), [first]);
    scene.release(&["a"], &Owner::Anyone);
    assert_eq!(scene.grants(), [between]);
    scene.finish(between);
    assert_eq!(scene.grants(), [second]);
}

#[test]
fn another_owner_and_another_expiry_are_another_caller() {
    let for_a_second = Claim::Lock {
        owner: Owner::Anyone,
        expire: Some(Duration::from_secs(1)),
    };
    for other in [lock(&named("ada")), for_a_second, Claim::Job] {
        let (mut scene, job) = held();
        refused(&mut scene);
        let waits = scene.queue(&["a"], lock(&named("ben")));
        scene.queue(&["a"], other);
        scene.finish(job);
        assert_eq!(scene.grants(), [waits]);
    }
}

/// A cancel may be on its way while the request ends, and come when another has its place.
#[test]
fn a_cancel_of_an_old_ticket_does_not_touch_the_new_one() {
    let (mut scene, job) = held();
    let soon = Patience::Until(Moment::from_ms(1_010));
    let old = scene.queue_with(&["a"], lock(&Owner::Anyone), soon);
    scene.tick_at(1_010);
    assert_eq!(scene.news(), [(old, Change::TimedOut("a".into()))]);
    let new = scene.queue(&["a"], lock(&Owner::Anyone));
    scene.cancel(old);
    assert!(scene.table.is_waiting(new) && !scene.table.is_waiting(old));
    scene.finish(job);
    assert_eq!(scene.grants(), [new]);
}

/// Its caller was told already.
#[test]
fn a_cancel_of_a_request_that_is_kept_leaves_it_to_its_caller() {
    let (mut scene, job) = held();
    refused(&mut scene);
    scene.tick_at(1_300);
    let soon = Patience::Until(Moment::from_ms(1_310));
    let old = scene.queue_with(&["a"], lock(&Owner::Anyone), soon);
    scene.tick_at(1_310);
    scene.cancel(old);
    assert_eq!((scene.table.waiters(), scene.table.is_waiting(old)), (1, false));
    scene.finish(job);
    assert!(matches!(poll(&mut scene), Asked::Granted(_)));
}

#[test]
fn what_is_kept_for_a_client_goes_with_it() {
    let (mut scene, job) = away();
    scene.client = Client(2);
    let other = scene.queue(&["a"], Claim::Job);
    scene.client = Client(1);
    scene.table.leave_queues(scene.now, Client(1), &mut Vec::new());
    scene.finish(job);
    assert_eq!(scene.grants(), [other]);
}

#[test]
fn leaving_the_queues_says_nothing_of_those_that_are_kept() {
    let (mut scene, _job) = away();
    let waits = scene.queue(&["a"], Claim::Job);
    let left = scene.table.leave_queues(scene.now, Client(1), &mut Vec::new());
    assert_eq!((left, scene.table.waiters()), (vec![waits], 0));
}

#[test]
fn a_default_wait_goes_on_while_the_lock_changes_hands_and_ends_when_one_keeps_it() {
    let ms = Duration::from_millis;
    let (mut scene, first) = held();
    let second = scene.queue(&["a"], Claim::Job);
    let third = scene.queue(&["a"], Claim::Job);
    let patience = Patience::while_moving(scene.now, ms(100), ms(1_000));
    let waits = scene.queue_with(&["a"], Claim::Job, patience);
    scene.tick_at(1_090);
    scene.finish(first);
    scene.tick_at(1_180);
    scene.finish(second);
    assert_eq!(scene.grants(), [second, third]);
    scene.tick_at(1_279);
    assert_eq!(scene.news(), []);
    scene.tick_at(1_280);
    assert_eq!(scene.news(), [(waits, Change::TimedOut("a".into()))]);
}

/// The key is free for a moment, kept for a caller that is away: who waits behind that is not promised more than its span.
#[test]
fn a_default_wait_behind_a_caller_that_is_away_begins_anew_and_no_more() {
    let ms = Duration::from_millis;
    let (mut scene, job) = away();
    let patience = Patience::while_moving(scene.now, ms(200), ms(30_000));
    let waits = scene.queue_with(&["a"], Claim::Job, patience);
    scene.finish(job);
    scene.tick_at(1_600);
    assert!(matches!(poll(&mut scene), Asked::Granted(_)));
    scene.tick_at(1_900);
    assert_eq!(scene.news(), [(waits, Change::TimedOut("a".into()))]);
}
