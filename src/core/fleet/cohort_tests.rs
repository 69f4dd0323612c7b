//! How far a lease is passed on, and what becomes of it where that is not known yet.

use super::*;
use crate::core::backoff::Backoff;
use crate::core::fleet::{Config, Push, Sent, Waiting, Wish};
use crate::core::key::KeySet;
use crate::core::outcome::Completion;
use crate::core::patience::Patience;
use crate::core::table::{Claim, Limits};

pub(in crate::core::fleet) fn at(ms: u64) -> Moment {
    Moment::from_ms(ms)
}

pub(in crate::core::fleet) fn fleet() -> Fleet {
    Fleet::new(Config {
        endpoint: "r".to_owned(),
        backoff: Backoff {
            first: Duration::from_millis(20),
            longest: Duration::from_secs(1),
            factor: 2.0,
        },
        command_timeout: Duration::from_secs(5),
        max_stall: Duration::from_secs(300),
        acquire_renew: Duration::ZERO,
        local_handoffs: 16,
        ownerless_open: false,
        limits: Limits::default(),
    })
}

pub(in crate::core::fleet) fn told(fleet: &mut Fleet) -> Vec<(u64, Outcome)> {
    let news = fleet.take_news();
    news.map(|Completion { ticket, outcome }| (ticket.number(), outcome))
        .collect()
}

fn job(patience: Patience) -> Wish {
    Wish {
        keys: KeySet::new(["k"]).unwrap(),
        claim: Claim::Job,
        lease: Duration::from_secs(15),
        patience,
    }
}

fn sent(fleet: &mut Fleet, now: u64) -> Vec<Sent> {
    let mut sent = Vec::new();
    fleet.take_outbox(at(now), &mut sent);
    sent
}

/// Jobs 1 to `jobs` want the same key from 1 ms on; the first is granted it at `now`, under token 50.
fn crowd(jobs: u64, now: u64) -> Fleet {
    let mut fleet = fleet();
    for number in 1..=jobs {
        fleet
            .request(at(1), Ticket::new(number), job(Patience::Forever))
            .unwrap();
    }
    fleet.link_up(at(now), true, true);
    let ask = sent(&mut fleet, now).pop().unwrap();
    fleet.answered(at(now), ask, Answer::Granted(50));
    assert_eq!(told(&mut fleet), [(1, Outcome::Granted(50))]);
    fleet
}

/// Ends the jobs of these numbers at `now`, one after the other, each of which must pass its lease on.
fn pass(fleet: &mut Fleet, now: u64, jobs: std::ops::RangeInclusive<u64>, first_token: u64) {
    for (number, token) in jobs.zip(first_token..) {
        fleet.finish(at(now), Ticket::new(number));
        assert_eq!(
            told(fleet),
            [
                (number, Outcome::Finished(true)),
                (number + 1, Outcome::Granted(token)),
            ]
        );
    }
}

fn reserve(fleet: &mut Fleet, now: u64) -> Sent {
    let mut sent = sent(fleet, now);
    assert!(
        matches!(
            sent[..],
            [Sent {
                command: Command::Reserve { count: 16, .. },
                ..
            }]
        ),
        "{sent:?}"
    );
    sent.pop().unwrap()
}

fn is_released(fleet: &mut Fleet, now: u64) -> bool {
    let is_release = |sent: &Sent| matches!(sent.command, Command::Release { .. });
    sent(fleet, now).iter().any(is_release)
}

#[test]
fn a_lease_is_passed_on_16_times_for_one_grant() {
    let mut fleet = crowd(17, 80);
    pass(&mut fleet, 81, 1..=16, 51);
    fleet.finish(at(81), Ticket::new(17));
    assert!(is_released(&mut fleet, 81));
}

#[test]
fn a_lease_is_passed_on_for_50_ms_after_the_server_has_said_that_it_may_be() {
    for (now, passes) in [(129, true), (130, false)] {
        let mut fleet = crowd(3, 80);
        fleet.finish(at(now), Ticket::new(1));
        assert_eq!(is_released(&mut fleet, now), !passes, "{now} ms");
    }
}

