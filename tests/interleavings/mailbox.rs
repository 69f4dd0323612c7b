//! Completions are pushed by any thread and drained by one.

use std::sync::Arc;

use medusa_locking_native::backend::{Completion, Outcome, Sink};
use medusa_locking_native::clock;
use medusa_locking_native::core::ticket::Ticket;
use shuttle::thread;

use super::explore;
use super::receiver::{RELEASED, Receiver};

const PUSHERS: u64 = 3;
const EACH: u64 = 3;

fn completion(ticket: u64) -> Completion {
    Completion {
        ticket: Ticket::new(ticket),
        outcome: Outcome::Released(true),
    }
}

fn start_pushers(receiver: &Receiver) {
    for pusher in 0..PUSHERS {
        let inbox = Arc::clone(&receiver.inbox);
        thread::spawn(move || {
            for n in 0..EACH {
                if inbox.push(completion(1 + pusher)) {
                    inbox.wake();
                }
                if n == 0 {
                    inbox.probe(clock::now());
                }
            }
        });
    }
}

fn has_all(receiver: &Receiver) -> bool {
    (1..=PUSHERS).all(|pusher| {
        receiver
            .told
            .get(&pusher)
            .is_some_and(|told| told.len() == EACH as usize)
    })
}

#[test]
fn whatever_is_pushed_is_drained_and_the_bell_rings_for_it() {
    explore(|| {
        let mut receiver = Receiver::new();
        start_pushers(&receiver);
        while !has_all(&receiver) {
            receiver.hear();
            receiver.drain();
        }
        assert!(
            receiver
                .told
                .values()
                .flatten()
                .all(|outcome| *outcome == RELEASED)
        );
        assert_eq!(receiver.fetch(), 0);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_receiver_that_does_not_drain_everything_misses_something_and_that_is_found() {
    explore(|| {
        let mut receiver = Receiver::new();
        start_pushers(&receiver);
        while !has_all(&receiver) {
            receiver.hear();
            receiver.fetch();
        }
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_pusher_that_does_not_ring_when_it_is_told_to_is_found() {
    explore(|| {
        let mut receiver = Receiver::new();
        let inbox = Arc::clone(&receiver.inbox);
        thread::spawn(move || {
            inbox.push(completion(1));
            // As if "there is something in it already" and "somebody is on the way to it" were the same.
            if inbox.push(completion(1)) {
                inbox.wake();
            }
        });
        while receiver.told.get(&1).is_none_or(|told| told.len() < 2) {
            receiver.hear();
            receiver.drain();
        }
    });
}
