//! The thread that acts on deadlines, and who sets them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use medusa_locking_native::backend::memory::Asked;
use medusa_locking_native::backend::{Sink, Wait};
use medusa_locking_native::clock;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::table::Claim;
use medusa_locking_native::scheduler::{Alarm, Scheduler, Timed};
use medusa_locking_native::sync::interleaved::set_now;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use super::explore;
use super::receiver::{GRANTED, Receiver, TIMED_OUT};
use super::table::{keys, space};

/// The thread that acts on deadlines.
struct ClockThread {
    scheduler: Arc<Scheduler>,
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

/// Is always due: the thread does not sleep any more.
struct Restless;

impl Timed for Restless {
    fn tick(&self, now: Moment) -> Moment {
        now
    }
}

impl ClockThread {
    fn start() -> Self {
        let scheduler: Arc<Scheduler> = Arc::default();
        let ends = Arc::new(AtomicBool::new(false));
        let (runs, over) = (Arc::clone(&scheduler), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                runs.round();
            }
        });
        ClockThread {
            scheduler,
            ends,
            thread,
        }
    }

    /// The product's runs for as long as the process.
    fn end(self) {
        self.ends.store(true, Ordering::SeqCst);
        let restless: Arc<dyn Timed> = Arc::new(Restless);
        self.scheduler
            .register(Arc::downgrade(&restless))
            .set(Moment::from_ms(0));
        self.thread.join().unwrap();
    }
}

/// Somebody with one deadline after the other.
#[derive(Default)]
struct Agenda {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to come, in order.
    due: Vec<Moment>,
    done: usize,
}

impl Agenda {
    fn add(&self, alarm: &Alarm, ms: u64) {
        let mut state = self.state.lock().unwrap();
        state.due.push(Moment::from_ms(ms));
        state.due.sort_unstable();
        let next = state.due[0];
        drop(state);
        alarm.set(next);
    }

    fn wait_for(&self, done: usize) {
        let mut state = self.state.lock().unwrap();
        while state.done < done {
            state = self.changed.wait(state).unwrap();
        }
    }
}

impl Timed for Agenda {
    fn tick(&self, now: Moment) -> Moment {
        let mut state = self.state.lock().unwrap();
        let before = state.due.len();
        state.due.retain(|at| *at > now);
        state.done += before - state.due.len();
        self.changed.notify_one();
        state.due.first().copied().unwrap_or(Moment::NEVER)
    }
}

fn register(scheduler: &Arc<Scheduler>) -> (Arc<Agenda>, Arc<Alarm>) {
    let agenda: Arc<Agenda> = Arc::default();
    let timed: Weak<dyn Timed> = Arc::downgrade(&(Arc::clone(&agenda) as Arc<dyn Timed>));
    (agenda, Arc::new(scheduler.register(timed)))
}

/// Two threads set deadlines, in any order, while the clock thread starts to sleep, sleeps, or acts on others.
#[test]
fn every_deadline_is_met_when_its_time_has_come() {
    explore(|| {
        let clock_thread = ClockThread::start();
        let (agenda, alarm) = register(&clock_thread.scheduler);
        let setters = [[30, 10], [20, 40]].map(|deadlines| {
            let (agenda, alarm) = (Arc::clone(&agenda), Arc::clone(&alarm));
            thread::spawn(move || deadlines.into_iter().for_each(|ms| agenda.add(&alarm, ms)))
        });
        // Some time passes meanwhile.
        set_now(Moment::from_ms(10));
        setters.into_iter().for_each(|setter| setter.join().unwrap());
        for (done, ms) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
            set_now(Moment::from_ms(ms));
            agenda.wait_for(done);
        }
        clock_thread.end();
    });
}

/// A deadline that is not set when the clock thread looks must wake it, however long it meant to sleep.
#[test]
fn two_who_have_deadlines_do_not_keep_each_other_waiting() {
    explore(|| {
        let clock_thread = ClockThread::start();
        let (one, other) = (
            register(&clock_thread.scheduler),
            register(&clock_thread.scheduler),
        );
        one.0.add(&one.1, 500);
        let sets = thread::spawn(move || {
            other.0.add(&other.1, 5);
            set_now(Moment::from_ms(5));
            other.0.wait_for(1);
        });
        sets.join().unwrap();
        set_now(Moment::from_ms(500));
        one.0.wait_for(1);
        clock_thread.end();
    });
}

/// Who sets a deadline of its own and not the earliest there is: the others are forgotten, and that is found.
#[test]
#[should_panic(expected = "exceeded max_steps")]
fn an_alarm_that_is_set_too_late_is_found() {
    explore(|| {
        let clock_thread = ClockThread::start();
        let (agenda, alarm) = register(&clock_thread.scheduler);
        agenda.state.lock().unwrap().due.push(Moment::from_ms(10));
        alarm.set(Moment::from_ms(400));
        set_now(Moment::from_ms(10));
        agenda.wait_for(1);
        clock_thread.end();
    });
}

/// Its patience ends at the very moment when the lock comes free.
#[test]
fn who_waits_until_its_time_is_up_has_the_lock_or_is_told_that_it_has_not() {
    explore(|| {
        let clock_thread = ClockThread::start();
        let space = space(&clock_thread.scheduler);
        let holds = space.join(Receiver::new().inbox.clone());
        let Ok(Asked::Granted(held)) = holds.request(keys(&["k"]), Claim::Job, Wait::Refuse) else {
            panic!("the key is free");
        };
        let mut receiver = Receiver::new();
        let waits = space.join(receiver.inbox.clone());
        let patience = Wait::For(Duration::from_millis(50));
        let Ok(Asked::Pending(ticket)) = waits.request(keys(&["k"]), Claim::Job, patience) else {
            panic!("the key is held");
        };
        let frees = thread::spawn(move || {
            thread::yield_now();
            holds.finish(held);
        });
        set_now(Moment::from_ms(60));
        match receiver.outcome_of(ticket.number()) {
            GRANTED => assert!(waits.finish(ticket).held, "it was told that it holds"),
            TIMED_OUT => assert!(!waits.finish(ticket).held, "it was told that it does not"),
            other => panic!("told {other}"),
        }
        frees.join().unwrap();
        receiver.drain();
        assert_eq!(receiver.told[&ticket.number()].len(), 1, "it was told twice");
        assert_eq!(waits.counts(), (0, 0), "keys and waiters that are left");
        // Whoever was rung for has looked: nobody takes the thread for a stuck one.
        assert_eq!(receiver.inbox.stalled(clock::now()), Duration::ZERO);
        clock_thread.end();
    });
}