/// With half of a block left the next one is asked for. It counts from then: whoever comes to wait elsewhere when the
/// server has said that nobody does, has 16 jobs before it and not 24.
#[test]
fn another_block_is_asked_for_in_time_and_counts_from_then() {
    let mut fleet = crowd(100, 80);
    pass(&mut fleet, 81, 1..=7, 51);
    assert!(!fleet.has_outbox(), "too early");
    pass(&mut fleet, 81, 8..=8, 58);
    let asked = reserve(&mut fleet, 81);
    pass(&mut fleet, 82, 9..=11, 59);
    assert!(!fleet.has_outbox(), "asked twice");
    fleet.answered(at(83), asked, Answer::Reserved(Reserved::From(200)));
    pass(&mut fleet, 84, 12..=16, 200);
    reserve(&mut fleet, 84);
    pass(&mut fleet, 84, 17..=24, 205);
    fleet.finish(at(84), Ticket::new(25));
    assert_eq!(told(&mut fleet), [(25, Outcome::Finished(true))]);
}

/// An answer that takes as long as many jobs holds up nobody: the next one is on its way before it is there.
#[test]
fn two_blocks_may_be_on_their_way() {
    let mut fleet = crowd(100, 80);
    pass(&mut fleet, 81, 1..=8, 51);
    let first = reserve(&mut fleet, 81);
    pass(&mut fleet, 81, 9..=16, 59);
    let second = reserve(&mut fleet, 81);
    fleet.finish(at(81), Ticket::new(17));
    assert_eq!(told(&mut fleet), [(17, Outcome::Finished(true))]);
    assert!(!fleet.has_outbox(), "a third one");

    fleet.answered(at(82), first, Answer::Reserved(Reserved::From(200)));
    assert_eq!(told(&mut fleet), [(18, Outcome::Granted(200))]);
    pass(&mut fleet, 82, 18..=24, 201);
    let third = reserve(&mut fleet, 82);
    fleet.finish(at(82), Ticket::new(25));
    assert_eq!(told(&mut fleet), [(25, Outcome::Finished(true))]);

    fleet.answered(at(83), second, Answer::Reserved(Reserved::From(300)));
    assert_eq!(told(&mut fleet), [(26, Outcome::Granted(300))]);
    // Somebody else has come: what was allowed before is used up, and no more.
    fleet.answered(at(84), third, Answer::Reserved(Reserved::OthersWait));
    pass(&mut fleet, 84, 26..=32, 301);
    fleet.finish(at(84), Ticket::new(33));
    assert!(is_released(&mut fleet, 84));
}

/// A job that ends while the tokens for the next one are on their way waits for nobody; the next one, for them.
#[test]
fn a_lease_waits_for_the_tokens_that_are_on_their_way() {
    let idle = || {
        let mut fleet = crowd(1, 80);
        fleet
            .request(at(90), Ticket::new(2), job(Patience::Forever))
            .unwrap();
        let asked = reserve(&mut fleet, 90);
        fleet.finish(at(91), Ticket::new(1));
        assert_eq!(told(&mut fleet), [(1, Outcome::Finished(true))]);
        assert_eq!(fleet.held(), 0);
        (fleet, asked)
    };
    let (mut fleet, asked) = idle();
    fleet.answered(at(92), asked, Answer::Reserved(Reserved::From(200)));
    assert_eq!(told(&mut fleet), [(2, Outcome::Granted(200))]);

    for refusal in [Reserved::OthersWait, Reserved::Lost(0)] {
        let (mut fleet, asked) = idle();
        fleet.answered(at(92), asked, Answer::Reserved(refusal));
        assert!(is_released(&mut fleet, 92), "{refusal:?}");
        assert_eq!(told(&mut fleet), []);
    }
    // Nobody is left to pass it on to.
    let (mut fleet, asked) = idle();
    fleet.cancel(at(92), Ticket::new(2));
    fleet.answered(at(93), asked, Answer::Reserved(Reserved::From(200)));
    assert!(is_released(&mut fleet, 93));
    // The answer will never come.
    let (mut fleet, asked) = idle();
    fleet.link_down([asked], fleet.unreachable("in time"));
    fleet.link_up(at(95), true, true);
    assert!(is_released(&mut fleet, 95));
    // It lapses before that.
    let (mut fleet, _) = idle();
    fleet.tick(at(20_000), Duration::ZERO);
    assert!(is_released(&mut fleet, 20_000));
    assert_eq!(told(&mut fleet), []);
}

