//! One thread for every deadline: waits that end, locks that expire, leases to renew, leases that lapse.
//!
//! Whoever has deadlines registers once as [`Timed`] and gets an [`Alarm`]. Setting the alarm costs one atomic
//! minimum; the thread is woken only when the new deadline comes before the one it sleeps towards, so the usual
//! pattern (each deadline later than the one before) never wakes it. It runs whatever the event loop is doing.
//!
//! Nothing here keeps a registrant alive: what has been dropped is forgotten at the next round.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::clock;
use crate::core::moment::Moment;
use crate::sync::{AtomicU64, Condvar, Mutex};
use crate::wakeups;

/// The longest sleep while anything is scheduled. The thread's timer stands still while the machine is suspended
/// and [`clock::now`] does not, so a deadline that passed during the sleep is seen this much later at the most.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Something with deadlines.
pub trait Timed: Send + Sync {
    /// Does what is due by `now` and says when it has something to do next ([`Moment::NEVER`]: nothing).
    fn tick(&self, now: Moment) -> Moment;
}

/// The handle by which a [`Timed`] says when it wants its next tick.
pub struct Alarm {
    at_ms: Arc<AtomicU64>,
    scheduler: Arc<Scheduler>,
}

impl Alarm {
    /// Asks for a tick at `deadline` or before. An earlier tick that was asked for stays.
    pub fn set(&self, deadline: Moment) {
        if deadline < Moment::from_ms(self.at_ms.load(Ordering::Relaxed)) {
            let before = self.at_ms.fetch_min(deadline.as_ms(), Ordering::AcqRel);
            if deadline.as_ms() < before {
                self.scheduler.wake_before(deadline);
            }
        }
    }
}

struct Entry {
    at_ms: Arc<AtomicU64>,
    timed: Weak<dyn Timed>,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// What the thread sleeps towards.
    sleeps_until: Option<Moment>,
}

/// See the module's description.
#[derive(Default)]
pub struct Scheduler {
    state: Mutex<State>,
    wake: Condvar,
}

impl Scheduler {
    /// The scheduler of this process; its thread starts with the first use and ends with the process.
    pub fn of_process() -> &'static Arc<Scheduler> {
        static SCHEDULER: OnceLock<Arc<Scheduler>> = OnceLock::new();
        static THREAD: OnceLock<()> = OnceLock::new();
        let scheduler = SCHEDULER.get_or_init(Arc::default);
        THREAD.get_or_init(|| {
            let spawned = std::thread::Builder::new()
                .name("locking-clock".into())
                .spawn(move || scheduler.run());
            // Without this thread no deadline would ever fire; better to fail the first call than to lie.
            assert!(
                spawned.is_ok(),
                "the thread for lock deadlines could not be started: {spawned:?}"
            );
        });
        scheduler
    }

    /// Registers `timed` for as long as it lives.
    pub fn register(self: &Arc<Self>, timed: Weak<dyn Timed>) -> Alarm {
        let at_ms = Arc::new(AtomicU64::new(Moment::NEVER.as_ms()));
        let mut state = self.state.lock();
        state.entries.retain(|entry| entry.timed.strong_count() > 0);
        state.entries.push(Entry {
            at_ms: Arc::clone(&at_ms),
            timed,
        });
        Alarm {
            at_ms,
            scheduler: Arc::clone(self),
        }
    }

    fn wake_before(&self, deadline: Moment) {
        let state = self.state.lock();
        if state.sleeps_until.is_some_and(|until| deadline < until) {
            wakeups::CLOCK.count();
            self.wake.notify_one();
        }
    }

    fn run(&self) {
        loop {
            self.round();
        }
    }

    /// Ticks who is due, and sleeps until somebody may be: what the thread does over and over.
    pub fn round(&self) {
        let now = clock::now();
        for (at_ms, timed) in self.take_due(now) {
            // A panic in one registrant must not stop the deadlines of all others.
            let tick = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| timed.tick(now)));
            let next = tick.unwrap_or_else(|_| now.after(SLEEP_MAX));
            at_ms.fetch_min(next.as_ms(), Ordering::AcqRel);
        }
        self.sleep();
    }

    /// The registrants that are due, their alarms cleared: an alarm set from here on is a new one.
    fn take_due(&self, now: Moment) -> Vec<(Arc<AtomicU64>, Arc<dyn Timed>)> {
        let mut state = self.state.lock();
        state.sleeps_until = None;
        let mut due = Vec::new();
        state.entries.retain(|entry| {
            if Moment::from_ms(entry.at_ms.load(Ordering::Acquire)) > now {
                return entry.timed.strong_count() > 0;
            }
            let Some(timed) = entry.timed.upgrade() else {
                return false;
            };
            entry.at_ms.store(Moment::NEVER.as_ms(), Ordering::Release);
            due.push((Arc::clone(&entry.at_ms), timed));
            true
        });
        due
    }

    fn sleep(&self) {
        let mut state = self.state.lock();
        let earliest = state
            .entries
            .iter()
            .map(|entry| entry.at_ms.load(Ordering::Acquire))
            .min();
        let until = earliest.map_or(Moment::NEVER, Moment::from_ms);
        let now = clock::now();
        if until <= now {
            return;
        }
        state.sleeps_until = Some(until);
        if until == Moment::NEVER {
            self.wake.wait(&mut state);
        } else {
            self.wake.wait_for(&mut state, until.since(now).min(SLEEP_MAX));
        }
    }
}
