//! The lock table in memory on real threads. CI runs this under Miri, which finds data races and undefined behaviour; what
//! can go wrong between the threads' steps is looked for in `tests/interleavings.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use medusa_locking_native::backend::mailbox::{Bell, Inbox, Resident};
use medusa_locking_native::backend::memory::{Asked, Member, Space};
use medusa_locking_native::backend::{Sink, Wait};
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::table::{Claim, Limits, Ownerless};

const THREADS: usize = 3;
const ROUNDS: usize = if cfg!(miri) { 4 } else { 200 };
const GRANTED: f64 = 1.0;
/// How many completions are drained at once.
const BATCH: usize = 4;
const TIMED_OUT: f64 = 3.0;

struct Rope(Mutex<Sender<()>>);

impl Bell for Rope {
    fn ring(&self) {
        // Who does not listen any more has no use for it.
        let _ = self.0.lock().unwrap().send(());
    }
}

/// A thread's mailbox, and what it was told.
struct Listener {
    inbox: Arc<Inbox<Rope>>,
    rings: Receiver<()>,
    told: HashMap<u64, f64>,
}

impl Listener {
    fn new() -> Self {
        let (rope, rings) = channel();
        Listener {
            inbox: Arc::new(Inbox::new(Rope(Mutex::new(rope)))),
            rings,
            told: HashMap::new(),
        }
    }

    fn drain(&mut self) {
        let mut records = [0.0; 3 * BATCH];
        loop {
            let moved = self.inbox.drain(&mut records) as usize;
            for record in records.chunks_exact(3).take(moved) {
                self.told.insert(record[0] as u64, record[1]);
            }
            if moved < BATCH {
                return;
            }
        }
    }

    fn outcome_of(&mut self, ticket: u64) -> f64 {
        loop {
            if let Some(outcome) = self.told.remove(&ticket) {
                return outcome;
            }
            self.rings.recv().unwrap();
            self.drain();
        }
    }
}

fn join(space: &Arc<Space>) -> (Member, Listener) {
    let listener = Listener::new();
    let sink: Arc<dyn Sink> = Arc::clone(&listener.inbox) as Arc<dyn Sink>;
    (space.join(sink), listener)
}

fn space() -> Arc<Space> {
    Space::new(Ownerless::Exclusive, Limits::default())
}

fn keys(names: &[&str]) -> KeySet {
    KeySet::new(names.iter().copied()).unwrap()
}

#[test]
fn threads_take_overlapping_sets_in_turn() {
    let space = space();
    let inside: Arc<[AtomicUsize; 2]> = Arc::default();
    let sets: [&[usize]; THREADS] = [&[0], &[0, 1], &[1]];
    let threads = sets.map(|wanted| {
        let (space, inside) = (Arc::clone(&space), Arc::clone(&inside));
        thread::spawn(move || {
            let (member, mut listener) = join(&space);
            let names: Vec<&str> = wanted.iter().map(|n| ["a", "b"][*n]).collect();
            for _ in 0..ROUNDS {
                let asked = member.request(keys(&names), Claim::Job, Wait::Forever).unwrap();
                let ticket = match asked {
                    Asked::Granted(ticket) => ticket,
                    Asked::Pending(ticket) => {
                        assert_eq!(listener.outcome_of(ticket.number()), GRANTED);
                        ticket
                    }
                    Asked::Refused(key) => panic!("refused for {key}"),
                };
                for n in wanted {
                    assert_eq!(inside[*n].fetch_add(1, Ordering::SeqCst), 0, "two are inside");
                }
                thread::yield_now();
                for n in wanted {
                    inside[*n].fetch_sub(1, Ordering::SeqCst);
                }
                let given_back = member.finish(ticket);
                assert!(given_back.held);
                if given_back.news {
                    listener.drain();
                }
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(join(&space).0.counts(), (0, 0));
}

#[test]
fn the_clock_thread_tells_who_has_waited_long_enough() {
    let space = space();
    let (holds, _) = join(&space);
    assert!(matches!(
        holds.request(keys(&["k"]), Claim::Job, Wait::Refuse),
        Ok(Asked::Granted(_))
    ));
    let (waits, mut listener) = join(&space);
    let patience = Wait::For(Duration::from_millis(20));
    let Ok(Asked::Pending(ticket)) = waits.request(keys(&["k"]), Claim::Job, patience) else {
        panic!("the key is held");
    };
    assert_eq!(listener.outcome_of(ticket.number()), TIMED_OUT);
}

/// A thread ends with locks, with a place in a queue, and while it is being granted.
#[test]
fn what_a_thread_leaves_comes_free() {
    for _ in 0..ROUNDS {
        let space = space();
        let (member, _listener) = join(&space);
        let Ok(Asked::Granted(held)) = member.request(keys(&["b"]), Claim::Job, Wait::Refuse) else {
            panic!("the key is free");
        };
        let (leaving, ending) = join(&space);
        let leaving = Arc::new(leaving);
        let resident: Arc<dyn Resident> = leaving.clone();
        ending.inbox.admit(Arc::downgrade(&resident));
        leaving.request(keys(&["a"]), Claim::Job, Wait::Refuse).unwrap();
        leaving.request(keys(&["b"]), Claim::Job, Wait::Forever).unwrap();
        let ends = thread::spawn(move || ending.inbox.close());
        assert!(member.finish(held).held);
        ends.join().unwrap();
        let all = member.request(keys(&["a", "b"]), Claim::Job, Wait::Refuse);
        assert!(matches!(all, Ok(Asked::Granted(_))), "{all:?}");
    }
}