/// A job has its own lock released and ends: whoever comes next asks for a grant of its own, whatever tokens are left, or come.
#[test]
fn a_lease_is_not_passed_on_whose_lock_this_member_has_released() {
    let keys = || KeySet::new(["k"]).unwrap();
    let released: [fn(&mut Fleet, KeySet); 3] = [
        |fleet, keys| fleet.release_job(at(82), Ticket::new(90), keys, Ticket::new(9), "of job 9"),
        |fleet, _| {
            let name = |grant: Ticket, token| format!("{}#{token}", grant.number());
            fleet.release_all(
                at(82),
                Ticket::new(90),
                Some("of job 9"),
                Some(Ticket::new(9)),
                name,
            );
        },
        |fleet, _| fleet.release_all(at(82), Ticket::new(90), None, None, |_, _| unreachable!()),
    ];
    for release in released {
        let mut fleet = crowd(100, 80);
        pass(&mut fleet, 81, 1..=8, 51);
        let asked = reserve(&mut fleet, 81);
        release(&mut fleet, keys());
        fleet.answered(at(83), asked, Answer::Reserved(Reserved::From(200)));
        fleet.finish(at(84), Ticket::new(9));
        assert_eq!(told(&mut fleet), []);
        assert!(is_released(&mut fleet, 84), "it is given back");
    }
    // Of a job that has ended there is nothing to release.
    let mut fleet = crowd(3, 80);
    pass(&mut fleet, 81, 1..=1, 51);
    fleet.release_job(at(82), Ticket::new(90), keys(), Ticket::new(1), "of job 1");
    fleet.release_all(
        at(82),
        Ticket::new(91),
        Some("of job 1"),
        Some(Ticket::new(1)),
        |_, _| unreachable!(),
    );
    let nothing = [(90, Outcome::Released(false)), (91, Outcome::Done)];
    assert_eq!(told(&mut fleet), nothing);
    assert!(!fleet.has_outbox());
}

/// The later one stands: the tokens of the one that is late are too few for the passes that are left.
#[test]
fn a_smaller_block_that_comes_late_gives_no_tokens() {
    let grant = Grant {
        sent_at: at(1),
        token: 50,
        reserved: 0,
        is_contended: false,
    };
    let mut passes = Passes::new(at(1), &grant);
    let small = passes.ask(2);
    let large = passes.ask(100);
    passes.came(at(2), 1_000, 100, large);
    assert_eq!(passes.pass(), 1_000);
    passes.came(at(3), 2_000, 2, small);
    let tokens: Vec<u64> = (0..99).map(|_| passes.pass()).collect();
    assert_eq!(tokens, (1_001..1_100).collect::<Vec<_>>());
    assert!(!passes.may_pass(at(3)));
}

/// A block is asked for again where the server had forgotten the script; the one after it may come before.
#[test]
fn blocks_may_come_in_another_order() {
    let mut fleet = crowd(100, 80);
    pass(&mut fleet, 81, 1..=8, 51);
    let first = reserve(&mut fleet, 81);
    pass(&mut fleet, 81, 9..=16, 59);
    let second = reserve(&mut fleet, 81);
    fleet.answered(at(82), second, Answer::Reserved(Reserved::From(300)));
    pass(&mut fleet, 82, 17..=32, 300);
    fleet.answered(at(83), first, Answer::Reserved(Reserved::From(400)));
    fleet.link_down([], fleet.unreachable("in time"));
    fleet.link_up(at(84), true, true);
    fleet.finish(at(84), Ticket::new(33));
    assert!(is_released(&mut fleet, 84));
}

