//! The lock table in memory, used by several threads, of which one may end at any step.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use medusa_locking_native::backend::mailbox::Resident;
use medusa_locking_native::backend::memory::{Asked, Member, Space};
use medusa_locking_native::backend::{Completion, Wait};
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::table::{Claim, Limits, Ownerless};
use medusa_locking_native::core::ticket::Ticket;
use medusa_locking_native::scheduler::Scheduler;
use shuttle::thread;

use super::explore;
use super::receiver::{GRANTED, Receiver};

const ROUNDS: usize = 2;

pub fn keys(names: &[&str]) -> KeySet {
    KeySet::new(names.iter().copied()).unwrap()
}

pub fn space(scheduler: &Arc<Scheduler>) -> Arc<Space> {
    Space::timed_by(scheduler, Ownerless::Exclusive, Limits::default())
}

/// Asks for `wanted` as a job and waits until it has them.
fn take(member: &Member, receiver: &mut Receiver, wanted: &KeySet) -> Ticket {
    match member.request(wanted.clone(), Claim::Job, Wait::Forever).unwrap() {
        Asked::Granted(ticket) => ticket,
        Asked::Pending(ticket) => {
            assert_eq!(receiver.outcome_of(ticket.number()), GRANTED);
            ticket
        }
        Asked::Refused(key) => panic!("refused for {key} though it waits"),
    }
}

/// Ends a job, as `provider/client.ts` does: news for this very thread rings no bell.
fn finish(member: &Member, receiver: &mut Receiver, ticket: Ticket) {
    let given_back = member.finish(ticket);
    assert!(given_back.held);
    if given_back.news {
        receiver.drain();
    }
}

#[test]
fn threads_that_want_overlapping_sets_exclude_each_other_and_are_all_served() {
    explore(|| {
        let space = space(&Arc::default());
        let inside = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let threads = [vec![0], vec![0, 1], vec![1, 0]].map(|wanted| {
            let (space, inside) = (Arc::clone(&space), Arc::clone(&inside));
            thread::spawn(move || {
                let mut receiver = Receiver::new();
                let member = space.join(receiver.inbox.clone());
                let names: Vec<&str> = wanted.iter().map(|n| ["a", "b"][*n]).collect();
                for _ in 0..ROUNDS {
                    let ticket = take(&member, &mut receiver, &keys(&names));
                    for n in &wanted {
                        assert_eq!(inside[*n].fetch_add(1, Ordering::SeqCst), 0, "two are inside");
                    }
                    thread::yield_now();
                    for n in &wanted {
                        inside[*n].fetch_sub(1, Ordering::SeqCst);
                    }
                    finish(&member, &mut receiver, ticket);
                }
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let looks = space.join(Receiver::new().inbox.clone());
        assert_eq!(looks.counts(), (0, 0), "keys and waiters that are left");
    });
}

/// A thread holds "a", waits for "b" as a job and for "c" as an owner, and ends at any moment while another releases both.
fn a_thread_ends_while_it_is_being_granted(
    resident: impl Fn(Member) -> Arc<dyn Resident> + Send + Sync + 'static,
) {
    explore(move || {
        let space = space(&Arc::default());
        let mut other = Receiver::new();
        let member = space.join(other.inbox.clone());
        let held = ["b", "c"].map(|key| take(&member, &mut other, &keys(&[key])));

        let ending = Receiver::new();
        let leaving = space.join(ending.inbox.clone());
        assert!(matches!(
            leaving.request(keys(&["a"]), Claim::Job, Wait::Refuse),
            Ok(Asked::Granted(_))
        ));
        let owner = Owner::Named("me".into());
        for (key, claim) in [("b", Claim::Job), ("c", Claim::Lock { owner, expire: None })] {
            assert!(matches!(
                leaving.request(keys(&[key]), claim, Wait::Forever),
                Ok(Asked::Pending(_))
            ));
        }
        let resident = resident(leaving);
        ending.inbox.admit(Arc::downgrade(&resident));

        let ends = thread::spawn(move || {
            ending.inbox.close();
            drop(resident);
        });
        for ticket in held {
            finish(&member, &mut other, ticket);
        }
        ends.join().unwrap();
        let all = member.request(keys(&["a", "b", "c"]), Claim::Job, Wait::Refuse);
        assert!(
            matches!(all, Ok(Asked::Granted(_))),
            "something stayed locked: {all:?}"
        );
    });
}

#[test]
fn what_a_thread_held_waited_for_or_was_granted_as_it_ended_comes_free() {
    a_thread_ends_while_it_is_being_granted(|member| Arc::new(member));
}

/// Leaves, and forgets what it was granted and never saw.
struct Forgetful(Member);

impl Resident for Forgetful {
    fn leave(&self) {
        self.0.leave();
    }

    fn take_back(&self, _: &[Completion]) {}
}

#[test]
#[should_panic(expected = "something stayed locked")]
fn a_resident_that_does_not_give_back_what_it_never_saw_is_found() {
    a_thread_ends_while_it_is_being_granted(|member| Arc::new(Forgetful(member)));
}