/// A node that knows no queue waits for none.
#[test]
fn no_more_is_asked_for_after_250_ms_nor_where_others_waited() {
    let mut fleet = crowd(1, 80);
    fleet
        .request(at(330), Ticket::new(2), job(Patience::Forever))
        .unwrap();
    assert!(!fleet.has_outbox(), "after 250 ms");

    let mut fleet = super::tests::fleet();
    for number in [1, 2] {
        fleet
            .request(at(1), Ticket::new(number), job(Patience::Forever))
            .unwrap();
    }
    fleet.link_up(at(1), true, true);
    let ask = sent(&mut fleet, 1).pop().unwrap();
    let waiting = Waiting {
        key: 0,
        look_in: None,
        ticket: 7,
        silent: false,
        held_for: Duration::ZERO,
    };
    fleet.answered(at(2), ask, Answer::Waiting(waiting));
    let ticket = Ticket::new(1);
    fleet.pushed(
        at(3),
        Push {
            ticket,
            look_in: None,
        },
    );
    let claim = sent(&mut fleet, 3).pop().unwrap();
    fleet
        .request(at(4), Ticket::new(3), job(Patience::Forever))
        .unwrap();
    fleet.answered(at(4), claim, Answer::Granted(50));
    assert!(!fleet.has_outbox(), "others have waited");
}

/// A grant whose answer took long has little left when it arrives.
#[test]
fn a_lease_is_not_passed_on_past_its_deadline_nor_once_it_is_lost() {
    let mut fleet = crowd(2, 80);
    fleet.tick(at(16_000), Duration::ZERO);
    assert!(matches!(told(&mut fleet)[..], [(1, Outcome::Lost(_))]));
    fleet.finish(at(16_000), Ticket::new(1));
    assert_eq!(told(&mut fleet), [(1, Outcome::Finished(false))]);
}

/// The clock's thread has not got round to telling the second that its time is up, and the first job ends.
#[test]
fn a_lease_does_not_pass_to_one_whose_patience_has_ended() {
    let mut fleet = fleet();
    for (number, patience) in [
        (1, Patience::Forever),
        (2, Patience::Until(at(100))),
        (3, Patience::Forever),
    ] {
        fleet.request(at(1), Ticket::new(number), job(patience)).unwrap();
    }
    fleet.link_up(at(80), true, true);
    let ask = sent(&mut fleet, 80).pop().unwrap();
    fleet.answered(at(80), ask, Answer::Granted(50));
    assert_eq!(told(&mut fleet), [(1, Outcome::Granted(50))]);

    fleet.finish(at(110), Ticket::new(1));
    fleet.tick(at(110), Duration::ZERO);
    assert_eq!(
        told(&mut fleet),
        [
            (2, Outcome::TimedOut("k".into())),
            (1, Outcome::Finished(true)),
            (3, Outcome::Granted(51)),
        ]
    );
    assert!(!fleet.has_outbox(), "the server is not asked for any of this");
}

/// The first one goes without that the lock has changed hands, the second one's wait is over, and behind it stands the place
/// of a caller that is away.
#[test]
fn who_has_left_its_line_is_told_and_does_not_wait_on_without_a_place() {
    let ms = Duration::from_millis;
    let lock = |patience| Wish {
        claim: Claim::Lock {
            owner: crate::core::owner::Owner::Anyone,
            expire: Some(ms(10_000)),
        },
        ..job(patience)
    };
    let mut fleet = fleet();
    fleet.link_up(at(1), true, true);
    let ask = |fleet: &mut Fleet, now: u64, number: u64, wish: Wish| {
        fleet.request(at(now), Ticket::new(number), wish).unwrap();
    };
    ask(&mut fleet, 1, 1, job(Patience::Forever));
    let patience = Patience::while_moving(at(1), ms(1_000), ms(30_000));
    ask(&mut fleet, 1, 2, job(patience));
    // Request 3 is refused, comes back as 4, and is refused again.
    ask(&mut fleet, 1, 3, lock(Patience::Until(at(300))));
    fleet.tick(at(300), Duration::ZERO);
    ask(&mut fleet, 600, 4, lock(Patience::Until(at(900))));
    fleet.tick(at(900), Duration::ZERO);
    told(&mut fleet);
    // The clock's thread is late.
    fleet.cancel(at(1_010), Ticket::new(1));
    fleet.tick(at(1_010), Duration::ZERO);
    assert_eq!(told(&mut fleet), [(2, Outcome::TimedOut("k".into()))]);
}
